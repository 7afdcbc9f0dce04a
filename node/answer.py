"""How a node answers: look the statistic up in what its operator installed, compute it, check it, release it.

Nothing here knows the network. What a peer sends is looked up and validated, never executed.
"""

from __future__ import annotations

import inspect
import itertools
import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal, Protocol
from uuid import uuid4

import numpy as np
import structlog

import cohortium
from cohortium.analysis import Params, find
from cohortium.condition import Condition
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, InvalidQuestion, NodeFailed, Problem, Refused
from cohortium.messages import AnswerMessage, BudgetState, Introduction, MalformedMessage, QuestionMessage
from cohortium.quantities import Array, Sums
from cohortium.secure_sum import encode
from cohortium.twin import Twin
from node import budget
from node.disclosure import Policy, check, check_per_cohort, check_round
from node.ledger import Asked, Ledger
from node.noise import Grant, PrivacyAccount, add_noise, is_noisy
from node.releases import Asker
from node.subset import complete, where
from node.told_apart import Partition, Times, grid_of, partitions, times

# Through the standard library, so that a program that embeds a node (a simulation) hears of failures only.
log = structlog.wrap_logger(logging.getLogger("cohortium.node"))

PARTS_KEPT = 16
SUBSETS_KEPT = 4
POLICIES_KEPT = 8


