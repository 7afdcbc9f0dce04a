"""What was measured, the model that explains it, and the page and chart that show both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
CHART = PAGE.with_name("growth.svg")
START, END = "<!-- growth: start -->", "<!-- growth: end -->"


@dataclass(frozen=True)
class Measured:
    """What one question took."""

    analysis: str
    people: int
    covariates: int
    nodes: int
    mapped: bool
    rounds: int
    seconds: float  # by the clock, of a machine that may have other things to do
    processor: float  # seconds of all processors together
    bytes: int
    megabytes: float  # beyond the data; of a network in files, everything that is not a file


@dataclass(frozen=True)
class Explained:
    """Processor seconds = rounds x (nodes x per_answer + people x (p x per_value + p^2 x per_product))."""

    analysis: str
    per_answer: float
    per_value: float
    per_product: float
    error: float  # median relative error over everything measured

    def seconds(self, m: Measured) -> float:
        """What the model says."""
        return float(_terms(m) @ [self.per_answer, self.per_value, self.per_product])


def _terms(m: Measured) -> np.ndarray:
    p, n = m.covariates, m.people
    return m.rounds * np.array([m.nodes, n * p, n * p * p], dtype=float)


def explain(analysis: str, measured: list[Measured]) -> Explained:
    """The three costs that fit best, in relative terms."""
    mine = [m for m in measured if m.analysis == analysis]
    took = np.array([m.processor for m in mine])
    terms = np.array([_terms(m) for m in mine])
    costs, _ = nnls(terms / took[:, None], np.ones(len(mine)))
    error = float(np.median(np.abs(terms @ costs / took - 1)))
    return Explained(analysis, *map(float, costs), error)


def write(measured: list[Measured], heading: str) -> None:
    """Replace what is between the two marks of the page, and the chart."""
    models = {a: explain(a, measured) for a in dict.fromkeys(m.analysis for m in measured)}
    lines = [heading, "", *_table(measured, models), "", *_models(models), "", f"![Growth]({CHART.name})"]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")
    draw(measured, models)


def _table(measured: list[Measured], models: dict[str, Explained]) -> list[str]:
    rows = [
        f"| {m.analysis} | {m.people:,}{', in files' if m.mapped else ''} | {m.covariates} | {m.nodes} | {m.rounds} "
        f"| {m.seconds:.2f} s | {m.processor:.2f} s | {models[m.analysis].seconds(m):.2f} s "
        f"| {m.bytes / m.nodes / 1024:.0f} kB | {m.megabytes:.0f} MB |"
        for m in measured
    ]
    head = "| analysis | people | covariates | nodes | rounds | time | processor time | model of it "
    head += "| bytes per node | memory beyond the data |"
    return [head, "|---|---|---|---|---|---|---|---|---|---|", *rows]


def _models(models: dict[str, Explained]) -> list[str]:
    lines = [
        "| analysis | per answer | per value | per product of two | median error of the model |",
        "|---|---|---|---|---|",
    ]
    for m in models.values():
        costs = f"{1e3 * m.per_answer:.2f} ms | {1e9 * m.per_value:.2f} ns | {1e9 * m.per_product:.3f} ns"
        lines.append(f"| {m.analysis} | {costs} | {m.error:.0%} |")
    return lines


def draw(measured: list[Measured], models: dict[str, Explained]) -> None:
    """Time against each of the three that grow; lines are the model."""
    import altair as alt

    panels = []
    for what in ("people", "covariates", "nodes"):
        rows = [{**asdict(m), "model": models[m.analysis].seconds(m)} for m in measured if _grows(m, what, measured)]
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X(f"{what}:Q", scale=alt.Scale(type="log"), title=what), color=alt.Color("analysis:N", title=None)
        )
        scale = alt.Scale(type="log")
        points = base.mark_point(filled=True).encode(y=alt.Y("processor:Q", scale=scale, title="processor seconds"))
        panels.append((points + base.mark_line(opacity=0.5).encode(y="model:Q")).properties(width=210, height=180))
    alt.hconcat(*panels).save(str(CHART))


def _grows(m: Measured, what: str, measured: list[Measured]) -> bool:
    """Whether, but for `what`, this is the network of middling size (the first)."""
    middle = measured[0]
    others = [name for name in ("people", "covariates", "nodes") if name != what]
    return m.mapped == (what == "people" and m.mapped) and all(
        getattr(m, name) == getattr(middle, name) or (m.mapped and name == "nodes") for name in others
    )
