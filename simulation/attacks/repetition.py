"""Asking again and again."""

from __future__ import annotations

import numpy as np

from simulation.attacks.attack import attack
from simulation.attacks.attempt import Attempt, Blocked, shown

TIMES = 60


@attack("researcher", guard="the same answer to the same question", source="Dwork & Roth (2014), section 3.5")
def averaging(at: Attempt) -> dict[str, float]:
    """Noise averaged away: the same question many times. The same answer every time tells nothing new."""
    means = []
    for _ in range(TIMES):
        means.append(shown(at.ask("describe", variables=["income"])["income"].mean))
        if len(means) == 3 and len(set(means)) == 1:
            raise Blocked("the same answer every time")
    return {"mean income": float(np.mean(means))}
