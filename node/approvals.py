"""Jobs that wait for a node's operator: what was asked, and what the operator decided.

A job becomes a request only after its roster, permit and signature were verified. It is kept in the node's memory: so
it outlives restarts, and the operator's command line, another process, finds it there. A decision *is* its entry in
the journal: signed with the node's identity key, chained, and read back and verified whenever the job is asked about.
Whoever can write to the file, but does not have that key, can approve nothing that was not approved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from cohortium.documents import Job, Permit, Roster
from cohortium.errors import AwaitingApproval, CohortiumError, InvalidQuestion, Refused, Untrusted, WrongReference
from cohortium.messages import QuestionMessage
from cohortium.quantities import Array
from cohortium.signing import MAX_AGE, Signed
from node.memory import Memory, now

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    job TEXT PRIMARY KEY, round INTEGER NOT NULL, question TEXT NOT NULL, message BLOB NOT NULL,
    at TEXT NOT NULL, until TEXT NOT NULL, decision INTEGER
) WITHOUT ROWID
"""

ASKED: Final = "approval asked"
GIVEN: Final = "approval given"
DENIED: Final = "approval denied"
SHORTEST: Final = 4
"""Least digits of a job's hash that name it."""
LONGEST_REASON: Final = 500


class Standing(StrEnum):
    """Where a request is."""

    waiting = "waiting"
    approved = "approved"
    refused = "refused"
    over = "over"


@dataclass(frozen=True)
class Decision:
    """What the operator said, when, under which name of this machine's; `reason` is told to the researcher."""

    approved: bool
    at: datetime
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Request:
    """A job as it was put to the operator, with the very question (broadcast values included) that came first."""

    job: Job
    permit: Permit
    researcher: str
    question: QuestionMessage
    broadcast: Mapping[str, Array]
    at: datetime
    standing: Standing
    decision: Decision | None


