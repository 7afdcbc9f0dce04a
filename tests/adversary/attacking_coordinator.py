"""A coordinator of an attacker's own: it asks what the attack asks that the file `attack` in its folder names.

What the nodes' answers add up to is written to `loot.npy` beside that file.
Started as a process in a real network: `python attacking_coordinator.py FOLDER coordinator start --config …`.
"""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cohortium import cli
from cohortium.result import Result
from coordinator import jobs
from simulation import attacks

FOLDER = Path(sys.argv[1])
honestly = jobs.find


class Listening(attacks.Attempt):
    """Takes note of what an attack would have the coordinator do."""

    def __init__(self):
        super().__init__(None, attacks.VICTIM)
        self.rounds = None

    def drive(self, analysis, rounds, cohorts=None, **params):
        self.rounds = rounds
        raise attacks.Blocked


def find(name):
    file = FOLDER / "attack"
    if not file.exists():
        return honestly(name)
    attack = attacks.find([file.read_text()])[0]
    plan = Listening()
    with contextlib.suppress(attacks.Blocked):
        attack.recover(plan)

    def run(params):
        np.save(FOLDER / "loot.npy", (yield from plan.rounds(params)))
        return Result(n=0)

    return replace(honestly(name), run=run)


jobs.find = find

if __name__ == "__main__":
    sys.argv[:] = ["cohortium", *sys.argv[2:]]
    cli.main()
