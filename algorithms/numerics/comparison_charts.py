"""Pictures of comparisons. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

from typing import Any

import altair

from algorithms.numerics.charts import WIDTH


def means(rows: list[dict[str, Any]], *, title: str) -> altair.TopLevelMixin:
    """Means with their intervals, one row per group. Rows hold `group`, `mean`, `low` and `high`."""
    order = [row["group"] for row in rows]
    chart = altair.Chart(altair.InlineData(values=rows)).encode(y=altair.Y("group:N", sort=order, title=None))
    scale = altair.Scale(zero=False)
    intervals = chart.mark_rule().encode(x=altair.X("low:Q", title=title, scale=scale), x2="high:Q")
    points = chart.mark_point(filled=True, size=60).encode(x=altair.X("mean:Q", scale=scale))
    return altair.layer(intervals, points).properties(width=WIDTH, height=max(60, 26 * len(rows)))


def heat_map(rows: list[dict[str, Any]], *, order: list[str], title: str) -> altair.TopLevelMixin:
    """A matrix of correlations as coloured cells with their numbers. Rows hold `first`, `second` and `value`."""
    chart = altair.Chart(altair.InlineData(values=rows)).encode(
        x=altair.X("second:N", sort=order, title=None), y=altair.Y("first:N", sort=order, title=None)
    )
    scale = altair.Scale(scheme="redblue", domain=[-1, 1])
    cells = chart.mark_rect().encode(color=altair.Color("value:Q", scale=scale, title=title))
    numbers = chart.mark_text(fontSize=10).encode(
        text=altair.Text("value:Q", format=".2f"),
        color=altair.condition("abs(datum.value) > 0.6", altair.value("white"), altair.value("black")),
    )
    side = max(120, 40 * len(order))
    return altair.layer(cells, numbers).properties(width=side, height=side)


def boxes(rows: list[dict[str, Any]], *, title: str) -> altair.TopLevelMixin:
    """Median, quartiles and the middle 90 %, one row per group. Rows hold `group`, `p5`, `p25`, `p50`, `p75`, `p95`."""
    order = [row["group"] for row in rows]
    chart = altair.Chart(altair.InlineData(values=rows)).encode(y=altair.Y("group:N", sort=order, title=None))
    scale = altair.Scale(zero=False)
    whiskers = chart.mark_rule().encode(x=altair.X("p5:Q", title=title, scale=scale), x2="p95:Q")
    middle = chart.mark_bar(size=16).encode(x=altair.X("p25:Q", scale=scale, title=title), x2="p75:Q")
    median = chart.mark_tick(color="white", thickness=2, size=16).encode(x=altair.X("p50:Q", scale=scale))
    return altair.layer(whiskers, middle, median).properties(width=WIDTH, height=max(60, 30 * len(rows)))


def pooled_forest(rows: list[dict[str, Any]], *, title: str, null: float, ratio: bool) -> altair.TopLevelMixin:
    """Cohorts as squares of the size of their weight, pooled estimates as diamonds.

    Rows hold `name`, `estimate`, `low`, `high`, `weight` and `pooled`; ratios stand on a logarithmic axis.
    """
    order = [row["name"] for row in rows]
    scale = altair.Scale(type="log" if ratio else "linear", zero=False)
    chart = altair.Chart(altair.InlineData(values=rows)).encode(y=altair.Y("name:N", sort=order, title=None))
    intervals = chart.mark_rule().encode(x=altair.X("low:Q", scale=scale, title=title), x2="high:Q")
    points = chart.mark_point(filled=True).encode(
        x=altair.X("estimate:Q", scale=scale),
        size=altair.Size("weight:Q", legend=None, scale=altair.Scale(range=[30, 300])),
        shape=altair.Shape(
            "pooled:N", legend=None, scale=altair.Scale(domain=[False, True], range=["square", "diamond"])
        ),
    )
    at = altair.Chart(altair.InlineData(values=[{"at": null}])).mark_rule(strokeDash=[4, 4]).encode(x="at:Q")
    return altair.layer(at, intervals, points).properties(width=WIDTH, height=max(60, 26 * len(rows)))