class CohortNode:
    """One cohort's data behind its policy: bytes in, bytes out. Safe to call from several threads at once."""

    def __init__(
        self,
        cohort: str,
        data: Data,
        policy: Policy,
        ledger: Ledger | None = None,
        account: PrivacyAccount | None = None,
    ) -> None:
        self.cohort, self.policy = cohort, policy
        self.twin: Twin | None = None
        self.account = account or PrivacyAccount(data.dictionary.name)
        self.ledger = ledger if ledger is not None or policy == Policy.none() else Ledger()
        numbers = data.numbers
        if numbers is None and self.ledger is not None:
            numbers = self.ledger.number(data)
        least = max(policy.min_people, policy.min_cell)
        self.data = Data(
            data.dictionary, data.columns, data.rows, least, keys=data.keys, identity=data.identity, numbers=numbers
        )
        # A job asks many rounds with the same parameters; binding them compiles the design, so it is kept.
        self._bound: Callable[[str, str], Params] = lru_cache(maxsize=64)(self._bind)
        # So is what is worked out about the rows once (which are complete): it serves every round.
        self._part: Callable[[Data, tuple[str, ...]], Data] = lru_cache(maxsize=PARTS_KEPT)(Data.only)
        # A subset holds copies of the columns in use, so that few are kept.
        self._where: Callable[[Data, Condition, Policy], Data] = lru_cache(maxsize=SUBSETS_KEPT)(where)
        self._complete: Callable[[Data, tuple[str, ...], Policy], Data] = lru_cache(maxsize=SUBSETS_KEPT)(complete)
        # Every round of a job tells the same groups apart.
        self._partitions: Callable[[Params], list[Partition]] = lru_cache(maxsize=64)(partitions)
        self._parts: Callable[[Data, frozenset[str], Partition], list[Asked]] = lru_cache(maxsize=PARTS_KEPT)(
            self._divide
        )
        self._times: Callable[[Params, Data, tuple[float, ...]], list[Times]] = lru_cache(maxsize=SUBSETS_KEPT)(times)

        self._stricter: Callable[[Policy], CohortNode] = lru_cache(maxsize=POLICIES_KEPT)(
            lambda policy: CohortNode(self.cohort, self.data, policy, self.ledger, self.account)
        )

    def under(self, thresholds: Mapping[str, float]) -> CohortNode:
        """The same rows behind the stricter of this policy and a permit's `thresholds`. Raises InvalidPolicy."""
        policy = self.policy.tightened(thresholds)
        return self if policy == self.policy else self._stricter(policy)

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that this node's data are coded by."""
        return self.data.dictionary

    def answer(self, kind: str, payload: bytes) -> bytes:
        """The reply to a message of the coordinator: kind `introduction` or `question`. Never raises."""
        if kind == "introduction":
            return self.introduction().to_bytes()
        try:
            question, broadcast = QuestionMessage.from_bytes(payload)
        except MalformedMessage as error:
            return AnswerMessage(problem=error.problem()).to_bytes()
        message, arrays = self.reply(question, broadcast)
        return message.to_bytes(arrays)

    def introduction(self) -> Introduction:
        """What this node tells about itself: no count, no value."""
        collected = tuple(name for name in self.dictionary.variables if name in self.data.columns)
        return Introduction(
            dictionary=self.dictionary.digest,
            version=cohortium.__version__,
            variables=collected,
            budgets=self._budgets(),
            twin=self.twin,
        )

    def _budgets(self) -> dict[str, BudgetState]:
        warn, refuse = self.policy.budget_warn, self.policy.budget_refuse
        told = self.ledger.budget.studies() if self.ledger is not None else []
        states = {spent.study: spent.state(warn, refuse) for spent in told}
        return {study: state for study, state in states.items() if state != "open"}

    def reply(
        self, question: QuestionMessage, broadcast: Mapping[str, Array], study: str = ""
    ) -> tuple[AnswerMessage, dict[str, Array]]:
        """The answer to a question with its arrays, or the problem in words that hold no data. Never raises."""
        alone = self.policy.release_per_cohort
        asker = Asker(job=question.job, study=study, researcher="", cohorts=question.cohorts, alone=alone)
        try:
            if question.dictionary != self.dictionary.digest:
                raise InvalidQuestion(
                    f"This node has version {self.dictionary.version} of the dictionary; the question has another."
                )
            if question.per_cohort or tells_apart(question.analysis, question.statistic, len(question.cohorts)):
                check_per_cohort(self.policy)
            check_round(self.policy, question.round)
            params = self.bound(question.analysis, question.params)
            cohorts = 1 if question.per_cohort else len(question.cohorts)
            grant = Grant(study, question.job, self.policy.privacy_budget, cohorts)
            released = self.compute(question.analysis, question.statistic, params, broadcast, asker=asker, grant=grant)
        except Exception as error:
            return AnswerMessage(problem=problem_of(error, question)), {}
        log.info("answered", job=question.job, round=question.round, statistic=question.statistic)
        return AnswerMessage(), released

    def bound(self, analysis: str, params: Mapping[str, Any]) -> Params:
        """The parameters of an analysis, bound to this node's dictionary. Raises as `Params.bind` does."""
        return self._bound(analysis, json.dumps(params, sort_keys=True))

    def compute(
        self,
        analysis: str,
        statistic: str,
        params: Params,
        broadcast: Mapping[str, Array],
        variables: tuple[str, ...] | Literal["all"] = "all",
        *,
        asker: Asker | None = None,
        grant: Grant | None = None,
    ) -> dict[str, Array]:
        """What may leave of a statistic over this cohort's rows: the arrays that `secure_sum.encode` makes.

        `variables` are those that it may read, `asker` is who is told, and so entered in the ledger; None if nobody is.
        Likewise `grant` is what a question with noise is charged to.
        Raises Refused when a rule of the policy forbids it, and other CohortiumErrors; anything else that is raised may
        hold data (see `problem_of`).
        """
        function = find(analysis).statistic(statistic)
        arguments = _arguments(function, broadcast)
        data, asked = self._rows(params, variables)
        watched = data.watched()
        sums = function(watched, params, **arguments)
        if is_noisy(type(sums)):
            return encode(check(self._with_noise(sums, params, grant), self.policy))
        checked = check(sums, self.policy)
        released = encode(checked, 1 if asker is None else len(asker.cohorts))
        if self.ledger is not None and asker is not None:
            told = budget.Asked(f"{analysis} {statistic}", broadcast, params.model_dump_json())
            cells, most = self._cells(variables), self.policy.budget_refuse
            cost = self.ledger.budget.cost(asker.study, told, checked, cells=cells, most=most)
            asked += [Asked.complete(data, names) for names in watched.read if names]
            asked += self._groups(data, watched.read, params, statistic, broadcast)
            times_told = self._times(params, data, grid_of(params, statistic, broadcast))
            self.ledger.admit(asked, asker, self.policy.min_difference, times_told)
            self.ledger.budget.pay(cost)
        return released

    def _with_noise(self, sums: Sums, params: Params, grant: Grant | None) -> Sums:
        """What is hidden by noise needs no ledger of rows, but an account of what the noise has cost."""
        rho = float(getattr(params, "rho", 0.0))
        if not rho > 0:
            raise Refused("The question does not say what its noise may cost (`rho`).", rule="privacy_budget")
        if grant is not None:
            self.account.spend(grant, rho)
        return add_noise(sums, rho, 1 if grant is None else grant.cohorts)

    def _groups(
        self,
        data: Data,
        read: frozenset[frozenset[str]],
        params: Params,
        statistic: str,
        broadcast: Mapping[str, Array],
    ) -> list[Asked]:
        """The groups that a statistic tells apart among the rows that it has read."""
        own = params.divides(statistic, broadcast)
        divided = self._partitions(params) + ([Partition.of(own)] if own is not None else [])
        found = [self._parts(data, names, p) for p in divided for names in read if p.variables <= names]
        return list(itertools.chain(*found))

    def _divide(self, data: Data, names: frozenset[str], partition: Partition) -> list[Asked]:
        rows = Asked.complete(data, names)
        return [rows.of_group(*group) for group in partition.groups(data, names, self.policy.min_cell)]

    def _cells(self, variables: tuple[str, ...] | Literal["all"]) -> int:
        """How many values a permit for these variables covers."""
        return len(self.data) * len(self._covered(variables).columns)

    def _covered(self, variables: tuple[str, ...] | Literal["all"]) -> Data:
        return self.data if variables == "all" else self._part(self.data, variables)

    def blank(
        self,
        analysis: str,
        statistic: str,
        params: Params,
        broadcast: Mapping[str, Array],
        variables: tuple[str, ...] | Literal["all"] = "all",
    ) -> dict[str, Array]:
        """What an empty cohort answers: an answer's names and shapes, which do not depend on the rows."""
        function = find(analysis).statistic(statistic)
        nobody = self.data.subset(np.zeros(len(self.data), dtype=np.bool_))
        part = nobody if variables == "all" else nobody.only(variables)
        return encode(function(part, params, **_arguments(function, broadcast)))

    def _rows(self, params: Params, variables: tuple[str, ...] | Literal["all"]) -> tuple[Data, list[Asked]]:
        """The rows that the question is about, with the columns that it may read, and what was asked to choose them.

        Raises Refused if they are few.
        """
        data: Data = self._covered(variables)
        if params.where is not None:
            data = self._where(data, params.where, self.policy)
        if params.complete:
            data = self._complete(data, params.complete, self.policy)
        return data, [Asked.chosen(data, params.where)] if params.where is not None else []

    def _bind(self, analysis: str, params: str) -> Params:
        bound: Params = find(analysis).params.bind(json.loads(params), self.dictionary)
        return bound


