"""What came of a scenario: each result, or why there is none, and beside it what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cohortium.errors import CohortiumError
from cohortium.report import Table, table_as_text
from cohortium.result import Estimate, Result
from simulation import cohorts
from simulation.scenarios.description import Asked, Scenario


@dataclass(frozen=True)
class Outcome:
    """What came of one question."""

    asked: Asked
    result: Result | None = None
    problem: CohortiumError | None = None
    seconds: float = 0.0

    @property
    def bits(self) -> str:
        """The result to its last bit, or the problem, to compare with that of another run."""
        if self.result is not None:
            return self.result.model_dump_json()
        return f"{type(self.problem).__name__}: {self.problem}"

    def as_text(self) -> str:
        """The question, the result, and the truth."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.asked.params.items())
        parts = [f">>> study.{self.asked.analysis}({arguments}).result()"]
        if self.result is None:
            parts.append(f"{type(self.problem).__name__}: {self.problem}")
        else:
            parts.append(self.result.summary())
            if self.asked.truth is not None:
                parts.append(table_as_text(beside_truth(self.result, self.asked.truth)))
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Played:
    """What came of a scenario."""

    scenario: Scenario
    outcomes: tuple[Outcome, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)  # holders whose data could not be read, and why
    notes: tuple[str, ...] = ()  # what happened on the way

    def as_text(self) -> str:
        """All of it."""
        parts = [self.scenario.title]
        parts += [f"{name} does not take part.\n{why}" for name, why in self.left_out.items()]
        parts += [outcome.as_text() for outcome in self.outcomes]
        parts += ["\n".join(self.notes)]
        return "\n\n".join(part for part in parts if part)


def beside_truth(result: Result, outcome: str) -> Table:
    """Each coefficient beside the true one. A z beyond 2 or so is chance once in twenty, or bias."""
    true = cohorts.truth()[outcome].coefficients
    estimates: dict[str, Estimate] = getattr(result, "coefficients", {})
    rows = [_row(name, true[name], estimates[name]) for name in estimates if name in true]
    columns = ("term", "truth", "estimate", "std. error", "z of the difference", "95 % CI has it")
    return Table(f"Beside the truth: {outcome}", columns, tuple(rows))


def _row(name: str, true: float, found: Estimate) -> tuple[Any, ...]:
    z = (found.estimate - true) / found.std_error
    covered = "yes" if found.ci_low <= true <= found.ci_high else "no"
    return name, true, found.estimate, found.std_error, round(z, 2), covered
