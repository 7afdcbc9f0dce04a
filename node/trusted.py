"""A node that relies on nobody: it verifies who asks what, answers each round once, masks what leaves and signs it.

The coordinator only relays. Everything that a question says is compared with the job that the researcher signed, under
a permit and a roster whose signatures lead to the key that this node's operator pinned.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import structlog

from cohortium.analysis import Params, find
from cohortium.chain import head
from cohortium.documents import Answer, Job, Roster
from cohortium.errors import (
    AlreadyAnswered,
    AwaitingApproval,
    CannotEstimate,
    CohortiumError,
    InvalidQuestion,
    NodeFailed,
    NotPermitted,
    Problem,
    Refused,
    Untrusted,
)
from cohortium.keys import Keys
from cohortium.masks import Asked, Pairs, agree
from cohortium.mentioned import variables_of
from cohortium.messages import (
    AnswerMessage,
    Greeting,
    Introduction,
    MalformedMessage,
    Papers,
    QuestionMessage,
    Undecided,
)
from cohortium.quantities import Array
from cohortium.rules import UNFIT, VOTING
from cohortium.secure_sum import Vector, mask, unmasked
from cohortium.signing import MAX_AGE, Mandate, Signed, check_variables, sign, verify_mandate, verify_roster
from node.answer import CohortNode, problem_of, tells_apart
from node.approvals import Approvals
from node.disclosure import check_company, check_per_cohort, check_round
from node.memory import Kept, Memory, now
from node.noise import Grant, is_noisy
from node.papers import Documents, asked_of, read
from node.releases import Asker

log = structlog.wrap_logger(logging.getLogger("cohortium.node"))

COORDINATOR = "coordinator"
"""Whose audit the coordinator's is, in what a node remembers."""


@dataclass(frozen=True)
class Trust:
    """What a node's operator pinned: the network, its authority's public key, and this node's own keys."""

    network: str
    authority: str
    keys: Keys


