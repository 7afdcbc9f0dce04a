"""The information budget: how many figures a study was told, beside how many values its data hold.

Enough sums over the same people determine their values, whatever each of them says by itself: with as many figures as
values, by solving equations; and with fewer where values are few (Dinur & Nissim 2003, Revealing information while
preserving privacy, PODS). So a node counts what it releases to each study, and refuses beyond a share of the values
that the study's permit covers (rows times variables).

Zeros, withheld cells and votes are not counted, a symmetric matrix counts once, and so does what is told again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from cohortium.errors import Refused
from cohortium.messages import BudgetState
from cohortium.quantities import Array, FlagKind, SumOver, Sums

SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (study TEXT PRIMARY KEY, figures INTEGER NOT NULL, cells INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS told (study TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (study, digest)) WITHOUT ROWID;
"""
MORE = """
INSERT INTO spent VALUES (?1, ?2, ?3) ON CONFLICT (study) DO UPDATE SET figures = figures + ?2, cells = ?3
"""
NEARLY = 0.9
"""Share of what may be told from which a study is said to have spent it: what is left is less than most jobs take."""
IN_MEMORY = Path(":memory:")


@dataclass(frozen=True)
class Spent:
    """What a study was told: `figures`, of the `cells` (rows times variables) that its permit covers."""

    study: str
    figures: int
    cells: int

    @property
    def share(self) -> float:
        """Figures per value; 0 of no data."""
        return self.figures / self.cells if self.cells else 0.0

    def state(self, warn: float, refuse: float) -> BudgetState:
        """How it stands, in the only words that others are told: shares would tell how many people there are."""
        if self.share > NEARLY * refuse:
            return "spent"
        return "low" if self.share > warn else "open"


@dataclass(frozen=True)
class Asked:
    """What was asked: a statistic at broadcast values, and (as text) with which parameters."""

    statistic: str
    broadcast: Mapping[str, Array]
    params: str


@dataclass(frozen=True)
class Cost:
    """What one answer would add: none if the study was told the very same before."""

    study: str
    digest: bytes
    figures: int
    cells: int


class Budget:
    """What a node has told each study, as numbers. Safe to use from several threads.

    Args:
        path: The SQLite file, which may be the ledger's; made, readable by its owner alone, if it is not there.

    """

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self._lock = threading.Lock()
        if path != IN_MEMORY:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        # NORMAL: a power cut may lose the last few figures of a count, which is a bound and no secret.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {SCHEMA}")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def cost(self, study: str, asked: Asked, sums: Sums, *, cells: int, most: float) -> Cost:
        """What it costs to answer what a study asked with these sums; `cells` are the values that the permit covers.

        Raises Refused if the study would have been told more than `most` figures per value.
        """
        digest = _digest(asked, sums)
        with self._lock:
            again = self._db.execute("SELECT 1 FROM told WHERE study = ? AND digest = ?", (study, digest)).fetchone()
        figures = 0 if again else count_figures(sums)
        spent = self.spent(study).figures + figures
        if figures and spent > most * cells:
            raise Refused(
                "This study has been told so many figures that together they would begin to tell the values of single "
                "people; this cohort's policy forbids more (budget_refuse). Ask for smaller models, fewer groups and "
                "coarser grids; a new question is for the data access committee, as a new study.",
                rule="budget_refuse",
            )
        return Cost(study, digest, figures, cells)

    def pay(self, cost: Cost) -> None:
        """Enter what is about to be told."""
        with self._lock:
            if not cost.figures:
                return
            self._db.execute("BEGIN IMMEDIATE")
            new = self._db.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (cost.study, cost.digest)).rowcount
            self._db.execute(MORE, (cost.study, cost.figures * new, cost.cells))
            self._db.execute("COMMIT")

    def spent(self, study: str) -> Spent:
        """What a study was told so far."""
        with self._lock:
            row = self._db.execute("SELECT figures, cells FROM spent WHERE study = ?", (study,)).fetchone()
        return Spent(study, *(row or (0, 0)))

    def studies(self) -> list[Spent]:
        """What every study was told, the most first."""
        with self._lock:
            rows = self._db.execute("SELECT study, figures, cells FROM spent").fetchall()
        return sorted((Spent(*row) for row in rows), key=lambda spent: -spent.share)


def count_figures(sums: Sums) -> int:
    """How many figures a record tells."""
    return sum(_figures(value, sums.kinds[name]) for name, value in sums.arrays().items())


def _figures(value: Array, kind: object) -> int:
    if isinstance(kind, FlagKind):
        return 0
    if isinstance(kind, SumOver) and kind.positive and value.ndim >= 2:
        value = value[..., *np.triu_indices(value.shape[-1])]
    return int(np.count_nonzero(np.nan_to_num(value, posinf=1, neginf=1)))


def _digest(asked: Asked, sums: Sums) -> bytes:
    """The same for the same figures: counts may be equal by chance, so that it also matters what was counted."""
    counts = all(np.all(np.isnan(value) | (value == np.floor(value))) for value in sums.arrays().values())
    digest = blake2b(f"{asked.statistic}\0{asked.params if counts else ''}".encode(), digest_size=16)
    for name, value in [*sorted(asked.broadcast.items()), *sums.arrays().items()]:
        digest.update(f"\0{name}\0{np.shape(value)}\0".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.digest()
