"""Pictures of hazard models. Imported only when something is drawn: altair takes long to load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair
from scipy import special

if TYPE_CHECKING:
    from algorithms.numerics.cox_result import CoxResult

PANEL, PANELS, POINTS = 150, 3, 25


def over_time(result: CoxResult) -> altair.FacetChart | None:
    """Each hazard ratio, were it to change linearly along the time scale of the test of proportional hazards.

    A constant that leaves the line's band says what the test says. From two standard deviations of the events'
    times before their mean to two after.
    """
    z = float(special.ndtri(0.5 + result.confidence / 2))
    rows = [row for name in result.time_slopes for row in _line(result, name, z)]
    if not rows:
        return None
    scale = result.time_transform
    x = altair.X("time:Q", title="time" if scale == "identity" else f"{scale}(time)", scale=altair.Scale(zero=False))
    y = altair.Y("ratio:Q", title="hazard ratio", scale=altair.Scale(type="log"))
    chart = altair.Chart(altair.InlineData(values=rows)).encode(x=x)
    band = chart.mark_area(opacity=0.2).encode(y=altair.Y("low:Q", title="hazard ratio"), y2="high:Q")
    constant = chart.mark_line(strokeDash=[4, 4], color="grey").encode(y=altair.Y("constant:Q"))
    panel = altair.layer(band, chart.mark_line().encode(y=y), constant).properties(width=PANEL, height=PANEL // 2)
    titled = panel.facet(altair.Facet("term:N", title=None, sort=list(result.time_slopes)), columns=PANELS)
    found: altair.FacetChart = titled.resolve_scale(y="independent").properties(
        title="Do hazard ratios change over time?"
    )
    return found


def _line(result: CoxResult, name: str, z: float) -> list[dict[str, Any]]:
    found, estimate = result.time_slopes[name], result.coefficients[name]
    if not all(math.isfinite(v) for v in (found.slope, found.std_error, estimate.std_error)) or not found.spread:
        return []
    low = found.centre - 2.0 * found.spread
    low = max(low, 0.0) if result.time_transform == "identity" else low
    step = (found.centre + 2.0 * found.spread - low) / (POINTS - 1)
    rows = []
    for k in range(POINTS):
        away = low + k * step - found.centre
        middle = estimate.estimate + found.slope * away
        error = z * math.hypot(estimate.std_error, found.std_error * away)
        if abs(middle) + error > 300:
            return []
        ratios = {"ratio": middle, "low": middle - error, "high": middle + error, "constant": estimate.estimate}
        rows.append({"term": name, "time": low + k * step, **{key: math.exp(v) for key, v in ratios.items()}})
    return rows
