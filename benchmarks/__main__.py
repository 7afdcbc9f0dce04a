"""Run every benchmark and write the table into docs/performance.md: `make bench`."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import UTC, datetime
from pathlib import Path

import benchmarks
from benchmarks.measuring import Row, machine

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
START, END = "<!-- measured: start -->", "<!-- measured: end -->"


def main() -> None:
    """Measure module by module and show each row as it comes."""
    rows: list[Row] = []
    for module in pkgutil.iter_modules(benchmarks.__path__):
        measure = getattr(importlib.import_module(f"benchmarks.{module.name}"), "measure", None)
        if measure is not None and module.name != "__main__":
            for row in measure():
                rows.append(row)
                print(f"{row.what:62} {row.measured:26} {row.budget:24} {row.remark}", flush=True)
    write(rows)


def write(rows: list[Row]) -> None:
    """Replace the table between the two marks of the page."""
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}. Median (minimum-maximum).",
        "",
        "| what | measured | budget | remark |",
        "|---|---|---|---|",
        *(f"| {r.what} | {r.measured} | {r.budget} | {r.remark} |" for r in rows),
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
