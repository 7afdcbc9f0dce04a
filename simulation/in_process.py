"""A network in this process: the same questions, checks and sums as the real one, without the wires.

net = network({"north": df1, "south": df2, "west": df3})
result = net.study().glm(formula="bmi ~ age + sex", family="gaussian", cohort_effect="common").result()
"""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import narwhals as nw
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

import cohortium
from cohortium.analysis import Analysis, Params, Question, conduct, find, registry
from cohortium.asking import Answer, combine, compose
from cohortium.client import Network
from cohortium.data import Data
from cohortium.dictionary import VARIABLE_NAME, Dictionary
from cohortium.errors import CohortiumError, InvalidQuestion, JobCancelled, Refused, UnknownName
from cohortium.messages import (
    AnalysisView,
    CohortName,
    CohortView,
    JobRequest,
    JobState,
    JobView,
    NetworkView,
    Progress,
    QuestionMessage,
    VariableView,
)
from cohortium.quantities import Array, Sums
from cohortium.twin import Twin
from node.answer import CohortNode
from node.data import load
from node.disclosure import Policy
from simulation.inference import infer_dictionary


def network(
    frames: Mapping[str, Any], dictionary: Dictionary | None = None, policy: Policy | Mapping[str, Policy] | None = None
) -> Network:
    """A network of simulated cohorts, by name: pandas, polars or pyarrow frames, or Data.

    Without `dictionary` one is inferred over all frames together. `policy` is everyone's, or one per cohort; without
    it nothing is withheld, because here all data are in one hand.
    Raises InvalidDictionary, InvalidData, InvalidQuestion.
    """
    if not frames:
        raise InvalidQuestion("A network needs at least one cohort.")
    for name in frames:
        _check_name(name)
    tables = {name: _as_table(frame) for name, frame in frames.items() if not isinstance(frame, Data)}
    coded = [frame.dictionary for frame in frames.values() if isinstance(frame, Data)]
    shared = dictionary or (coded[0] if coded else infer_dictionary(list(tables.values())))
    policies = policy if isinstance(policy, Mapping) else dict.fromkeys(frames, policy or Policy.none())
    nodes = {}
    for name, frame in frames.items():
        data = frame if isinstance(frame, Data) else _load(tables[name], shared)
        nodes[name] = CohortNode(name, data, policies[name])
    return Network(InProcess(nodes, shared))


def _check_name(name: str) -> None:
    try:
        TypeAdapter(CohortName).validate_python(name)
    except ValidationError:
        raise InvalidQuestion(f"`{name}` cannot name a cohort: use letters, digits, `-`, `_` and `.`.") from None


def _as_table(frame: Any) -> pa.Table:
    native = nw.from_native(frame, eager_only=True)
    # A formula could not name such a column; it must not keep the others from being used either.
    odd = [name for name in native.columns if not re.fullmatch(VARIABLE_NAME, str(name))]
    if odd:
        named = ", ".join(map(repr, odd))
        warnings.warn(f"Left out, for a variable's name is letters, digits, `_` and `.`: {named}", stacklevel=3)
    table: pa.Table = native.to_arrow()
    # By name: a pandas index would come along as one more column.
    return table.select([name for name in native.columns if name not in odd])


def _load(table: pa.Table, dictionary: Dictionary) -> Data:
    return load(table, dictionary, absent=[n for n in dictionary.variables if n not in table.column_names])


AskNodes = Callable[[Mapping[str, CohortNode], QuestionMessage, Mapping[str, Array], str], Mapping[str, Answer]]
"""Puts a question with its broadcast values to nodes for a study, and returns their answers by cohort."""


class Threads:
    """Nodes compute side by side, as they would on machines of their own."""

    def __init__(self, nodes: int) -> None:
        self._pool = ThreadPoolExecutor(min(nodes, os.cpu_count() or 1), thread_name_prefix="cohort")

    def __call__(
        self, nodes: Mapping[str, CohortNode], question: QuestionMessage, broadcast: Mapping[str, Array], study: str
    ) -> Mapping[str, Answer]:
        """The answers by cohort (see `AskNodes`)."""
        replies = self._pool.map(lambda node: node.reply(question, broadcast, study), nodes.values())
        return dict(zip(nodes, replies, strict=True))


