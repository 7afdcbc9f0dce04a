"""Coefficients of a logarithm or logit as the ratios that they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cohortium import report
from cohortium.result import Estimate


def exponential(value: float) -> float:
    """exp(value), infinite where that is too large for a float."""
    return math.exp(value) if value < 709.0 else math.inf


def ratio_table(ratio: str, effects: Mapping[str, Estimate], confidence: float) -> report.Table:
    """A table of ratios (`ratio` is what they are called) with their intervals."""
    level = f"{100 * confidence:g}% CI"
    rows = tuple(
        (name, exponential(e.estimate), exponential(e.ci_low), exponential(e.ci_high), e.p_value)
        for name, e in effects.items()
    )
    title = f"{ratio[0].upper()}{ratio.replace('ratio', 'ratios', 1)[1:]}"
    return report.Table(title, ("term", ratio, f"{level} low", f"{level} high", "p"), rows)
