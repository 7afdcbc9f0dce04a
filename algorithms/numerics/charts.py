"""Pictures of results. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair

from cohortium.result import Estimate

WIDTH = 480


def forest(estimates: Mapping[str, Estimate], ratio: str | None) -> altair.LayerChart:
    """Estimates with their intervals, one row per term; as ratios on a logarithmic axis where they have a name."""
    show = math.exp if ratio else float
    rows = [
        {"term": name, "estimate": show(e.estimate), "low": show(e.ci_low), "high": show(e.ci_high)}
        for name, e in estimates.items()
        if all(math.isfinite(v) and abs(v) < 300 for v in (e.ci_low, e.ci_high)) or not ratio
    ]
    scale = altair.Scale(type="log" if ratio else "linear", zero=False)
    title = ratio or "estimate"
    chart = altair.Chart(altair.InlineData(values=rows)).encode(y=altair.Y("term:N", sort=list(estimates), title=None))
    intervals = chart.mark_rule().encode(x=altair.X("low:Q", scale=scale, title=title), x2="high:Q")
    points = chart.mark_point(filled=True, size=60).encode(x=altair.X("estimate:Q", scale=scale))
    null = altair.Chart(altair.InlineData(values=[{"at": show(0.0)}])).mark_rule(strokeDash=[4, 4]).encode(x="at:Q")
    found = altair.LayerChart(layer=[null, intervals, points])
    return found.properties(width=WIDTH, height=max(60, 26 * len(rows)))


def curves(
    rows: list[dict[str, Any]], *, time: str, survival: str, end: float | None = None
) -> altair.LayerChart | altair.FacetChart:
    """Step curves with a confidence band up to `end`. Rows hold `group`, `time`, `survival`, `low` and `high`."""
    scale = altair.Scale() if end is None else altair.Scale(domain=[0, end], nice=False)
    chart = altair.Chart(altair.InlineData(values=rows)).encode(
        x=altair.X("time:Q", title=time, scale=scale),
        color=altair.Color("group:N", title=None),
    )
    axis = altair.Y("survival:Q", title=survival, scale=altair.Scale(domain=[0, 1]))
    band = chart.mark_area(opacity=0.2, interpolate="step-after").encode(
        y=altair.Y("low:Q", title=survival), y2="high:Q"
    )
    steps = chart.mark_line(interpolate="step-after").encode(y=axis)
    return altair.layer(band, steps).properties(width=WIDTH, height=300)


def bars(rows: list[dict[str, Any]], *, value: str, title: str) -> altair.TopLevelMixin:
    """Horizontal bars. Rows hold `name` and `value`."""
    order = [row["name"] for row in rows]
    chart: altair.Chart = (
        altair.Chart(altair.InlineData(values=rows))
        .mark_bar()
        .encode(y=altair.Y("name:N", sort=order, title=None), x=altair.X(f"{value}:Q", title=title))
        .properties(width=WIDTH, height=max(60, 22 * len(rows)))
    )
    return chart
