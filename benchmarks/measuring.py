"""Timing, and the table that it ends up in."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, and the budget or the competitor beside it."""

    what: str
    measured: str
    budget: str = ""
    remark: str = ""


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def side_by_side(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds per action, taken in turn (A B C, A B C …), so that a machine that slows down slows all of them."""
    for action in actions.values():
        action()  # a warm-up that does not count
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            taken[name].append(timed(action))
    return taken


def spread(seconds: list[float], unit: str = "s") -> str:
    """Median with minimum and maximum."""
    factor = 1000 if unit == "ms" else 1
    low, middle, high = (factor * f(seconds) for f in (min, statistics.median, max))
    digits = 0 if unit == "ms" else 2
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}-{high:.{digits}f})"


def machine() -> str:
    """What this was measured on, without naming the machine."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
