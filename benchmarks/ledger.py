"""What the differencing ledger costs: a release of a cohort of a million beside ten thousand earlier ones."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Row, timed
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from node.ledger import Asked, Ledger
from node.releases import Asker, Release
from node.row_sets import RowSet

PEOPLE, RELEASES, LEAST, REPEATS = 1_000_000, 10_000, 10, 15
NAMES = frozenset({"x", "y"})
BUDGET = "<= 20 ms"


def measure() -> list[Row]:
    """Rows for a release that is compared with all earlier ones, for one told before, and for loading the data."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        everybody, loading = _people(ledger, rng)
        _fill(ledger, everybody, rng)
        fresh = [_some(everybody, rng) for _ in range(REPEATS)]
        first = [
            timed(lambda a=asked, i=i: ledger.admit([a], _asker(f"new{i}"), LEAST)) for i, asked in enumerate(fresh)
        ]
        again = [
            timed(lambda a=asked, i=i: ledger.admit([a], _asker(f"new{i}"), LEAST)) for i, asked in enumerate(fresh)
        ]
        ledger.close()
    beside = f"ledger: {PEOPLE:,} people, {RELEASES:,} earlier releases"
    return [
        Row(f"{beside}, a new set of rows", f"{1e3 * statistics.median(first):.1f} ms", BUDGET, "compared and entered"),
        Row(f"{beside}, the next round of the job", f"{1e6 * statistics.median(again):.0f} µs"),
        Row(f"ledger: {PEOPLE:,} people numbered when data are loaded", f"{loading:.2f} s"),
    ]


def _asker(job: str) -> Asker:
    return Asker(job=job, study="study", researcher="researcher", cohorts=("a", "b", "c"))


def _people(ledger: Ledger, rng: np.random.Generator) -> tuple[Data, float]:
    variables = {name: Variable(type="number") for name in NAMES}
    columns = {name: rng.normal(size=PEOPLE) for name in NAMES}
    keys = rng.permutation(PEOPLE).astype(np.int64)
    data = Data(Dictionary(name="d", version="1", variables=variables), columns, PEOPLE, keys=keys)
    seconds = timed(lambda: setattr(data, "numbers", ledger.number(data)))
    return data, seconds


def _fill(ledger: Ledger, data: Data, rng: np.random.Generator) -> None:
    """Earlier releases: half of all people at random, of nearly the same size, so that sizes alone tell few apart."""
    asked, numbers = _asker("old"), data.numbers
    assert numbers is not None
    # Rows of a few large sets, and sketches as ten thousand such sets have them: making those would take minutes.
    kept = [RowSet.of(numbers[rng.random(PEOPLE) < 0.5]) for _ in range(8)]
    entered = []
    for number in range(RELEASES):
        rows = kept[number % len(kept)]
        sketch = _shifted(rows.sketch, rng) if number >= len(kept) else rows.sketch
        told = Release.to(asked, NAMES, NAMES, rows)
        entered.append((told, sketch))
    for told, sketch in entered:
        ledger._index.add(told, sketch)


def _shifted(sketch: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """The sketch of another set of much the same size: what two random halves of all people differ by."""
    return (sketch + rng.integers(-60, 61, len(sketch))).astype(np.int32)


def _some(data: Data, rng: np.random.Generator) -> Asked:
    asked = Asked.complete(data.subset(rng.random(PEOPLE) < 0.5), NAMES)
    asked.data.complete(NAMES)  # the statistic has worked that out before anything is released
    return asked
