"""The tables of `docs/synthetic-people.md`, from the constants themselves, so that they cannot differ.

`python -m simulation.cohorts.reference docs/synthetic-people.md` writes them anew between their markers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from simulation.cohorts.dictionaries import PEOPLE
from simulation.cohorts.figures import FIGURES, Figure
from simulation.cohorts.holder import Holder
from simulation.cohorts.holders import HOLDERS
from simulation.cohorts.true_effects import truth


def figures() -> str:
    """Every published figure, its values, source and tolerance."""
    rows = ([f.what, str(f.year), _values(f), _tolerance(f), f"{f.source}; {f.provenance}"] for f in FIGURES)
    return _table(["figure", "year", "values", "tolerance", "source"], rows)


def effects() -> str:
    """Every true effect."""
    rows = []
    for e in truth().values():
        what = {"gaussian": "mean", "binomial": "log odds", "hazard": "log hazard per year"}[e.family]
        coefficients = ", ".join(f"`{name}` {value:g}" for name, value in e.coefficients.items())
        spread = ", ".join(f"{name} {sd:g}" for name, sd in e.spread.items())
        intercept = "by age and sex, see `profile`" if e.profile else f"{e.intercept:g}"
        rows.append([f"`{e.outcome}`", what, e.among, intercept, coefficients, spread])
    return _table(["outcome", "on", "among", "intercept", "coefficients", "SD of the rest"], rows)


def holders() -> str:
    """The eleven holders."""
    rows = ([f"`{h.name}`", h.title.en, f"{h.size:,}", _period(h), _ages(h), _lacks(h)] for h in HOLDERS.values())
    return _table(["holder", "kind", "people", "enrolled; followed until", "index ages", "not collected"], rows)


def variables() -> str:
    """The variables of the baseline file."""
    rows = []
    for name, v in PEOPLE.variables.items():
        bounds = f"{v.minimum:g} to {v.maximum:g}" if v.minimum is not None and v.maximum is not None else ""
        possible = ", ".join(v.levels) or (f"{bounds}, by {v.precision:g}" if v.precision else bounds)
        rows.append([f"`{name}`", v.type, v.unit or "", possible, v.label.en])
    return _table(["variable", "type", "unit", "values", "meaning"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "figures": figures,
    "effects": effects,
    "holders": holders,
    "variables": variables,
}


def filled_in(page: str) -> str:
    """The page with what is between the markers of each table replaced."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{table()}{end}{rest.partition(end)[2]}"
    return page


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _values(figure: Figure) -> str:
    return ", ".join(f"{group} {value:,.10g}" for group, value in figure.values.items())


def _tolerance(figure: Figure) -> str:
    return f"{100 * figure.tolerance:g} % of the value" if figure.relative else f"{figure.tolerance:g}"


def _period(holder: Holder) -> str:
    return f"{holder.enrolled[0].year} to {holder.enrolled[1].year}; {holder.followed_until.year}"


def _ages(holder: Holder) -> str:
    return f"{holder.recruitment.youngest} to {holder.recruitment.oldest}"


def _lacks(holder: Holder) -> str:
    return ", ".join(f"`{name}`" for name in holder.absent)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(filled_in(path.read_text(encoding="utf-8")), encoding="utf-8")
