"""The rounds of a job: questions to the nodes and sums back, or the same from what was written down before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from cohortium.analysis import REFUSALS, Analysis, Question
from cohortium.asking import asked_by, combine_signed, compose_signed
from cohortium.documents import Job, Roster
from cohortium.errors import CohortiumError
from cohortium.masks import Asked
from cohortium.messages import Papers, Progress
from cohortium.quantities import Sums
from cohortium.transcript import Round
from coordinator.ask import Channel, ask

Totals = Sums | dict[str, Sums]


class ReplayDiffers(CohortiumError):
    """A resumed job asked something else than before: code, dictionary or platform changed in between."""


@dataclass
class Rounds:
    """The rounds of one run of a job: replayed from the transcript as far as that goes, then put to the nodes."""

    analysis: Analysis[Any, Any]
    signed: Job
    roster: Roster
    papers: Papers
    channel: Channel
    transcript: Mapping[int, tuple[str, bytes]]
    _: KW_ONLY
    given_up: threading.Event
    show: Callable[[Progress], None]
    answered: Callable[[str, bytes, Progress], None]
    round: int = 0

    def ask(self, question: Question) -> Totals:
        """The totals of the next question. Raises ReplayDiffers, JobCancelled or what the nodes reported."""
        self.round += 1
        message = compose_signed(question, self.signed, self.round, self.papers)
        asked = asked_by(message, question.broadcast, self.signed)
        if self.round in self.transcript:
            return self._replay(asked)
        answers = ask(
            self.channel,
            dict.fromkeys(message.cohorts, message.to_bytes(question.broadcast)),
            kind="question",
            round_=self.round,
            on_progress=lambda waiting: self.show(self._progress(question, waiting)),
            cancelled=self.given_up,
        )
        record = Round(message, question.broadcast, answers).to_bytes()
        try:
            totals = combine_signed(self.analysis, asked, self.roster, answers)
        except REFUSALS:
            # The analysis goes on without: that somebody refused is then part of how it came to its result.
            if question.optional:
                self.answered(asked.digest(), record, self._progress(question, ()))
            raise
        self.answered(asked.digest(), record, self._progress(question, ()))
        return totals

    def _replay(self, asked: Asked) -> Totals:
        recorded, record = self.transcript[self.round]
        if recorded != asked.digest():
            raise ReplayDiffers(
                f"The job was interrupted and could not be resumed: question {self.round} is not the one that was "
                "answered before. The analysis or the dictionary has changed since; submit the job again."
            )
        return combine_signed(self.analysis, asked, self.roster, Round.from_bytes(record).answers)

    def _progress(self, question: Question, waiting: Iterable[str]) -> Progress:
        return Progress(round=self.round, statistic=question.statistic, waiting_for=tuple(sorted(waiting)))
