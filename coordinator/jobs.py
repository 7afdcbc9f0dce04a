"""The life of a job: submitted -> (awaiting_approval ->) running -> finished | refused | failed | cancelled.

Jobs run in threads, as many as the settings allow. Every answered round is written down before the analysis goes on,
so that a job that was running when the coordinator stopped, however it stopped, is resumed by replay: the analysis
starts anew, the answers that it had before are added up again, and its first new question goes to the nodes. In the
same way a job goes on that waited, for days perhaps and holding no thread, for the operators of some cohorts.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from cohortium.analysis import Params, conduct, find
from cohortium.asking import finished
from cohortium.dictionary import Dictionary
from cohortium.documents import Job, Roster
from cohortium.errors import (
    AwaitingApproval,
    InvalidQuestion,
    JobCancelled,
    NodeFailed,
    Problem,
    Refused,
    Superseded,
)
from cohortium.identity import code_identity
from cohortium.messages import JobState, JobView, Papers, Progress
from cohortium.result import Result
from cohortium.signing import Signed
from coordinator.approvals import Approvals
from coordinator.ask import OpenChannel
from coordinator.audit import Audit
from coordinator.board import Board
from coordinator.earlier import naming_earlier_jobs
from coordinator.problems import Declined, problem_of
from coordinator.rounds import ReplayDiffers, Rounds
from coordinator.store import Store, now

log = structlog.get_logger()

ID_DIGITS = 16
"""A job's id is the beginning of its hash."""
RETRY_SECONDS = 5.0
"""How long a job waits when the store could not be written to (a full disk, a database that is away)."""


