"""Curves over time with the people at risk below. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair

from algorithms.numerics.charts import WIDTH, curves
from algorithms.numerics.risk_table import Numbers, at_risk_at


def with_risk_table(
    rows: list[dict[str, Any]], at_risk: Mapping[str, Numbers], times: Sequence[float], *, time: str, value: str
) -> altair.TopLevelMixin:
    """Step curves with their bands (see `charts.curves`), and under them how many of each group are at risk at `times`.

    `at_risk` holds, by group, the times at which somebody leaves and the people at risk just before each.
    """
    end = max(row["time"] for row in rows)
    numbers = [
        {"group": group, "time": t, "people": at_risk_at(t, *found)} for group, found in at_risk.items() for t in times
    ]
    table = (
        altair.Chart(
            altair.InlineData(values=numbers), title=altair.TitleParams("at risk", anchor="start", fontSize=11)
        )
        .mark_text(fontSize=11)
        .encode(
            x=altair.X("time:Q", axis=None, scale=altair.Scale(domain=[0, end], nice=False)),
            y=altair.Y(
                "group:N", sort=list(at_risk), title=None, axis=altair.Axis(ticks=False, domain=False, labelPadding=24)
            ),
            text="people:Q",
        )
        .properties(width=WIDTH, height=18 * len(at_risk), view=altair.ViewConfig(stroke=None))
    )
    return altair.vconcat(curves(rows, time=time, survival=value, end=end), table, spacing=4)
