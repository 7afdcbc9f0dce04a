"""Pictures of paths of penalties. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair

from algorithms.numerics.charts import WIDTH


def paths(points: Sequence[tuple[float, Mapping[str, float]]], chosen: float) -> altair.TopLevelMixin:
    """A line per effect over the penalties, and where the chosen one is."""
    rows = [
        {"penalty": penalty, "term": term, "effect": effect} for penalty, of in points for term, effect in of.items()
    ]
    scale = altair.Scale(type="log")
    lines = (
        altair.Chart(altair.InlineData(values=rows))
        .mark_line()
        .encode(
            x=altair.X("penalty:Q", scale=scale, title="penalty"),
            y=altair.Y("effect:Q", title="effect per SD"),
            color=altair.Color("term:N", title=None),
        )
    )
    rule = (
        altair.Chart(altair.InlineData(values=[{"penalty": chosen}]))
        .mark_rule(strokeDash=[4, 4])
        .encode(x=altair.X("penalty:Q", scale=scale))
    )
    return altair.layer(lines, rule).properties(width=WIDTH, height=300)
