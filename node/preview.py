"""What a job would make this node tell, worked out for its operator before anything leaves.

The first round is the question as it came: its record is computed on the node's own rows and shown field by field, as
it is before masking, with what each rule of the policy says of it. Later rounds are not known yet, because their
questions depend on all cohorts' answers. They are rehearsed as if every cohort had this one's data, which gives the
true names, kinds and lengths of what they would ask for. Nothing is sent or logged, and nothing kept but in the ledger
of the node that is handed in, which is to be a copy (`copied`).
"""

from __future__ import annotations

import copy
import inspect
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from cohortium.analysis import Question, conduct, find
from cohortium.errors import CohortiumError, InvalidQuestion, Refused
from cohortium.quantities import Array, Kind, SumOver, Sums
from cohortium.secure_sum import WITHHELD, add_up, decode
from node.answer import CohortNode
from node.approvals import Request
from node.disclosure import Policy, check_company, check_per_cohort
from node.ledger import Ledger
from node.releases import Asker

SILENT: Final = {"approval", "budget_warn", "privacy_budget"}
"""Settings of a policy that forbid nothing, and the account of noise, which is charged as the noise is drawn."""
MOST_ROUNDS: Final = 200
"""Rounds after which a rehearsal has shown enough."""


@dataclass(frozen=True)
class Quantity:
    """A field of a record: what kind it is, in words, and its shape."""

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass
class Round:
    """A statistic, how often it is asked, and what an answer to it holds."""

    statistic: str
    per_cohort: bool
    quantities: tuple[Quantity, ...]
    times: int = 1

    @property
    def entries(self) -> int:
        """How many numbers one answer has."""
        return sum(int(np.prod(quantity.shape)) for quantity in self.quantities)


@dataclass(frozen=True)
class Outcome:
    """What one rule says of the first round: `refusal` has its words if it forbids the answer."""

    rule: str
    threshold: Any
    refusal: str | None = None
    withheld: int = 0


@dataclass
class Preview:
    """What leaves in the first round, and what later ones would ask for.

    `values` are this cohort's own, for its operator only: by field, NaN in the cells that `min_cell` withholds; none
    where the record cannot be computed. `expected`: the first question is the one that the analysis asks first.
    `ended`: why the rehearsal of later rounds did not come to a result, if so.
    """

    first: Round | None
    values: Mapping[str, Array]
    outcomes: tuple[Outcome, ...]
    later: list[Round] = field(default_factory=list)
    expected: bool = True
    ended: str = ""


@contextmanager
def copied(path: Path) -> Iterator[Ledger]:
    """A copy of the ledger in the file `path`, which may be in use: what is previewed is compared, and not entered."""
    with TemporaryDirectory(prefix=".preview-", dir=path.parent) as folder:
        place = Path(folder) / path.name
        if path.is_file():
            source, target = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True), sqlite3.connect(place)
            with closing(source), closing(target):
                source.backup(target)
        with closing(Ledger(place)) as ledger:
            yield ledger


def preview(node: CohortNode, request: Request) -> Preview:
    """What the job of `request` would make `node` tell. Raises InvalidQuestion for one that it cannot be asked."""
    job = _Job(node, request)
    asked = Question(request.question.statistic, request.broadcast, request.question.per_cohort)
    try:
        free = job.released(asked, Policy.none())
    except Refused as refused:  # by what no policy can switch off
        return Preview(None, {}, (Outcome(refused.rule, "always", refused.message),))
    except CohortiumError:
        raise
    except Exception as error:  # as at the node that is asked: what a library says may quote values
        raise InvalidQuestion(f"The question cannot be computed here ({type(error).__name__}).") from None
    outcomes = job.outcomes(asked)
    told = free if any(outcome.refusal for outcome in outcomes) else job.released(asked, node.policy)
    shown = Preview(job.round(asked, free), job.record(asked, told).arrays(), outcomes)
    first = job.rehearse(shown)
    shown.expected = request.question.round != 1 or (first is not None and _same(first, asked))
    return shown