class Approvals:
    """The requests in a node's memory. Safe to use from several threads, and from several processes."""

    def __init__(self, memory: Memory, *, clock: Callable[[], datetime] = now) -> None:
        self._memory, self._clock = memory, clock
        with memory.writing() as db:
            db.execute(SCHEMA)

    def check(self, question: QuestionMessage, broadcast: Mapping[str, Array], digest: str, job: Job) -> None:
        """Whether the operator approved this job, whose question (hash `digest`) has been verified.

        Raises AwaitingApproval, after filing the request if it is new; Refused with the operator's reason; and
        WrongReference for another first question than the one that the operator was shown.
        """
        row = self._row(question.job)
        if row is None:
            self._file(question, broadcast, digest, job)
            row = self._row(question.job)
        if row is None or (decision := self._decision(row)) is None:
            raise AwaitingApproval("The operator of this cohort has yet to decide about the job.")
        if not decision.approved:
            raise Refused(f"The operator of this cohort refused the job: {decision.reason}", rule="approval")
        if row["round"] == question.round and row["question"] != digest:
            raise WrongReference("This is not the question that this cohort's operator was shown.")

    def undecided(self, jobs: Iterable[str]) -> tuple[str, ...]:
        """Those of the jobs (hashes) that still wait, and have not become too old to."""
        rows = [row for row in map(self._row, jobs) if row is not None and row["until"] > _time(self._clock())]
        return tuple(row["job"] for row in rows if self._decision(row) is None)

    def all(self) -> list[Request]:
        """Every request, oldest first."""
        with self._memory.reading() as db:
            rows = _rows(db.execute("SELECT * FROM requests ORDER BY at, job"))
        return [self._request(row) for row in rows]

    def find(self, job: str) -> Request:
        """The request whose job's hash begins so. Raises InvalidQuestion when none does, or several do."""
        found = [request for request in self.all() if request.job.digest().startswith(job.lower())]
        if len(job) < SHORTEST or len(found) != 1:
            what = "several requests begin" if len(found) > 1 else "no request begins"
            raise InvalidQuestion(f"`{job}`: {what} with that; `cohortium node requests` lists them all.")
        return found[0]

    def approve(self, job: str, by: str) -> Request:
        """Let a waiting job run. Raises InvalidQuestion."""
        request = self.find(job)
        if request.standing is not Standing.waiting:
            raise InvalidQuestion(f"Job {_short(request)} does not wait for approval: it is {request.standing}.")
        return self._decide(request, GIVEN, {"by": by})

    def refuse(self, job: str, by: str, reason: str) -> Request:
        """Refuse a waiting job, or take an approval back: rounds not yet answered stay so. Raises InvalidQuestion."""
        request = self.find(job)
        if request.standing not in {Standing.waiting, Standing.approved}:
            raise InvalidQuestion(f"Job {_short(request)} cannot be refused any more: it is {request.standing}.")
        if not reason.strip() or len(reason) > LONGEST_REASON:
            raise InvalidQuestion(f"A refusal has a reason, of at most {LONGEST_REASON} characters.")
        return self._decide(request, DENIED, {"by": by, "reason": reason.strip()})

    def _file(self, question: QuestionMessage, broadcast: Mapping[str, Array], digest: str, job: Job) -> None:
        message = question.to_bytes(broadcast)
        until = _time(job.submitted + MAX_AGE)
        row = (question.job, question.round, digest, message, _time(self._clock()), until, None)
        with self._memory.writing() as db:
            if db.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", row).rowcount:
                self._memory.write(ASKED, _named(question.job, job) | {"round": question.round, "question": digest})

    def _decide(self, request: Request, event: str, said: dict[str, Any]) -> Request:
        name = request.job.digest()
        with self._memory.writing() as db:
            position = self._memory.write(event, _named(name, request.job) | said)
            db.execute("UPDATE requests SET decision = ? WHERE job = ?", (position.number, name))
        return self.find(name)

    def _row(self, job: str) -> dict[str, Any] | None:
        with self._memory.reading() as db:
            rows = _rows(db.execute("SELECT job, round, question, until, decision FROM requests WHERE job = ?", (job,)))
        return rows[0] if rows else None

    def _decision(self, row: dict[str, Any]) -> Decision | None:
        """What the journal says; None where nothing is said, or nothing that this node signed about this very job."""
        if row["decision"] is None:
            return None
        try:
            entry = self._memory.entry(row["decision"])
        except (KeyError, Untrusted):
            return None
        if entry.event not in {GIVEN, DENIED} or entry.details.get("job") != row["job"]:
            return None
        by, reason = (str(entry.details.get(name, "")) for name in ("by", "reason"))
        return Decision(entry.event == GIVEN, entry.at, by, reason)

    def _request(self, row: dict[str, Any]) -> Request:
        question, broadcast = QuestionMessage.from_bytes(row["message"])
        if question.papers is None:
            raise CohortiumError("A request in this node's memory has no signed job: the file was changed.")
        signed = Signed.from_bytes(Job, question.papers.job.encode())
        permit = Signed.from_bytes(Permit, question.papers.permit.encode()).document
        decision, at = self._decision(row), datetime.fromisoformat(row["at"])
        standing = self._standing(signed.document, row, decision)
        return Request(signed.document, permit, signed.signer, question, broadcast, at, standing, decision)

    def _standing(self, job: Job, row: dict[str, Any], decision: Decision | None) -> Standing:
        if decision is not None:
            return Standing.approved if decision.approved else Standing.refused
        roster = self._memory.roster()
        current = roster is not None and Signed.from_bytes(Roster, roster).document.digest() == job.roster
        return Standing.waiting if current and row["until"] > _time(self._clock()) else Standing.over


def _rows(found: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _time(moment: datetime) -> str:
    # With microseconds always, so that the order of the texts is that of the moments.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _named(name: str, job: Job) -> dict[str, Any]:
    return {"job": name, "study": job.study, "analysis": job.analysis, "cohorts": list(job.cohorts)}


def _short(request: Request) -> str:
    return request.job.digest()[:16]
