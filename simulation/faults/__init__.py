"""Faults: what goes wrong in real networks, by seed and replayable, over whole jobs (docs/faults.md).

from simulation import faults
faults.trial(seed=123).sentence
"""

from __future__ import annotations

from simulation.faults.judging import Verdict
from simulation.faults.schedule import Fault, Schedule, draw
from simulation.faults.virtual import trial

__all__ = ["Fault", "Schedule", "Verdict", "draw", "trial"]
