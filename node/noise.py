"""Differential privacy at the node: noise on what leaves, and a ledger of what a study has spent.

The noise is OpenDP's discrete Gaussian, drawn from the operating system's randomness; our own part is the arithmetic
of shares (`cohortium/privacy.py`) and the account. Before noise is drawn its cost is written down, so that a crash can
lose an answer but never a charge. A question that is relayed again gets the bytes that were kept and costs nothing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cohortium.errors import CohortiumError, Refused
from cohortium.privacy import noise_of, share_of
from cohortium.quantities import Array, NoisyKind, Sums

S = TypeVar("S", bound=Sums)

SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    number INTEGER PRIMARY KEY, dataset TEXT NOT NULL, study TEXT NOT NULL, job TEXT NOT NULL, rho REAL NOT NULL
);
"""
IN_MEMORY = Path(":memory:")
ROUNDING = 1e-9


@dataclass(frozen=True)
class Grant:
    """What a question may spend: for which study and job, of what budget, and with how many cohorts noise is shared."""

    study: str
    job: str
    budget: float
    cohorts: int


class NoiseUnavailable(CohortiumError):
    """OpenDP is not installed at this node."""


class PrivacyAccount:
    """What each study has spent on one dataset, in rho of zCDP. Safe to use from several threads and processes."""

    def __init__(self, dataset: str, path: Path = IN_MEMORY) -> None:
        self.dataset = dataset
        self._lock = threading.Lock()
        if path != IN_MEMORY:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.executescript(SCHEMA)

    def spend(self, grant: Grant, rho: float) -> None:
        """Charge an answer to a study. Raises Refused when that would exceed its budget."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._charge(grant, rho)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def spent(self, study: str) -> float:
        """What a study has spent."""
        with self._lock:
            return self._spent(study)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _charge(self, grant: Grant, rho: float) -> None:
        if self._spent(grant.study) + rho > grant.budget * (1 + ROUNDING):
            raise Refused(
                "The study's privacy budget at a cohort does not cover this question. Ask with a smaller `rho`, or "
                "have the data access committee grant more.",
                rule="privacy_budget",
            )
        row = (self.dataset, grant.study, grant.job, rho)
        self._db.execute("INSERT INTO spent (dataset, study, job, rho) VALUES (?, ?, ?, ?)", row)

    def _spent(self, study: str) -> float:
        query = "SELECT TOTAL(rho) FROM spent WHERE dataset = ? AND study = ?"
        return float(self._db.execute(query, (self.dataset, study)).fetchone()[0])


def is_noisy(record: type[Sums]) -> bool:
    """Whether a record has fields that leave with noise only."""
    return any(isinstance(kind, NoisyKind) for kind in record.kinds.values())


def add_noise(sums: S, rho: float, cohorts: int) -> S:
    """The record with this cohort's share of the noise in its noisy fields.

    Raises Refused for what is no whole number: its noise would not hide it. Raises NoiseUnavailable.
    """
    arrays = sums.arrays()
    noise = noise_of(type(sums), {name: a.shape for name, a in arrays.items()}, rho)
    for name, scale in noise.items():
        if np.any(arrays[name] != np.rint(arrays[name])):
            raise Refused(f"`{name}` is to leave with noise, but is not a whole number.", rule="declared_kinds")
        drawn = _gaussian(arrays[name].size, share_of(scale, cohorts))
        arrays[name] = arrays[name] + drawn.reshape(arrays[name].shape)
    return type(sums).from_arrays(arrays)


def _gaussian(size: int, scale: float) -> Array:
    try:
        import opendp.prelude as dp  # noqa: PLC0415 - seconds to load, and few nodes need it
    except ImportError:
        raise NoiseUnavailable("This node cannot add noise: its operator has to install the extra `privacy`.") from None
    dp.enable_features("contrib")
    mechanism = dp.m.make_gaussian(dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float), scale)
    return np.array(mechanism([0] * size), dtype=np.float64)