def tells_apart(analysis: str, statistic: str, cohorts: int) -> bool:
    """Whether in a sum over so few cohorts each one's own part can be worked out. Raises UnknownName."""
    return cohorts < find(analysis).sums(statistic).least_cohorts


class _Question(Protocol):
    """What the log says of a question."""

    @property
    def job(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def statistic(self) -> str: ...


def problem_of(error: Exception, question: _Question) -> Problem:
    """Why there is no answer, in words that hold no data; what is no error of ours stays here, under a reference."""
    if isinstance(error, CohortiumError):
        kind, rule = type(error).__name__, getattr(error, "rule", None)
        log.info("not answered", job=question.job, round=question.round, kind=kind, rule=rule)
        return error.problem()
    reference = uuid4().hex[:8]
    # Where it went wrong, without the message: code has no data in it.
    where = [f"{Path(f.filename).name}:{f.lineno}" for f in extract_tb(error.__traceback__)[-3:]]
    log.error("failed", job=question.job, reference=reference, error=type(error).__name__, where=where)
    message = f"The node could not compute `{question.statistic}`; its log has the reference {reference}."
    return NodeFailed(message).problem()


def _arguments(statistic: Callable[..., Sums], broadcast: Mapping[str, Array]) -> dict[str, float | Array]:
    wanted = list(inspect.signature(statistic).parameters)[2:]
    if sorted(wanted) != sorted(broadcast):
        raise InvalidQuestion(f"`{statistic.__name__}` takes {', '.join(wanted) or 'no values'} besides the data.")
    if not all(np.all(np.isfinite(value)) for value in broadcast.values()):
        raise Refused("A broadcast value is not finite.", rule="broadcast")
    return {name: float(value) if value.ndim == 0 else value for name, value in broadcast.items()}
