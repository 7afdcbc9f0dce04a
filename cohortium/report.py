"""Results for people: text, data frames, HTML."""

# ruff: noqa: PLC0415 - rich, narwhals, altair and jinja2 cost up to half a second each: only who uses one loads it

from __future__ import annotations

import importlib.util
import io
import math
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cohortium.errors import InvalidQuestion

if TYPE_CHECKING:
    import altair
    import jinja2
    from rich.table import Table as Grid

    from cohortium.result import Result

Cell = str | float | int | None

WIDTH = 110
WITHHELD = "withheld"
_BACKENDS = ("pandas", "polars", "pyarrow")
# Shown first and in this order where a result has them; what else it has follows.
_HEADING = ("formula", "where", "complete", "family", "link", "cohort_effect", "cohorts", "n", "n_excluded", "rounds")
_NOT_SHOWN = {"analysis", "warnings", "exactness"}
_NAMES = {"complete": "also complete", "n": "people", "n_excluded": "excluded (missing values)"}


@dataclass(frozen=True)
class Table:
    """A titled table: one tuple per row, one heading per column. None is shown as withheld."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def as_text(result: Result) -> str:
    """The result as plain text of 110 columns: what was asked, of whom, the tables, and the warnings."""
    asked, found = facts(result)
    parts = [title(result), _aligned(asked, 1), _aligned(found, 3)]
    parts += [table_as_text(table) for table in result.tables()]
    parts += [_wrapped(_stated(result))]
    parts += ["\n".join(f"Warning: {plain(w)}" for w in result.warnings)]
    return "\n\n".join(part for part in parts if part)


def _aligned(pairs: list[tuple[str, str]], across: int) -> str:
    """Names and values in so many pairs of columns, down and then across."""
    height = -(-len(pairs) // across)
    blocks = [pairs[i : i + height] for i in range(0, len(pairs), height or 1)]
    widths = [(max(len(n) for n, _ in block), max(len(v) for _, v in block)) for block in blocks]
    lines = [
        "    ".join(
            f"{block[row][0]:<{name}}  {block[row][1]:<{value}}"
            for block, (name, value) in zip(blocks, widths, strict=True)
            if row < len(block)
        )
        for row in range(height)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _stated(result: Result) -> list[tuple[str, str]]:
    """The statement of exactness: name and words of each part."""
    return [(name, plain(words)) for name, words in (result.exactness.facts() if result.exactness else [])]


def _wrapped(pairs: list[tuple[str, str]]) -> str:
    """Names and words below each other, the words folded beside their name."""
    folder = textwrap.TextWrapper(WIDTH, subsequent_indent=" " * 13, break_on_hyphens=False, break_long_words=False)
    return "\n".join(folder.fill(f"{name:<13}{words}") for name, words in pairs)


def title(result: Result) -> str:
    """What the analysis calls itself."""
    from cohortium.analysis import registry

    known = registry().get(result.analysis)
    return plain(known.title.rstrip(".") if known else result.analysis or type(result).__name__)


def facts(result: Result) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Name and value of everything in the result that is one number or one word: what was asked, what was found."""
    fields = type(result).model_fields
    found = [f for f in fields if f not in _HEADING and f not in _NOT_SHOWN]
    return _shown(result, [f for f in _HEADING if f in fields]), _shown(result, found)


def _shown(result: Result, fields: list[str]) -> list[tuple[str, str]]:
    values = [(f, _fact(f, getattr(result, f))) for f in fields]
    return [(_NAMES.get(f, f.replace("_", " ")), plain(value)) for f, value in values if value is not None]


def _fact(field: str, value: Any) -> str | None:
    if field == "cohorts":
        return f"{', '.join(value)} ({len(value)})" if value else None
    if field == "complete":
        return ", ".join(value) or None
    if value is None:
        return WITHHELD if field == "n_excluded" else None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or None
    return _significant(value) if isinstance(value, int | float) else None


def table_as_text(table: Table) -> str:
    """One table as plain text; numbers stand right and whole, words left and folded where they must be."""
    from rich.console import Console

    if not table.columns:
        return plain(table.title)
    headings, right, rows = [plain(name) for name in table.columns], numeric(table), cells(table)
    if _width(headings, right, rows, folded=math.inf) > WIDTH:
        headings = [name.replace(" ", "\n") if r else name for name, r in zip(headings, right, strict=True)]
    # Wider than a page is better than a number cut in two.
    width = max(WIDTH, int(_width(headings, right, rows, folded=20)))
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False, force_terminal=False)
    with console.capture() as captured:
        console.print(_grid(headings, right, rows))
    # The title stands above the grid rather than in it, where it would be folded to the width of a narrow table.
    lines = [plain(table.title), *(line.rstrip() for line in captured.get().splitlines())]
    return "\n".join(lines).strip("\n")


def _width(headings: list[str], right: list[bool], rows: list[list[str]], folded: float) -> float:
    """Characters that a table takes when its words, but not its numbers, are folded to `folded` of them."""
    columns = zip(headings, *rows, strict=True)
    widest = [max(len(line) for text in column for line in text.split("\n")) for column in columns]
    return sum((w if r else min(w, folded)) + 3 for w, r in zip(widest, right, strict=True))


