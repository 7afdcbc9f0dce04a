"""One answered round in writing: the question, and every node's signed answer as it came.

What lets a job be resumed by replay, and what a result is verified by. Masked as they are, the answers of single
cohorts tell nothing; their sum does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from cohortium.messages import Header, MalformedMessage, QuestionMessage
from cohortium.quantities import Array

_QUESTION, _ANSWER = "question", "answer/"


class _RoundMessage(Header):
    raw: ClassVar[str | None] = ""  # everything in it is bytes


@dataclass(frozen=True)
class Round:
    """A question with its broadcast values (without the papers, which are the job's), and the answers by cohort."""

    question: QuestionMessage
    broadcast: Mapping[str, Array]
    answers: Mapping[str, bytes]

    def to_bytes(self) -> bytes:
        """As it is stored, and travels to whoever verifies."""
        asked = self.question.model_copy(update={"papers": None}).to_bytes(self.broadcast)
        answers = {_ANSWER + cohort: reply for cohort, reply in self.answers.items()}
        return _RoundMessage().to_bytes(raw={_QUESTION: asked} | answers)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The round that `to_bytes` wrote. Raises MalformedMessage."""
        _, parts = _RoundMessage.from_bytes(content)
        if _QUESTION not in parts or any(name != _QUESTION and not name.startswith(_ANSWER) for name in parts):
            raise MalformedMessage("not a round of a transcript")
        question, broadcast = QuestionMessage.from_bytes(parts.pop(_QUESTION).tobytes())
        return cls(question, broadcast, {name[len(_ANSWER) :]: part.tobytes() for name, part in parts.items()})
