"""Federated, pooled and meta-analysed, side by side on the same synthetic people (docs/comparison.md).

from simulation import comparison
print(comparison.compare(comparison.Plan(outcome="cvd_history", people=300, seeds=100)).summary())
"""

from __future__ import annotations

from simulation.comparison.judging import Comparison, compare
from simulation.comparison.plan import Plan

__all__ = ["Comparison", "Plan", "compare"]
