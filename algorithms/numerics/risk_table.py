"""How many people are at risk at a handful of times: the table under a survival curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cohortium import report

# Times at which somebody leaves, and people at risk just before each.
Numbers = tuple[tuple[float, ...], tuple[int, ...]]


def risk_table(groups: Mapping[str, Numbers], times: Sequence[float]) -> report.Table:
    """People at risk just before each of `times`, by group.

    They are sums of what the cohorts' policies let out, so there is none that these would withhold.
    """
    rows: tuple[tuple[report.Cell, ...], ...] = tuple(
        (name, *(at_risk_at(t, *numbers) for t in times)) for name, numbers in groups.items()
    )
    return report.Table("People at risk", ("group", *(f"{t:g}" for t in times)), rows)


def at_risk_at(moment: float, time: tuple[float, ...], at_risk: tuple[int, ...]) -> int:
    """People at risk just before a moment: as at the next time when somebody leaves; nobody after the last."""
    following = int(np.searchsorted(time, moment, side="left"))
    return at_risk[following] if following < len(time) else 0
