"""Pictures of how alike two arms are. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair

from algorithms.numerics.charts import WIDTH

# Differences beyond this many standard deviations are usually called imbalance (Austin 2009, Stat Med 28:3083).
NOTABLE = 0.1


def love(
    differences: Mapping[str, tuple[float, float]], named: tuple[str, str] = ("before", "after weighting")
) -> altair.TopLevelMixin:
    """Two standardised mean differences per column of a model, before and after weighting unless `named` otherwise."""
    rows = [
        {"column": name, "smd": value, "when": when}
        for name, pair in differences.items()
        for when, value in zip(named, pair, strict=True)
        if math.isfinite(value)
    ]
    chart = altair.Chart(altair.InlineData(values=rows)).encode(
        x=altair.X("smd:Q", title="standardised mean difference"),
        y=altair.Y("column:N", sort=list(differences), title=None),
        color=altair.Color("when:N", title=None),
        shape=altair.Shape("when:N", title=None),
    )
    limits = altair.InlineData(values=[{"at": at} for at in (-NOTABLE, 0.0, NOTABLE)])
    rules = altair.Chart(limits).mark_rule(strokeDash=[4, 4], opacity=0.5).encode(x="at:Q")
    return altair.layer(rules, chart.mark_point(filled=True, size=70)).properties(
        width=WIDTH, height=max(60, 24 * len(differences)), title="Balance"
    )


def mirrored(scores: Mapping[str, Sequence[int | None]]) -> altair.TopLevelMixin:
    """People by propensity score: one arm upwards, the other downwards."""
    rows = [
        {"low": k / len(of), "high": (k + 1) / len(of), "people": sign * (count or 0), "arm": arm}
        for (arm, of), sign in zip(scores.items(), (-1, 1), strict=True)
        for k, count in enumerate(of)
    ]
    chart: altair.Chart = (
        altair.Chart(altair.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=altair.X("low:Q", bin="binned", title="propensity score"),
            x2="high:Q",
            y=altair.Y("people:Q", title="people"),
            color=altair.Color("arm:N", title=None),
        )
        .properties(width=WIDTH, height=160)
    )
    return chart


def stacked(parts: Sequence[Any]) -> altair.TopLevelMixin:
    """Pictures below each other, each with colours of its own."""
    chart: altair.TopLevelMixin = altair.vconcat(*parts).resolve_scale(color="independent", shape="independent")
    return chart