@dataclass
class Unfinished:
    """A job that has not ended: its view as it is now, and the event that tells its thread to give up."""

    view: JobView
    given_up: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """All jobs of a coordinator."""

    def __init__(
        self,
        store: Store,
        dictionary: Dictionary,
        open_channel: OpenChannel,
        audit: Audit,
        *,
        parallel: int,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.board = Board()
        self._approvals = Approvals(open_channel, self._decided)
        self._retry = retry
        self._store, self._dictionary, self._open_channel, self._audit = store, dictionary, open_channel, audit
        self._submitting = threading.Lock()
        self._unfinished: dict[str, Unfinished] = {}
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"job-{i}", daemon=True) for i in range(parallel)]

    def start(self) -> None:
        """Take up every job that has not ended, in order of submission, and begin to run jobs."""
        for view in self._store.unfinished():
            if view.state is JobState.awaiting_approval:
                with self._lock:
                    self._unfinished[view.id] = Unfinished(view)
                self._wait_for(view)
            else:
                self._enqueue(view)
        for thread in self._threads:
            thread.start()

    def stop(self, within: float = 2.0) -> None:
        """Stop running jobs, at most `within` seconds; those that have not ended go on at the next start."""
        self._stopping.set()
        self._approvals.stop()
        with self._lock:
            for job in self._unfinished.values():
                job.given_up.set()
        for _ in self._threads:
            self._waiting.put(None)
        self.board.close()
        deadline = time.monotonic() + within
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def submit(self, job: Job, papers: Papers, *, params: dict[str, Any], by: str) -> JobView:
        """Take in a job that has been verified, with its parameters in full. Raises Declined if it is known already."""
        view = JobView(
            id=job.digest()[:ID_DIGITS],
            study=job.study,
            analysis=job.analysis,
            params=params,
            cohorts=job.cohorts,
            state=JobState.submitted,
            submitted=now(),
        )
        with self._submitting:
            if self._store.job(view.id) is not None:
                raise Declined(HTTPStatus.CONFLICT, f"This very job was submitted before; it is job {view.id}.")
            self._store.add_job(view, by, papers)
        log.info("job submitted", job=view.id, study=job.study, analysis=job.analysis, cohorts=job.cohorts, by=by)
        self._audit.note("job submitted", job=job.digest(), study=job.study, analysis=job.analysis, by=by)
        self._enqueue(view)
        return view

    def current(self, view: JobView) -> JobView:
        """A job from the store, with how far it is at this moment."""
        with self._lock:
            job = self._unfinished.get(view.id)
        return view if job is None or view.state.is_final else job.view

    def look(self, job_id: str) -> JobView:
        """The job as it is at this moment. Raises KeyError."""
        with self._lock:
            job = self._unfinished.get(job_id)
        view = job.view if job is not None else self._store.job(job_id)
        if view is None:
            raise KeyError(job_id)
        return view

    def cancel(self, job_id: str, by: str) -> JobView:
        """End a job, whether it is waiting or running; one that has already ended stays as it is."""
        log.info("job cancel", job=job_id, by=by)
        self._end(job_id, JobState.cancelled, problem=JobCancelled("The job was cancelled.").problem())
        return self.look(job_id)

    def fail_those_of(self, cohort: str) -> None:
        """End every unfinished job that asks a cohort which is no longer part of the network."""
        with self._lock:
            concerned = [job.view for job in self._unfinished.values() if cohort in job.view.cohorts]
        for view in concerned:
            self._end(view.id, JobState.failed, problem=_withdrawn([cohort]).problem())

    def fail_those_under_another(self, roster: Roster) -> None:
        """End every unfinished job that was made under an older roster: no node goes on with it."""
        with self._lock:
            unfinished = [job.view for job in self._unfinished.values()]
        replaced = Superseded(f"Version {roster.version} of the roster has come: submit the job again.")
        for view in unfinished:
            papers = self._store.papers(view.id)
            if papers is not None and Signed.from_bytes(Job, papers.job.encode()).document.roster != roster.digest():
                self._end(view.id, JobState.failed, problem=replaced.problem())

    def _enqueue(self, view: JobView) -> None:
        with self._lock:
            self._unfinished[view.id] = Unfinished(view)
        self._waiting.put(view.id)

    def _work(self) -> None:
        while (job_id := self._waiting.get()) is not None and not self._stopping.is_set():
            job = self._unfinished.get(job_id)
            try:
                if job is not None and self._begin(job):
                    self._run(job)
            except Exception as error:  # the store itself failed: the job is still in it, and goes on when that can
                problem_of(error, job=job_id)
                self._stopping.wait(self._retry)
                self._waiting.put(job_id)

    def _begin(self, job: Unfinished) -> bool:
        if job.view.state is JobState.awaiting_approval and job.view.progress.waiting_for:
            return True  # one cohort has decided and others have not: if it was a refusal, the job ends without them
        if not self._store.set_running(job.view.id):
            return False
        self._show(job, state=JobState.running)
        return True

    def _run(self, job: Unfinished) -> None:
        job_id = job.view.id
        try:
            result = self._conduct(job)
            self._end(job_id, JobState.finished, result=result.model_dump_json())
        except AwaitingApproval as waiting:
            self._park(job, waiting.cohorts)
        except SQLAlchemyError:  # not the job's fault, and nothing could be written of it now
            raise
        except Exception as error:
            if self._stopping.is_set():
                log.info("job interrupted", job=job_id)
                return
            state = JobState.refused if isinstance(error, Refused) else JobState.failed
            told = naming_earlier_jobs(error, job.view, self._store)
            self._end(job_id, state, problem=problem_of(told, job=job_id))

    def _conduct(self, job: Unfinished) -> Result:
        view = job.view
        if gone := set(view.cohorts) - {cohort.name for cohort in self._store.cohorts()}:
            raise _withdrawn(gone)
        analysis = find(view.analysis)
        papers = self._store.papers(view.id)
        if papers is None:
            raise InvalidQuestion("The job was submitted before jobs were signed: submit it again.")
        signed = Signed.from_bytes(Job, papers.job.encode()).document
        roster = Signed.from_bytes(Roster, papers.roster.encode()).document
        if (signed.dictionary, signed.version) != (self._dictionary.digest, code_identity()):
            raise ReplayDiffers("The dictionary or the code has changed since the job was signed: submit it again.")
        params: Params = analysis.params.bind(signed.params, self._dictionary)
        with self._open_channel(view.id) as channel:
            rounds = Rounds(
                analysis,
                signed,
                roster,
                papers,
                channel,
                self._store.transcript(view.id),
                given_up=job.given_up,
                show=lambda progress: self._show_progress(job, progress),
                answered=lambda question, record, progress: self._answered(job, question, record, progress),
            )
            result: Result = conduct(analysis, params, rounds.ask, signed.cohorts)
        return finished(result)

    def _park(self, job: Unfinished, cohorts: tuple[str, ...]) -> None:
        """Set a job aside until one of these cohorts has decided about it."""
        progress = job.view.progress.model_copy(update={"waiting_for": cohorts})
        if not self._store.set_awaiting(job.view.id, progress):
            return
        log.info("job awaits approval", job=job.view.id, cohorts=cohorts)
        self._show(job, state=JobState.awaiting_approval, progress=progress)
        self._wait_for(job.view)
        if job.given_up.is_set():  # ended in between
            self._approvals.forget(job.view.id)

    def _wait_for(self, view: JobView) -> None:
        papers = self._store.papers(view.id)
        if papers is not None:
            digest = Signed.from_bytes(Job, papers.job.encode()).document.digest()
            self._approvals.wait_for(digest, view.id, view.progress.waiting_for)

    def _decided(self, job_id: str, waiting_for: tuple[str, ...]) -> None:
        """One of the cohorts that a job waited for has decided: put its question again."""
        with self._lock:
            job = self._unfinished.get(job_id)
        if job is not None:
            self._show(job, progress=job.view.progress.model_copy(update={"waiting_for": waiting_for}))
            self._waiting.put(job_id)

    def _show_progress(self, job: Unfinished, progress: Progress) -> None:
        if job.view.state is JobState.running:
            self._show(job, progress=progress)

    def _show(self, job: Unfinished, **changes: Any) -> None:
        job.view = job.view.model_copy(update=changes)
        self.board.announce(job.view.id, state="state" in changes)

    def _answered(self, job: Unfinished, question: str, record: bytes, progress: Progress) -> None:
        """Write an answered round down. Raises JobCancelled if the job has ended meanwhile."""
        if job.given_up.is_set():
            raise JobCancelled("The job ended while it was being answered.")
        self._store.add_round(job.view.id, question, record, progress)
        if job.view.state is not JobState.running and self._store.set_running(job.view.id):
            self._show(job, state=JobState.running, progress=progress)

    def _end(self, job_id: str, state: JobState, *, problem: Problem | None = None, result: str | None = None) -> None:
        ended = self._store.end_job(job_id, state, problem=problem, result=result)
        with self._lock:
            job = self._unfinished.pop(job_id, None)
        if job is not None:
            job.given_up.set()
            self._approvals.forget(job_id)
        if ended:
            kind = problem.kind if problem else None
            log.info("job ended", job=job_id, state=state.value, problem=kind)
            self._audit.note("job ended", job=job_id, state=state.value, problem=kind)
        self.board.announce(job_id)


def _withdrawn(cohorts: Iterable[str]) -> NodeFailed:
    names = ", ".join(f"`{name}`" for name in sorted(cohorts))
    return NodeFailed(f"{names}: no longer part of this network. Submit the job again without.", cohort=min(cohorts))
