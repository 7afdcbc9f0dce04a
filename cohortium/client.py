"""What a researcher holds: a network, its studies, their jobs and results.

    net = cohortium.connect("https://coordinator.example.nl")
    job = net.study("smoking-and-bmi").glm(formula="bmi ~ age + sex", family="gaussian")
    print(job.result().summary())

None of it knows how a question travels: it talks to a `Service`, which is the coordinator's REST API (`cohortium.rest`)
or a network inside this very process (`simulation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from cohortium.analysis import find, registry
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, InvalidQuestion, JobCancelled, UnknownName
from cohortium.explain import Explanation, explain_job
from cohortium.listing import Listing, analysis_row, budget_row, cohort_row, job_row, variable_row
from cohortium.messages import (
    AnalysisView,
    CohortView,
    JobRequest,
    JobState,
    JobView,
    NetworkView,
    Progress,
    VariableView,
)
from cohortium.result import Result
from cohortium.study_methods import method
from cohortium.twin import Twin


class Service(Protocol):
    """Where jobs are submitted and followed. Everything but `events` returns at once.

    Every method raises a CohortiumError that says what is wrong: UnknownName for a cohort or job that does not exist,
    InvalidQuestion or FormulaError for a question that cannot be asked, ServiceError when the service cannot be had.
    """

    def network(self) -> NetworkView:
        """What network this is."""

    def dictionary(self) -> Dictionary:
        """The variables that every cohort agreed on."""

    def cohorts(self) -> list[CohortView]:
        """The cohorts, and whether each is there now."""

    def twins(self) -> list[Twin]:
        """The synthetic twins that cohorts publish to rehearse with."""

    def variables(self, search: str = "") -> list[VariableView]:
        """The dictionary's variables whose name or label (English, Dutch) contains `search`, whatever its case."""

    def analyses(self) -> list[AnalysisView]:
        """What this network can compute."""

    def submit(self, request: JobRequest) -> JobView:
        """Hand in a question; nothing is computed yet when this returns."""

    def jobs(self) -> list[JobView]:
        """Every job that the caller may see, the latest first."""

    def job(self, job_id: str) -> JobView:
        """The job as it is now."""

    def events(self, job_id: str, timeout: float | None = None) -> Iterator[JobView]:
        """The job as it is now, then again after each change, until it has ended or `timeout` seconds have passed."""

    def cancel(self, job_id: str) -> JobView:
        """End a job; one that has already ended stays as it is."""

    def result(self, job_id: str) -> bytes:
        """The result of a finished job, as the JSON of the analysis's result class."""

    def proof(self, job_id: str) -> bytes | None:
        """What the result of a finished job is verified by (see `proof`); None where nobody had to be trusted."""


def connect(
    url: str | None = None,
    token: str | None = None,
    ca: str | None = None,
    key: str | None = None,
    authority: str | None = None,
) -> Network:
    """The network whose coordinator answers at `url`.

    What is not given comes from COHORTIUM_URL, COHORTIUM_TOKEN, COHORTIUM_CA, COHORTIUM_KEY and COHORTIUM_AUTHORITY, or
    else from what `cohortium login` wrote. `ca` is a PEM file of the authority that signed the coordinator's
    certificate, if it is not a public one. `key` is the file of your private key, which signs your jobs (its
    passphrase, if any, comes from COHORTIUM_PASSPHRASE); `authority` is the public key of the network's authority.
    With COHORTIUM_REHEARSE=1 it is a rehearsal, in this process, on people drawn from the twins that cohorts publish.

    Raises ServiceError when nobody answers there, the certificate is not trusted, or the token is not accepted.
    """
    from cohortium import rehearsing, rest, settings  # noqa: PLC0415 - the HTTP client costs a tenth of a second to load

    network = Network(rest.HttpService(settings.resolve(url, token, ca, key, authority)))
    network.view  # noqa: B018 - a wrong address or token is better told now than at the first question
    return rehearsing.rehearsal(network) if rehearsing.wanted() else network


