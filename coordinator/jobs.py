"""The life of a job: submitted -> running -> finished | refused | failed | cancelled.

Jobs run in threads, as many as the settings allow. Every answered round is written down before the analysis goes on,
so that a job that was running when the coordinator stopped, however it stopped, is resumed by replay: the analysis
starts anew, gets the totals of the questions it had asked before, and its first new question goes to the nodes.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog

from cohortium.analysis import Analysis, Params, Question, conduct, find
from cohortium.asking import compose
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, JobCancelled, NodeFailed, Problem, Refused
from cohortium.messages import JobState, JobView, Progress
from cohortium.result import Result
from coordinator.ask import Channel, OpenChannel, ask_all_nodes
from coordinator.board import Board
from coordinator.store import Store, now
from coordinator.transcript import Totals, question_digest, read_totals, write_totals

log = structlog.get_logger()


class ReplayDiffers(CohortiumError):
    """A resumed job asked something else than before: code, dictionary or platform changed in between."""


@dataclass
class Unfinished:
    """A job that has not ended: its view as it is now, and the event that tells its thread to give up."""

    view: JobView
    given_up: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """All jobs of a coordinator."""

    def __init__(self, store: Store, dictionary: Dictionary, open_channel: OpenChannel, *, parallel: int) -> None:
        self.board = Board()
        self._store, self._dictionary, self._open_channel = store, dictionary, open_channel
        self._unfinished: dict[str, Unfinished] = {}
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"job-{i}", daemon=True) for i in range(parallel)]

    def start(self) -> None:
        """Take up every job that has not ended, in order of submission, and begin to run jobs."""
        for view in self._store.unfinished():
            self._enqueue(view)
        for thread in self._threads:
            thread.start()

    def stop(self, within: float = 2.0) -> None:
        """Stop running jobs, at most `within` seconds; those that have not ended go on at the next start."""
        self._stopping.set()
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

    def submit(
        self, *, study: str, analysis: str, params: dict[str, Any], cohorts: tuple[str, ...], by: str
    ) -> JobView:
        """Take in a job whose parameters and cohorts have been checked."""
        view = JobView(
            id=secrets.token_hex(8),
            study=study,
            analysis=analysis,
            params=params,
            cohorts=cohorts,
            state=JobState.submitted,
            submitted=now(),
        )
        self._store.add_job(view, by)
        log.info("job submitted", job=view.id, study=study, analysis=analysis, cohorts=cohorts, by=by)
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
            except Exception as error:  # the store itself failed: the job is still in it, and goes on at the next start
                problem_of(error, job=job_id)

    def _begin(self, job: Unfinished) -> bool:
        if not self._store.set_running(job.view.id):
            return False
        self._show(job, state=JobState.running)
        return True

    def _run(self, job: Unfinished) -> None:
        job_id = job.view.id
        try:
            result = self._conduct(job)
            self._end(job_id, JobState.finished, result=result.model_dump_json())
        except Exception as error:
            if self._stopping.is_set():
                log.info("job interrupted", job=job_id)
                return
            state = JobState.refused if isinstance(error, Refused) else JobState.failed
            self._end(job_id, state, problem=problem_of(error, job=job_id))

    def _conduct(self, job: Unfinished) -> Result:
        view = job.view
        if gone := set(view.cohorts) - {cohort.name for cohort in self._store.cohorts()}:
            raise _withdrawn(gone)
        analysis = find(view.analysis)
        params: Params = analysis.params.bind(view.params, self._dictionary)
        with self._open_channel(view.id) as channel:
            rounds = Rounds(self, job, analysis, params, channel, self._store.transcript(view.id))
            result: Result = conduct(analysis, params, rounds.ask)
        return result.model_copy(update={"cohorts": view.cohorts})

    def _show(self, job: Unfinished, **changes: Any) -> None:
        job.view = job.view.model_copy(update=changes)
        self.board.announce(job.view.id, state="state" in changes)

    def progress(self, job: Unfinished, progress: Progress) -> None:
        """Show how far a job is."""
        self._show(job, progress=progress)

    def answered(self, job: Unfinished, question: str, totals: bytes, progress: Progress) -> None:
        """Write an answered round down. Raises JobCancelled if the job has ended meanwhile."""
        if job.given_up.is_set():
            raise JobCancelled("The job ended while it was being answered.")
        self._store.add_round(job.view.id, question, totals, progress)

    def _end(self, job_id: str, state: JobState, *, problem: Problem | None = None, result: str | None = None) -> None:
        ended = self._store.end_job(job_id, state, problem=problem, result=result)
        with self._lock:
            job = self._unfinished.pop(job_id, None)
        if job is not None:
            job.given_up.set()
        if ended:
            log.info("job ended", job=job_id, state=state.value, problem=problem.kind if problem else None)
        self.board.announce(job_id)


@dataclass
class Rounds:
    """The rounds of one run of a job: replayed from the transcript as far as that goes, then put to the nodes."""

    jobs: Jobs
    job: Unfinished
    analysis: Analysis[Any, Any]
    params: Params
    channel: Channel
    transcript: dict[int, tuple[str, bytes]]
    round: int = 0

    def ask(self, question: Question) -> Totals:
        """The totals of the next question. Raises ReplayDiffers, JobCancelled or what the nodes reported."""
        self.round += 1
        view = self.job.view
        message = compose(question, self.analysis, self.params, job=view.id, round_=self.round, cohorts=view.cohorts)
        digest = question_digest(message, question.broadcast)
        if self.round in self.transcript:
            return self._replay(question, digest)
        totals = ask_all_nodes(
            question,
            message,
            self.analysis,
            self.channel,
            on_progress=lambda waiting: self.jobs.progress(self.job, self._progress(question, waiting)),
            cancelled=self.job.given_up,
        )
        self.jobs.answered(self.job, digest, write_totals(totals), self._progress(question, ()))
        return totals

    def _replay(self, question: Question, digest: str) -> Totals:
        recorded, totals = self.transcript[self.round]
        if recorded != digest:
            raise ReplayDiffers(
                f"The job was interrupted and could not be resumed: question {self.round} is not the one that was "
                "answered before. The analysis or the dictionary has changed since; submit the job again."
            )
        return read_totals(self.analysis.sums(question.statistic), totals)

    def _progress(self, question: Question, waiting: Iterable[str]) -> Progress:
        return Progress(round=self.round, statistic=question.statistic, waiting_for=tuple(sorted(waiting)))


def problem_of(error: Exception, **context: str) -> Problem:
    """What a caller is told of an error: its own words if it is one of ours, else constant words and a number.

    The log says under that number what happened and where; never with the words of the error, which might hold values.
    """
    if isinstance(error, CohortiumError):
        return error.problem()
    number = secrets.token_hex(4)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("unexpected error", number=number, error=type(error).__name__, where=where, **context)
    return Problem(
        kind="CohortiumError",
        message=f"The coordinator made an error of its own. Its operator finds it in the log under number {number}.",
    )


def _withdrawn(cohorts: Iterable[str]) -> NodeFailed:
    names = ", ".join(f"`{name}`" for name in sorted(cohorts))
    return NodeFailed(f"{names}: no longer part of this network. Submit the job again without.", cohort=min(cohorts))
