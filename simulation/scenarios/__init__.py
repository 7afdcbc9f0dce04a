"""Scenarios: cohorts, what is wrong with their data, a study and faults, in one file (docs/scenarios.md).

from simulation import scenarios
played = scenarios.play(scenarios.Scenario.from_toml("configs/scenarios/rehearsal.toml"))
print(played.as_text())
"""

from __future__ import annotations

from simulation.scenarios.description import Asked, InvalidScenario, People, Problems, Scenario
from simulation.scenarios.outcome import Outcome, Played
from simulation.scenarios.playing import Where, play

__all__ = ["Asked", "InvalidScenario", "Outcome", "People", "Played", "Problems", "Scenario", "Where", "play"]