class InProcess:
    """The service behind a simulated network (see `cohortium.client.Service`): nodes are objects, jobs are threads."""

    def __init__(self, nodes: Mapping[str, CohortNode], dictionary: Dictionary, ask: AskNodes | None = None) -> None:
        self.nodes = nodes
        self._dictionary = dictionary
        self._jobs: dict[str, _Job] = {}
        self._ask = ask or Threads(len(nodes))

    def network(self) -> NetworkView:
        """What network this is."""
        known = self._dictionary
        return NetworkView(
            name="simulation",
            version=cohortium.__version__,
            dictionary=known.name,
            dictionary_version=known.version,
            dictionary_digest=known.digest,
            title=known.title,
        )

    def dictionary(self) -> Dictionary:
        """The variables that every cohort agreed on."""
        return self._dictionary

    def cohorts(self) -> list[CohortView]:
        """The simulated cohorts; all are always there."""
        told = {name: node.introduction() for name, node in self.nodes.items()}
        return [
            CohortView(name=name, title=name, online=True, variables=said.variables, budgets=said.budgets)
            for name, said in told.items()
        ]

    def twins(self) -> list[Twin]:
        """None: these people are synthetic already, or all in one hand."""
        return []

    def variables(self, search: str = "") -> list[VariableView]:
        """The dictionary's variables whose name or label contains `search`."""
        return [
            VariableView(
                name=name,
                cohorts=tuple(c for c, node in self.nodes.items() if name in node.data.columns),
                **self._dictionary[name].model_dump(),
            )
            for name in self._dictionary.search(search)
        ]

    def analyses(self) -> list[AnalysisView]:
        """Every installed analysis."""
        return [a.view() for a in registry().values()]

    def submit(self, request: JobRequest) -> JobView:
        """Start a job in a thread of its own."""
        return self.start(find(request.analysis), request)

    def start(self, analysis: Analysis[Any, Any], request: JobRequest) -> JobView:
        """The same for an `analysis` that asks as it likes, as one on a malicious coordinator would.

        Nodes know the registered analysis of that name, and compute its statistics only.
        """
        params = analysis.params.bind(request.params, self._dictionary)
        cohorts = request.cohorts if request.cohorts is not None else tuple(self.nodes)
        for name in cohorts:
            if name not in self.nodes:
                raise UnknownName.of("cohort", name, self.nodes)
        if not cohorts:
            raise InvalidQuestion("Ask at least one cohort.")
        job = _Job(analysis, params, {name: self.nodes[name] for name in cohorts}, request.study, self._ask)
        self._jobs[job.view.id] = job
        job.start()
        return job.view

    def jobs(self) -> list[JobView]:
        """Every job of this session, the latest first."""
        return [job.view for job in reversed(self._jobs.values())]

    def job(self, job_id: str) -> JobView:
        """The job as it is now."""
        return self._find(job_id).view

    def events(self, job_id: str, timeout: float | None = None) -> Iterator[JobView]:
        """The job as it is now and after each change, until it has ended or `timeout` seconds have passed."""
        return self._find(job_id).events(timeout)

    def cancel(self, job_id: str) -> JobView:
        """End a job before its next round."""
        return self._find(job_id).cancel()

    def proof(self, job_id: str) -> bytes | None:  # noqa: ARG002
        """None: all data are in one hand here, so there is nobody to be trusted."""
        return None

    def result(self, job_id: str) -> bytes:
        """The result of a finished job as JSON; raises what ended the job otherwise."""
        return self._find(job_id).finished.result()

    def _find(self, job_id: str) -> _Job:
        if job_id not in self._jobs:
            raise UnknownName.of("job", job_id, self._jobs)
        return self._jobs[job_id]


class _Job:
    """One question on its way through the nodes."""

    def __init__(
        self,
        analysis: Analysis[Any, Any],
        params: Params,
        nodes: Mapping[str, CohortNode],
        study: str,
        ask: AskNodes,
    ) -> None:
        self.analysis, self.params, self.nodes, self.ask = analysis, params, nodes, ask
        self.finished: Future[bytes] = Future()
        self.changed = threading.Condition()
        self.view = JobView(
            id=uuid4().hex,
            study=study,
            analysis=analysis.name,
            params=params.model_dump(mode="json"),
            cohorts=tuple(nodes),
            state=JobState.submitted,
            submitted=datetime.now(UTC),
        )

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"job-{self.view.id[:8]}", daemon=True).start()

    def cancel(self) -> JobView:
        with self.changed:
            if not self.view.state.is_final:
                self._update(state=JobState.cancelled, ended=datetime.now(UTC))
        return self.view

    def events(self, timeout: float | None) -> Iterator[JobView]:
        until = None if timeout is None else time.monotonic() + timeout
        seen = self.view
        yield seen
        while not seen.state.is_final:
            left = None if until is None else until - time.monotonic()
            if not self._differs_from(seen, left):
                return
            seen = self.view
            yield seen

    def _differs_from(self, seen: JobView, timeout: float | None) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.view is not seen, timeout)

    def _run(self) -> None:
        try:
            result = conduct(self.analysis, self.params, self._ask_all_nodes, tuple(self.nodes))
        except CohortiumError as error:
            state = JobState.refused if isinstance(error, Refused) else JobState.failed
            self.finished.set_exception(error)
            self._end(state, problem=error.problem())
        except Exception as error:  # in one's own process the traceback helps, and tells nobody else anything
            self.finished.set_exception(error)
            self._end(JobState.failed, problem=CohortiumError(f"{type(error).__name__} in the analysis").problem())
        else:
            self.finished.set_result(result.model_dump_json().encode())
            self._end(JobState.finished)

    def _ask_all_nodes(self, question: Question) -> Sums | dict[str, Sums]:
        round_ = self.view.progress.round + 1
        with self.changed:
            if self.view.state is JobState.cancelled:
                raise JobCancelled(f"Job {self.view.id} was cancelled.")
            self._update(state=JobState.running, progress=Progress(round=round_, statistic=question.statistic))
        message = compose(
            question, self.analysis, self.params, job=self.view.id, round_=round_, cohorts=tuple(self.nodes)
        )
        answers = self.ask(self.nodes, message, question.broadcast, self.view.study)
        return combine(question, self.analysis, answers)

    def _end(self, state: JobState, **changes: Any) -> None:
        with self.changed:
            if not self.view.state.is_final:
                self._update(state=state, ended=datetime.now(UTC), **changes)

    def _update(self, **changes: Any) -> None:
        with self.changed:
            self.view = self.view.model_copy(update=changes)
            self.changed.notify_all()