def _grid(headings: list[str], right: list[bool], rows: list[list[str]]) -> Grid:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    # Text, not str: a square bracket in a label is a bracket, not a style.
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, r in zip(headings, right, strict=True):
        grid.add_column(Text(heading), justify="right" if r else "left", overflow="fold", no_wrap=r)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def numeric(table: Table) -> list[bool]:
    """Which columns stand right: those with numbers, even if a word (`not reached`) is among them."""
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    return [any(isinstance(v, int | float) for v in column) or not any(column) for column in columns]


def cells(table: Table) -> list[list[str]]:
    """The rows as words: digits that mean something, small p-values as `<1e-4`, None as withheld."""
    columns = [_formatted(name, [row[i] for row in table.rows]) for i, name in enumerate(table.columns)]
    return [list(row) for row in zip(*columns, strict=True)]


def _formatted(name: str, values: list[Cell]) -> list[str]:
    if name.lower().replace("_", " ").replace("-", " ") in {"p", "p value"}:
        return [_p_value(v) if isinstance(v, int | float) else _words(v) for v in values]
    decimals = _decimals([abs(v) for v in values if isinstance(v, float) and math.isfinite(v)])
    return [_number(v, decimals) if isinstance(v, int | float) else _words(v) for v in values]


def _words(value: str | None) -> str:
    return WITHHELD if value is None else plain(value)


def _p_value(p: float) -> str:
    return "<1e-4" if p < 1e-4 else f"{p:.4f}" if math.isfinite(p) else "-"


def _decimals(sizes: list[float]) -> int | None:
    """Decimals that show four digits of a column's largest number and three of its smallest.

    None if its numbers differ too much for that.
    """
    sizes = [s for s in sizes if s > 0]
    if not sizes or all(s.is_integer() and s < 1e15 for s in sizes):
        return 0
    least, largest = min(sizes), max(sizes)
    if largest / least > 1e4 or not 1e-4 <= least <= largest < 1e9:
        return None
    return max(0, 3 - math.floor(math.log10(largest)), 2 - math.floor(math.log10(least)))


def _number(value: float, decimals: int | None) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "∞" if value > 0 else "-∞"
    return _significant(value) if decimals is None else f"{value + 0.0:.{decimals}f}"


def _significant(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.6g}" if math.isfinite(value) else "-"


def plain(text: str) -> str:
    """Text without line breaks and control characters: a label cannot redraw somebody's terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def as_frame(table: Table, backend: str | None = None) -> Any:
    """The table as a data frame of `backend` ("pandas", "polars" or "pyarrow"), or of the first that is installed.

    Withheld is null. Raises InvalidQuestion for another backend, or one that is not installed.
    """
    import narwhals as nw

    if backend is not None and backend not in _BACKENDS:
        raise InvalidQuestion(f"`{backend}` is no data frame that Cohortium makes. Choose {', '.join(_BACKENDS)}.")
    chosen = backend or next(name for name in _BACKENDS if importlib.util.find_spec(name))
    if importlib.util.find_spec(chosen) is None:
        raise InvalidQuestion(f"{chosen} is not installed: pip install 'cohortium[{chosen}]'.")
    columns = {name: _column([row[i] for row in table.rows]) for i, name in enumerate(table.columns)}
    return nw.from_dict(columns, backend=cast(Any, chosen)).to_native()


def _column(values: list[Cell]) -> list[Any]:
    present = [v for v in values if v is not None and v != ""]
    if any(isinstance(v, str) for v in present):
        return [None if v is None else str(v) for v in values]
    kind = float if any(isinstance(v, float) for v in present) else int
    return [None if v is None or v == "" else kind(v) for v in values]


def chart_of(result: Result) -> altair.TopLevelMixin:
    """The chart of the result. Raises InvalidQuestion if it has none."""
    chart = result.chart()
    if chart is None:
        raise InvalidQuestion(f"`{result.analysis}` has no chart; its tables are in to_frame() and summary().")
    return chart


def svg(result: Result) -> str | None:
    """The chart as SVG, drawn on this machine without any network; None if there is no chart."""
    chart = result.chart()
    if chart is None:
        return None
    drawn = io.StringIO()
    chart.save(drawn, format="svg")
    return drawn.getvalue()


def as_html(result: Result) -> str:
    """The result as a fragment of HTML, for a notebook."""
    return _templates().get_template("result.html").render(_content(result))


def as_page(result: Result) -> str:
    """The result as one HTML page with its chart; it needs no network, and prints well."""
    page = _templates().get_template("report.html")
    return page.render(_content(result), chart=svg(result), methods=result.methods().split("\n\n"))


def write_html(result: Result, path: Path) -> Path:
    """Write `as_page` to a file and return its path."""
    path.write_text(as_page(result), encoding="utf-8")
    return path


def table_as_html(table: Table) -> str:
    """One table as a fragment of HTML."""
    return _templates().get_template("table.html").render(table=_rendered(table))


def _content(result: Result) -> dict[str, Any]:
    asked, found = facts(result)
    tables, warnings = [_rendered(table) for table in result.tables()], [plain(w) for w in result.warnings]
    told = {"title": title(result), "facts": asked + found, "exactness": _stated(result)}
    return told | {"tables": tables, "warnings": warnings}


def _rendered(table: Table) -> dict[str, Any]:
    columns = [*map(plain, table.columns)]
    return {"title": plain(table.title), "columns": columns, "numeric": numeric(table), "rows": cells(table)}


@cache
def _templates() -> jinja2.Environment:
    from jinja2 import PackageLoader
    from jinja2.sandbox import SandboxedEnvironment

    loader = PackageLoader("cohortium")
    return SandboxedEnvironment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
