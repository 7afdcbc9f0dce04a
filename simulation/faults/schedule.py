"""What goes wrong, where and when: one fault, and a schedule of several drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NodeFault = Literal[
    "slow",
    "frozen",
    "restarting",
    "flapping",
    "clock-skewed",
    "dead",
    "withdrawn",
    "failing",
    "wrong-dictionary",
    "wrong-version",
]
MessageFault = Literal["cut", "delayed", "duplicated", "reordered"]
CoordinatorFault = Literal["killed", "stopped", "killed-before-write", "killed-after-write", "full-disk"]
Kind = NodeFault | MessageFault | CoordinatorFault

NODE: tuple[NodeFault, ...] = NodeFault.__args__  # type: ignore[attr-defined]
MESSAGE: tuple[MessageFault, ...] = MessageFault.__args__  # type: ignore[attr-defined]
COORDINATOR: tuple[CoordinatorFault, ...] = CoordinatorFault.__args__  # type: ignore[attr-defined]

# Faults after which a job may end without a result, and the kind of problem that it must then tell. After every other
# fault, in whatever number and order, a job must end with the right result.
EXCUSES: dict[str, str] = {
    "dead": "JobCancelled",  # a job waits for its cohorts; at the limit the researcher gives it up
    "withdrawn": "NodeFailed",
    "failing": "NodeFailed",
    "wrong-dictionary": "InvalidQuestion",
    "wrong-version": "NodeFailed",
}
# What can be done to real processes.
REAL: tuple[Kind, ...] = (
    *("slow", "frozen", "restarting", "flapping", "dead", "wrong-dictionary"),
    *("killed", "stopped"),
)
WRITES = ("killed-before-write", "killed-after-write", "full-disk")


class Fault(BaseModel):
    """One thing that goes wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(description="What goes wrong.")
    cohort: str | None = Field(
        None, description="Whose node; for messages, whose messages (nobody named: everybody's)."
    )
    at: float = Field(0.0, ge=0, description="When it begins, in seconds after the first job was submitted.")
    lasts: float = Field(5.0, ge=0, le=3600, description="How long it lasts, in seconds.")
    share: float = Field(0.3, gt=0, le=1, description="Of messages: the share that it befalls.")
    write: int = Field(1, ge=1, description="Of the coordinator's store: at which of the writes of jobs.")

    @model_validator(mode="after")
    def _somebodys(self) -> Self:
        if self.kind in NODE and self.cohort is None:
            raise ValueError(f"`cohort` is missing: whose node is {self.kind}?")
        if self.kind in COORDINATOR and self.cohort is not None:
            raise ValueError(f"`cohort` does not belong to `{self.kind}`, which is about the coordinator")
        return self

    def __str__(self) -> str:
        when = f"at write {self.write}" if self.kind in WRITES else f"at {self.at:.1f} s for {self.lasts:.1f} s"
        return f"{self.kind}{f' {self.cohort}' if self.cohort else ''} {when}"


class Schedule(BaseModel):
    """What goes wrong while jobs run. `seed` also decides which messages are hit, and how long everything takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    faults: tuple[Fault, ...]

    @property
    def excuses(self) -> set[str]:
        """The kinds of problem with which a job may end instead of with its result."""
        return {EXCUSES[fault.kind] for fault in self.faults if fault.kind in EXCUSES}

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults)) or "nothing goes wrong"


# How often each fault is drawn, relative to the others: mostly those after which the result must come.
_WEIGHTS: dict[Kind, float] = {
    **dict.fromkeys(NODE[:5], 3.0),
    **dict.fromkeys(NODE[5:], 0.5),
    **dict.fromkeys(MESSAGE, 3.0),
    **dict.fromkeys(COORDINATOR, 2.0),
}


def draw(
    seed: int,
    cohorts: Sequence[str],
    *,
    kinds: Sequence[Kind] = tuple(_WEIGHTS),
    within: float = 60.0,
    longest: float = 900.0,
) -> Schedule:
    """The schedule of a seed: up to six faults, that begin within so many seconds and last so many at most."""
    rng = random.Random(seed)  # noqa: S311 - replayable is what it must be
    weights = [_WEIGHTS[kind] for kind in kinds]
    drawn = rng.choices(kinds, weights, k=rng.randint(1, 6))
    return Schedule(seed=seed, faults=tuple(_fault(rng, kind, cohorts, within, longest) for kind in drawn))


def _fault(rng: random.Random, kind: Kind, cohorts: Sequence[str], within: float, longest: float) -> Fault:
    cohort = None if kind in COORDINATOR else rng.choice(cohorts)
    if kind in MESSAGE and rng.random() < 0.5:
        cohort = None
    # Many short ones, some that outlast every patience: heartbeats (20 s), the time of a message (10 min).
    lasts = rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 30), rng.uniform(0, 900)))
    return Fault(
        kind=kind,
        cohort=cohort,
        at=round(rng.uniform(0, within), 3),
        lasts=round(min(lasts, longest), 3),
        share=rng.choice((0.1, 0.3, 0.8)),
        write=rng.randint(1, 12),
    )