class Network:
    """Cohorts that can be asked together."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._view: NetworkView | None = None

    @property
    def view(self) -> NetworkView:
        """Name, version and dictionary of this network."""
        if self._view is None:
            self._view = self.service.network()
        return self._view

    def cohorts(self) -> Listing[CohortView]:
        """The cohorts, and whether each is there now."""
        return Listing("Cohorts", self.service.cohorts(), cohort_row)

    def variables(self, search: str = "") -> Listing[VariableView]:
        """The variables whose name or label, in English or Dutch, contains `search`."""
        return Listing("Variables", self.service.variables(search), variable_row)

    def analyses(self) -> Listing[AnalysisView]:
        """What this network can compute."""
        return Listing("Analyses", self.service.analyses(), analysis_row)

    def study(self, name: str = "unnamed", cohorts: Sequence[str] | None = None, **rows: Any) -> Study:
        """The study on whose behalf questions are asked, of all cohorts or of those named.

        `where` and `complete` choose its people once: every question that says nothing else is about those (see Study).
        """
        return Study(self.service, name, cohorts, **rows)

    def jobs(self) -> Listing[Job]:
        """The jobs that you may see, the latest first."""
        return Listing("Jobs", [Job(self.service, view) for view in self.service.jobs()], lambda job: job_row(job.view))

    def job(self, job_id: str) -> Job:
        """A job by its id, for instance one that was submitted in another session."""
        return Job(self.service, self.service.job(job_id))

    def __repr__(self) -> str:
        return f"<Network {self.view.name}: dictionary {self.view.dictionary} {self.view.dictionary_version}>"


class UnknownAnalysis(UnknownName, AttributeError):
    """An attribute of a study that is no analysis; hasattr() and the like understand it too."""


class Study:
    """Asks questions. Every analysis is a method: `study.glm(formula="bmi ~ age")`; `dir(study)` lists them.

    With `where` and `complete`, every question is about the same people: a cohort refuses to tell of two groups that
    differ by a few, as those with a value for one model do from those with a value for the next.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        cohorts: Sequence[str] | None = None,
        *,
        where: str | None = None,
        complete: Sequence[str] = (),
    ) -> None:
        self.service = service
        self.name = name
        self.cohorts = tuple(cohorts) if cohorts is not None else None
        chosen = {"where": where, "complete": list(complete)}
        self.rows = {name: value for name, value in chosen.items() if value}

    def run(self, analysis: str, /, *, cohorts: Sequence[str] | None = None, **params: Any) -> Job:
        """Submit `analysis` with its parameters, to the cohorts named or else those of the study.

        Raises UnknownName, FormulaError or InvalidQuestion; most of what can be wrong is told before anything is sent.
        """
        params = self.rows | params
        find(analysis).params.parse(params)
        asked = tuple(cohorts) if cohorts is not None else self.cohorts
        try:
            request = JobRequest(study=self.name, analysis=analysis, params=_as_json(params), cohorts=asked)
        except ValidationError as error:
            raise InvalidQuestion.from_validation(error) from None
        return Job(self.service, self.service.submit(request))

    def budget(self) -> Listing[CohortView]:
        """How much each cohort may still tell this study: most of it (open), little (low), or hardly anything (spent).

        What a job takes depends on its rounds and parameters; docs/analyses/COSTS.md has an example of each analysis.
        """
        return Listing(f"What {self.name} may still be told", self.service.cohorts(), partial(budget_row, self.name))

    def __getattr__(self, name: str) -> Callable[..., Job]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return method(self, find(name))
        except UnknownName as error:
            raise UnknownAnalysis(error.message) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *registry()})

    def __repr__(self) -> str:
        return f"<Study {self.name}, {', '.join(self.cohorts) if self.cohorts else 'all cohorts'}>"


class Job:
    """A question on its way to an answer. It runs at the coordinator: closing this session does not end it."""

    def __init__(self, service: Service, view: JobView) -> None:
        self.service = service
        self.view = view

    @property
    def id(self) -> str:
        """What to pick the job up by, in any session: `net.job(id)`."""
        return self.view.id

    @property
    def state(self) -> JobState:
        """Where the job is in its life, now."""
        return self.refresh().state

    def progress(self) -> Progress:
        """The round it is in, what is being asked, and whose answers are still missing."""
        return self.refresh().progress

    def refresh(self) -> JobView:
        """Everything about the job, as it is now; a job that has ended does not change any more."""
        if not self.view.state.is_final:
            self.view = self.service.job(self.id)
        return self.view

    def cancel(self) -> JobState:
        """End the job; one that has already ended stays as it is."""
        self.view = self.service.cancel(self.id)
        return self.view.state

    def result(self, timeout: float | None = None, progress: bool | None = None) -> Any:
        """Wait for the result and return it as the result class of the analysis.

        `timeout` is in seconds; None waits for as long as it takes. `progress`: whether to show what is being waited
        for; None does so in a terminal and in a notebook.

        Raises what kept the job from having one (Refused, Collinear, NodeFailed, JobCancelled …), or TimeoutError,
        after which the job is still running and may be waited for again.
        """
        self.wait(timeout, progress)
        if self.view.state is JobState.finished:
            result = read_result(self.view.analysis, self.service.result(self.id))
            # Fetched when the result is saved: a proof may be large.
            return result.provable_by(lambda: self.service.proof(self.id))
        if not self.view.state.is_final:
            raise TimeoutError(f"Job {self.id} has no result yet; it goes on. Ask for its result again later.")
        raise _why(self.view)

    def wait(self, timeout: float | None = None, progress: bool | None = None) -> JobView:
        """Follow the job until it has ended or `timeout` seconds have passed; return it as it is then."""
        if not self.view.state.is_final:
            from cohortium.waiting import shown  # noqa: PLC0415 - rich is loaded when there is something to wait for

            for view in shown(self.service.events(self.id, timeout), progress):
                self.view = view
        return self.view

    def explain(self) -> Explanation:
        """Why it has no result: which rule, whose it is, why it exists, how to ask instead. Does not wait."""
        return explain_job(self.refresh())

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.view.analysis}, {self.view.state}>"


def read_result(analysis: str, content: bytes) -> Result:
    """A result from its JSON, as the result class of the analysis. Raises UnknownName or CohortiumError."""
    kind: type[Result] = find(analysis).result
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, e["loc"])) for e in error.errors(include_input=False)}))
        raise CohortiumError(f"This is not a result of `{analysis}` as this version knows it: {where}") from None


def _why(view: JobView) -> CohortiumError:
    if view.problem is not None:
        return CohortiumError.from_problem(view.problem)
    if view.state is JobState.cancelled:
        return JobCancelled(f"Job {view.id} was cancelled.")
    return CohortiumError(f"Job {view.id} {view.state}, and the coordinator did not say why.")


def _as_json(params: dict[str, Any]) -> dict[str, Any]:
    return {name: to_jsonable_python(value, fallback=str) for name, value in params.items() if value is not None}