class TrustedNode:
    """A `CohortNode` in a real network: bytes in, bytes out. Safe to call from several threads at once."""

    def __init__(self, node: CohortNode, trust: Trust, memory: Memory, *, clock: Callable[[], datetime] = now) -> None:
        self.node, self.trust, self.memory, self._clock = node, trust, memory, clock
        self.approvals = Approvals(memory, clock=clock)
        self._rosters = threading.Lock()
        known = memory.roster()
        self._known = Signed.from_bytes(Roster, known).document if known is not None else None
        self._known_text = known.decode() if known is not None else ""
        # A key agreement per peer, once per roster and choice of cohorts.
        self._pairs: Callable[[Roster, tuple[str, ...]], Pairs] = lru_cache(maxsize=16)(self._agree)
        self._read: Callable[[Papers], Documents] = lru_cache(maxsize=16)(read)

    def answer(self, kind: str, payload: bytes) -> bytes:
        """The reply to a message of the coordinator: kind `introduction`, `undecided` or `question`. Never raises."""
        if kind == "introduction":
            return self._introduce(payload).to_bytes()
        try:
            if kind == "undecided":
                return self._undecided(payload).to_bytes()
            question, broadcast = QuestionMessage.from_bytes(payload)
        except MalformedMessage as error:
            return AnswerMessage(problem=error.problem()).to_bytes()
        try:
            return self._reply(question, broadcast)
        except AwaitingApproval as waiting:  # no answer: the same question comes again when the operator has decided
            log.info("awaiting approval", job=question.job[:16], analysis=question.analysis)
            return AnswerMessage(problem=waiting.problem()).to_bytes()
        except Exception as error:
            problem = problem_of(error, question)
            # Cut, because the words may quote names of any length that a peer made up.
            why, job = problem.message[:500], question.job[:64]
            self.memory.note("not answered", job=job, round=question.round, kind=problem.kind, why=why)
            return AnswerMessage(problem=problem).to_bytes()

    def _reply(self, question: QuestionMessage, broadcast: Mapping[str, Array]) -> bytes:
        mandate = self._mandate(question)
        asked = asked_of(mandate.job, question, broadcast)
        if self.node.cohort not in asked.cohorts:
            raise NotPermitted("The job does not ask this cohort.")
        digest = asked.digest()
        kept = self.memory.answered(asked.job, asked.round)
        if kept is None:
            approved = partial(self._check_approval, question, broadcast, digest, mandate.job)
            kept = self._keep(asked, digest, mandate, approved)
        if kept.question != digest:
            raise AlreadyAnswered(
                f"This cohort has answered round {asked.round} of the job, for another question or other cohorts: a "
                "round is answered once."
            )
        return kept.reply

    def _check_approval(self, question: QuestionMessage, broadcast: Mapping[str, Array], digest: str, job: Job) -> None:
        if self.node.policy.approval == "manual":
            self.approvals.check(question, broadcast, digest, job)

    def _undecided(self, payload: bytes) -> Undecided:
        """Which of the jobs that the coordinator names still wait for the operator."""
        asked, _ = Undecided.from_bytes(payload)
        waiting = self.approvals.undecided(asked.jobs) if self.node.policy.approval == "manual" else ()
        return Undecided(jobs=waiting)

    def _keep(self, asked: Asked, digest: str, mandate: Mandate, check_approval: Callable[[], None]) -> Kept:
        """Compute the answer and keep it. A problem is kept as well, so nobody can ask around what was refused."""
        what: dict[str, Any] = {}
        try:
            params = self._entitled(asked, mandate)
            check_approval()
            vector, problem = self._vector(asked, params, mandate)
        except AwaitingApproval:
            raise
        except Exception as error:
            problem = problem_of(error, asked)
            reply = AnswerMessage(problem=problem).to_bytes()
        else:
            what = {"vector": vector.digest(), "entries": vector.layout.size}
            reply = self._signed(asked, digest, vector)
        event = "answered"
        if problem is not None:
            event, why = "refused", {"kind": problem.kind, "rule": problem.rule, "why": problem.message[:500]}
            what |= why
        log.info(event, job=asked.job[:16], round=asked.round, statistic=asked.statistic)
        details = what | {
            "job": asked.job,
            "study": mandate.job.study,
            "round": asked.round,
            "analysis": asked.analysis,
            "statistic": asked.statistic,
            "question": digest,
            "cohorts": list(asked.cohorts),
            "per_cohort": asked.per_cohort,
        }
        until = mandate.job.submitted + MAX_AGE
        return self.memory.keep(asked.job, asked.round, Kept(digest, reply), until=until, event=event, details=details)

    def _entitled(self, asked: Asked, mandate: Mandate) -> Params:
        """The bound parameters, if permit and policy allow this to be asked at all. Looks at no data."""
        policy = self._node(mandate).policy
        check_round(policy, asked.round)
        if _is_alone(asked) or tells_apart(asked.analysis, asked.statistic, len(asked.cohorts)):
            check_per_cohort(policy)
            if not mandate.permit.options.release_per_cohort:
                raise NotPermitted("The permit does not allow the release of a cohort's own figures.")
        if not _is_alone(asked):
            check_company(policy, len(asked.cohorts))
        if asked.dictionary != self.node.dictionary.digest:
            raise InvalidQuestion("The job was signed for another dictionary than this node has.")
        params = self.node.bound(asked.analysis, asked.params)
        check_variables(mandate.permit, variables_of(params))
        record = find(asked.analysis).sums(asked.statistic)
        if mandate.permit.options.only_with_noise and not is_noisy(record):
            raise NotPermitted("The permit allows answers with noise only: ask for `private_summary`.")
        return params

    def _vector(self, asked: Asked, params: Params, mandate: Mandate) -> tuple[Vector, Problem | None]:
        """What is sent, and the problem that it is a vote of, if it is: nobody else can tell one from the other."""
        asker = Asker(asked.job, mandate.job.study, mandate.researcher, asked.cohorts, alone=self._tells_alone(mandate))
        node = self._node(mandate)
        budget = min(mandate.permit.options.privacy_budget, node.policy.privacy_budget)
        grant = Grant(mandate.job.study, asked.job, budget, 1 if _is_alone(asked) else len(asked.cohorts))
        question = asked.analysis, asked.statistic, params, asked.broadcast, mandate.permit.variables
        compute = partial(node.compute, *question, asker=asker, grant=grant)
        if _is_alone(asked):
            return unmasked(compute()), None
        pairs = self._pairs(mandate.roster, asked.cohorts)
        try:
            arrays = compute()
        except Exception as error:
            if not _may_tell_of_rows(error):
                raise
            rule, problem = getattr(error, "rule", UNFIT), problem_of(error, asked)
        else:
            # Nothing that was computed as it should be fails here: a node that sends what cannot be added up is named.
            return mask(arrays, asked, pairs, at_least=2), None
        # What goes wrong with nobody's rows too says nothing of them: it is raised here, and told openly.
        return mask(node.blank(*question), asked, pairs, at_least=2, refused_by=rule), problem

    def _node(self, mandate: Mandate) -> CohortNode:
        """The rows behind the stricter of this cohort's policy and the permit's thresholds."""
        return self.node.under(mandate.permit.options.thresholds)

    def _tells_alone(self, mandate: Mandate) -> bool:
        """Whether this cohort's own figures may be told, so that they need not be hidden from subtraction."""
        return self.node.policy.release_per_cohort and mandate.permit.options.release_per_cohort

    def _signed(self, asked: Asked, digest: str, vector: Vector) -> bytes:
        said = Answer(
            job=asked.job, round=asked.round, question=digest, cohort=self.node.cohort, vector=vector.digest()
        )
        signed = sign(said, self.trust.keys.identity).to_bytes().decode()
        return AnswerMessage(layout=vector.layout, signed=signed).to_bytes(raw={"vector": vector.to_bytes()})

    def _mandate(self, question: QuestionMessage) -> Mandate:
        if question.papers is None:
            raise Untrusted("The question comes without roster, permit and job: this node answers signed jobs only.")
        signed = self._read(question.papers)
        if question.papers.roster != self._known_text:  # the mandate verifies it below in any case
            self._accept(signed.roster)
        return verify_mandate(
            signed.roster,
            signed.permit,
            signed.job,
            authority=self.trust.authority,
            network=self.trust.network,
            now=self._clock(),
            known=self._known,
        )

    def _accept(self, signed: Signed[Roster]) -> None:
        """Verify a roster; if it is newer than any seen, the jobs under all older ones are over from now on."""
        with self._rosters:
            known = self._known
            authority, network = self.trust.authority, self.trust.network
            roster = verify_roster(signed, authority=authority, network=network, now=self._clock(), known=known)
            if known is None or roster.version > known.version:
                self.memory.keep_roster(roster.version, signed.to_bytes(), roster=roster.digest())
                self._known, self._known_text = roster, signed.to_bytes().decode()

    def _agree(self, roster: Roster, cohorts: tuple[str, ...]) -> Pairs:
        return agree(self.node.cohort, self.trust.keys.masking, roster.masking_keys(cohorts))

    def _introduce(self, payload: bytes) -> Introduction:
        introduction = self.node.introduction()
        try:
            greeting, _ = Greeting.from_bytes(payload)
            if greeting.roster is not None:
                self._accept(Signed.from_bytes(Roster, greeting.roster.encode()))
            self._exchange(greeting)
            said = head(self.memory.position(), self.trust.keys.identity, owner=self.memory.owner, nonce=greeting.nonce)
        except (MalformedMessage, ValueError):
            return introduction
        except CohortiumError as error:
            self.memory.note("greeting not accepted", kind=type(error).__name__, why=error.message)
            return introduction
        text = said.to_bytes().decode()
        return introduction.model_copy(update={"head": text, "seen": self.memory.witnessed(COORDINATOR)})

    def _exchange(self, greeting: Greeting) -> None:
        """Compare what the coordinator saw of this journal with what is in it, and remember how far its audit goes."""
        if not self.memory.holds(greeting.seen):
            log.error("journal", problem="the coordinator has seen an entry that this journal does not have")
            self.memory.note("journal differs from what was witnessed", number=greeting.seen.number)
        before = self.memory.witnessed(COORDINATOR)
        if greeting.head.number < before.number:
            log.error("audit", problem="the coordinator's audit is shorter than it was")
            self.memory.note("the coordinator's audit was cut off", number=greeting.head.number, seen=before.number)
        self.memory.witness(COORDINATOR, greeting.head)


def _may_tell_of_rows(error: Exception) -> bool:
    """Whether that it came may depend on the rows, so that it is not told whose node it was."""
    if isinstance(error, Refused):
        return error.rule in VOTING
    return isinstance(error, InvalidQuestion | NodeFailed | CannotEstimate) or not isinstance(error, CohortiumError)


def _is_alone(asked: Asked) -> bool:
    return asked.per_cohort or len(asked.cohorts) == 1  # a sum over one cohort is that cohort's own figure
