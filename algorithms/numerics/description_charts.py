"""Pictures of distributions and of groups side by side. Imported only when something is drawn."""

from __future__ import annotations

from typing import Any

import altair

from algorithms.numerics.charts import WIDTH


def boxes(rows: list[dict[str, Any]]) -> altair.TopLevelMixin:
    """Horizontal boxes, a panel per variable with an axis of its own.

    Rows hold `variable`, `group`, `low`, `first`, `median`, `third` and `high`.
    """
    y = altair.Y("group:N", sort=[row["group"] for row in rows], title=None)
    base = altair.Chart().encode(y=y)
    axis = altair.Scale(zero=False)
    layers = altair.layer(
        base.mark_rule().encode(x=altair.X("low:Q", title=None, scale=axis), x2="high:Q"),
        base.mark_bar(size=14, opacity=0.6).encode(x=altair.X("first:Q", scale=axis), x2="third:Q"),
        base.mark_tick(size=14, thickness=2, color="black").encode(x=altair.X("median:Q", scale=axis)),
        data=altair.InlineData(values=rows),
    ).properties(width=WIDTH)
    panels: altair.TopLevelMixin = layers.facet(row=altair.Row("variable:N", title=None)).resolve_scale(x="independent")
    return panels


def histogram(rows: list[dict[str, Any]], *, title: str, height: int = 180) -> altair.TopLevelMixin:
    """Bars between `low` and `high` as high as the `density`, a panel per `group`."""
    chart = (
        altair.Chart(altair.InlineData(values=rows))
        .mark_bar(binSpacing=0, stroke="white", strokeWidth=0.5)
        .encode(
            x=altair.X("low:Q", title=title, bin="binned"),
            x2="high:Q",
            y=altair.Y("density:Q", title="density"),
        )
        .properties(width=WIDTH, height=height)
    )
    many = len({row["group"] for row in rows}) > 1
    found: altair.TopLevelMixin = chart.facet(row=altair.Row("group:N", title=None)) if many else chart
    return found


def shares(rows: list[dict[str, Any]], *, group: str, level: str) -> altair.TopLevelMixin:
    """Stacked horizontal bars: how `level` is divided within each `group`. Rows hold `group`, `level`, `share`."""
    groups, levels = (list(dict.fromkeys(row[part] for row in rows)) for part in ("group", "level"))
    chart: altair.Chart = (
        altair.Chart(altair.InlineData(values=rows))
        .mark_bar()
        .encode(
            y=altair.Y("group:N", sort=groups, title=group),
            x=altair.X("share:Q", title="share", stack="zero", scale=altair.Scale(domain=[0, 1])),
            color=altair.Color("level:N", sort=levels, title=level),
            order=altair.Order("place:Q"),
        )
        .properties(width=WIDTH, height=max(60, 32 * len(groups)))
    )
    return chart


def differences(rows: list[dict[str, Any]], *, title: str, limit: float) -> altair.TopLevelMixin:
    """Dots, one row per `name`, at `value`, with a dashed line at `limit`."""
    y = altair.Y("name:N", sort=[row["name"] for row in rows], title=None)
    dots = altair.Chart(altair.InlineData(values=rows)).mark_point(filled=True, size=60)
    line = altair.Chart(altair.InlineData(values=[{"at": limit}])).mark_rule(strokeDash=[4, 4])
    return altair.layer(line.encode(x="at:Q"), dots.encode(y=y, x=altair.X("value:Q", title=title))).properties(
        width=WIDTH, height=max(60, 22 * len(rows))
    )