class _Job:
    """A node, as the job of a request asks it."""

    def __init__(self, node: CohortNode, request: Request) -> None:
        if request.job.dictionary != node.dictionary.digest:
            raise InvalidQuestion("The job was signed for another dictionary than this node has: it cannot run.")
        self.node, self.request, self.analysis = node, request, find(request.job.analysis)
        self.params = node.bound(request.job.analysis, request.job.params)

    def released(self, question: Question, policy: Policy, *, compared: bool = False) -> dict[str, Array]:
        """The arrays that leave under a policy, before masking; `compared` with what the ledger holds, or not."""
        node = copy.copy(self.node)  # the same rows, among them the least group that statistics may form
        node.policy = policy
        asker = self._asker() if compared else None
        asked = self.analysis.name, question.statistic, self.params, question.broadcast
        return node.compute(*asked, self.request.permit.variables, asker=asker)

    def _asker(self) -> Asker:
        job, permit = self.request.job, self.request.permit
        alone = self.node.policy.release_per_cohort and permit.options.release_per_cohort
        return Asker(job.digest(), job.study, self.request.researcher, job.cohorts, alone=alone)

    def record(self, question: Question, arrays: Mapping[str, Array]) -> Sums:
        """The arrays as the record that the statistic declares."""
        return decode(self.analysis.sums(question.statistic), arrays)

    def round(self, question: Question, arrays: Mapping[str, Array]) -> Round:
        """What an answer holds: its fields, with the marks of what is withheld, which are masked like all others."""
        kinds = self.analysis.sums(question.statistic).kinds
        shapes = {name: np.shape(a) for name, a in arrays.items()}
        quantities = tuple(Quantity(name, _words(name, kinds), shape) for name, shape in shapes.items())
        return Round(question.statistic, question.per_cohort, quantities)

    def outcomes(self, question: Question) -> tuple[Outcome, ...]:
        """What each rule of the node's policy says, taken by itself; those that ask for nothing are left out."""
        free, compared = Policy.none().model_dump(), self._compared(question)
        active = {name: value for name, value in self.node.policy.model_dump().items() if value != free[name]}
        return tuple(
            Outcome(rule, value, compared[rule]) if rule in compared else self._outcome(question, rule, value)
            for rule, value in active.items()
            if rule not in SILENT
        )

    def _compared(self, question: Question) -> dict[str, str]:
        """The refusals, by rule, of what looks at earlier answers.

        What they let pass is entered, so they are asked together; the budget comes first and enters nothing it refuses.
        """
        limits = {rule: getattr(self.node.policy, rule) for rule in ("budget_refuse", "min_difference")}
        refusals: dict[str, str] = {}
        while limits:
            try:
                self.released(question, Policy.none().model_copy(update=limits), compared=True)
            except Refused as refused:
                refusals[refused.rule] = refused.message
                if refused.rule == "budget_refuse":
                    del limits["budget_refuse"]
                    continue
            break
        return refusals

    def _outcome(self, question: Question, rule: str, threshold: Any) -> Outcome:
        alone = Policy.none().model_copy(update={rule: threshold})
        try:
            if question.per_cohort or len(self.request.job.cohorts) == 1:
                check_per_cohort(alone)
            else:
                check_company(alone, len(self.request.job.cohorts))
            arrays = self.released(question, alone)
        except Refused as refused:
            return Outcome(rule, threshold, refused.message)
        return Outcome(rule, threshold, withheld=_withheld(arrays))

    def rehearse(self, shown: Preview) -> Question | None:
        """Run the analysis on this cohort's rows, note what it asks for, and return what it asks first."""
        asked: list[Question] = []

        def answer(question: Question) -> Sums | dict[str, Sums]:
            if len(asked) == MOST_ROUNDS:
                raise CohortiumError(f"it goes on for more than {MOST_ROUNDS} rounds")
            asked.append(question)
            arrays = self.released(question, Policy.none())
            _note(shown.later, self.round(question, arrays))
            if question.per_cohort:
                return dict.fromkeys(self.request.job.cohorts, self.record(question, arrays))
            return add_up(self.analysis.sums(question.statistic), dict.fromkeys(self.request.job.cohorts, arrays))

        try:
            conduct(self.analysis, self.params, answer)
        except CohortiumError as error:
            shown.ended = error.message
        except Exception as error:  # alone, a cohort may not be enough for it; what a library says may quote values
            shown.ended = type(error).__name__
        return asked[0] if asked else None


def _note(rounds: list[Round], one: Round) -> None:
    for known in rounds:
        if (known.statistic, known.per_cohort, known.quantities) == (one.statistic, one.per_cohort, one.quantities):
            known.times += 1
            return
    rounds.append(one)


def _words(name: str, kinds: Mapping[str, Kind]) -> str:
    kind = kinds.get(name)
    if kind is None:
        return f"marks of what is withheld of `{name.removesuffix(WITHHELD)}`"
    if isinstance(kind, SumOver):
        return f"sum over the people that `{kind.count}` counts"
    return (inspect.getdoc(type(kind)) or type(kind).__name__).split(".")[0].lower()


def _withheld(arrays: Mapping[str, Array]) -> int:
    return int(sum(np.sum(marks) for name, marks in arrays.items() if name.endswith(WITHHELD)))


def _same(first: Question, asked: Question) -> bool:
    if (first.statistic, first.per_cohort, first.broadcast.keys()) != (
        asked.statistic,
        asked.per_cohort,
        asked.broadcast.keys(),
    ):
        return False
    return all(np.array_equal(first.broadcast[name], asked.broadcast[name]) for name in asked.broadcast)
