"""Whether a job ended as it must: with the right bits, or with a reason that the schedule explains."""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortium.messages import JobState, JobView
from simulation.faults.schedule import Schedule


@dataclass(frozen=True)
class Ending:
    """How one job ended."""

    question: int
    view: JobView
    result: str | None
    expected: str  # the result when nothing goes wrong, or the kind of problem that the job ends with even then

    def complaint(self, excuses: set[str]) -> str | None:
        """What is wrong with it; None if nothing is."""
        view = self.view
        if not view.state.is_final:
            return f"hangs: {view.state} in round {view.progress.round}, waiting for {view.progress.waiting_for}"
        if view.state is JobState.finished:
            return None if self.result == self.expected else "returned a WRONG NUMBER"
        if view.problem is None or not view.problem.message:
            return f"{view.state} without a reason"
        if view.problem.kind not in {*excuses, self.expected}:
            return f"{view.state} without need: {view.problem.kind}: {view.problem.message}"
        return None


@dataclass
class Verdict:
    """What became of the jobs under one schedule."""

    schedule: Schedule
    real: bool = False  # on real processes
    endings: list[Ending] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: float = 0.0  # that passed for the network
    restarts: int = 0  # of the coordinator
    asked: int = 0  # questions posted to nodes, repeated ones included

    def judge(self) -> Verdict:
        """Add what is wrong with the endings."""
        for ending in self.endings:
            complaint = ending.complaint(self.schedule.excuses)
            if complaint:
                self.complaints.append(f"question {ending.question} {complaint}")
        return self

    @property
    def passed(self) -> bool:
        """Whether every job ended as it must."""
        return not self.complaints

    @property
    def right(self) -> int:
        """How many jobs ended with a result, each of which was compared bit for bit."""
        return sum(e.view.state is JobState.finished for e in self.endings)

    @property
    def reasons(self) -> list[str]:
        """The problems that the other jobs ended with."""
        return [e.view.problem.kind for e in self.endings if e.view.problem is not None]

    @property
    def sentence(self) -> str:
        """All of it in a few lines."""
        ends = ", ".join(
            f"question {e.question}: {e.view.problem.message if e.view.problem else e.view.state}" for e in self.endings
        )
        told = [
            f"seed {self.schedule.seed}: {'passed' if self.passed else 'FAILED'}",
            f"  {self.schedule}",
            f"  {ends}",
        ]
        told += [f"  {self.seconds:.0f} s, {self.asked} questions posted, {self.restarts} restarts of the coordinator"]
        told += [f"  {complaint}" for complaint in self.complaints]
        if not self.passed:
            told += [f"  again: cohortium simulate fault --seed {self.schedule.seed}{' --real' if self.real else ''}"]
        return "\n".join(told)
