"""The REST API, under /api/v1. Every client, the command line included, goes through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

import cohortium
from cohortium.analysis import find, registry
from cohortium.dictionary import Dictionary
from cohortium.errors import Problem, UnknownName
from cohortium.messages import (
    AnalysisView,
    CohortView,
    JobState,
    JobView,
    NetworkView,
    SignedText,
    StudyName,
    VariableView,
)
from cohortium.twin import Twin
from coordinator import problems
from coordinator.callers import (
    BAD_BODY,
    CONFLICT,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    UNAUTHORIZED,
    Caller,
    Job,
    Researcher,
    Service,
    mine,
    not_found,
)
from coordinator.edge import Edge
from coordinator.operating import operating
from coordinator.problems import documented
from coordinator.service import Coordinator

PREFIX = "/api/v1"
DESCRIPTION = """
Ask many cohorts one question; receive the answer that pooling them would have given.

Send a token as `Authorization: Bearer …`. **Researchers** submit signed jobs, and see their own and nobody else's.
**Operators** enrol and withdraw cohorts, bring rosters and permits, and see and cancel every job, but no result.
Rosters, permits and jobs are signed documents: their text is relayed to every node, which verifies it for itself.
Every error is a `Problem`: its kind, and what is wrong in words; a formula error also says at which character.
"""

TAGS = [
    {"name": "network", "description": "What can be asked, and of whom."},
    {"name": "jobs", "description": "Questions, from submission to result."},
    {"name": "operation", "description": "For whoever runs this coordinator."},
]

known = APIRouter(tags=["network"], responses=documented(UNAUTHORIZED))
jobs = APIRouter(tags=["jobs"], responses=documented(UNAUTHORIZED, INVALID))


@known.get("/network", summary="What this network is")
def get_network(coordinator: Service, _: Caller) -> NetworkView:
    """Name, version and dictionary of the network."""
    return coordinator.network()


@known.get("/cohorts", summary="The cohorts")
def get_cohorts(coordinator: Service, _: Caller) -> list[CohortView]:
    """Every cohort: whether its node is connected, what it collected, and what is wrong with it if anything."""
    return coordinator.catalogue.cohorts()


@known.get("/twins", summary="The synthetic twins")
def get_twins(coordinator: Service, _: Caller) -> list[Twin]:
    """The synthetic twins that cohorts publish, so that a study can be rehearsed on people who do not exist."""
    return coordinator.catalogue.twins()


@known.get("/variables", summary="The variables", responses=documented(INVALID))
def get_variables(
    coordinator: Service,
    _: Caller,
    search: Annotated[
        str, Query(max_length=200, description="Part of the name, or of the label in English or Dutch.")
    ] = "",
) -> list[VariableView]:
    """The variables of the dictionary, with the cohorts that are known to have collected each."""
    return coordinator.catalogue.variables(search)


@known.get("/dictionary", summary="The data dictionary")
def get_dictionary(coordinator: Service, _: Caller) -> Dictionary:
    """The dictionary as it is: what parameters are checked against."""
    return coordinator.dictionary


@known.get("/analyses", summary="The analyses")
def get_analyses(_: Caller) -> list[AnalysisView]:
    """Every analysis, with the JSON schemas of its parameters and of its result."""
    return [analysis.view() for analysis in registry().values()]


@known.get("/analyses/{name}", summary="One analysis", responses=documented(NOT_FOUND))
def get_analysis(_: Caller, name: Annotated[str, Path(description="Name of the analysis.")]) -> AnalysisView:
    """An analysis, with the JSON schemas of its parameters and of its result."""
    try:
        return find(name).view()
    except UnknownName as error:
        raise not_found(error.message) from None


@known.get("/roster", summary="The roster", responses=documented(NOT_FOUND))
def get_roster(coordinator: Service, _: Caller) -> SignedText:
    """Who is in the network, signed by its authority; 404 as long as there is none."""
    roster = coordinator.registry.roster()
    if roster is None:
        raise not_found("This network has no roster yet: its operator must put one in place.")
    return SignedText(document=roster.to_bytes().decode())


@known.get("/permits", summary="The permits", responses=documented(INVALID))
def get_permits(
    coordinator: Service, _: Caller, study: Annotated[StudyName | None, Query(description="Only of this study.")] = None
) -> list[SignedText]:
    """What studies may ask, signed by a data access committee; newest first, those that are over included."""
    return [SignedText(document=p.to_bytes().decode()) for p in coordinator.registry.permits(study)]


@jobs.post("/jobs", status_code=201, summary="Submit a job", responses=documented(FORBIDDEN, CONFLICT, *BAD_BODY))
def submit_job(coordinator: Service, token: Researcher, request: SignedText, response: Response) -> JobView:
    """Submit a signed job. Signatures, permit, dictionary and cohorts are checked before it is taken in."""
    view = coordinator.submit(request, token.name)
    response.headers["Location"] = f"{PREFIX}/jobs/{view.id}"
    return view


@jobs.get("/jobs", summary="Jobs, newest first")
def get_jobs(  # noqa: PLR0917 - one parameter per filter
    coordinator: Service,
    token: Caller,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in one of these states.")] = None,
    study: Annotated[StudyName | None, Query(description="Only jobs of this study.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9, description="Leave out so many of the newest.")] = 0,
) -> list[JobView]:
    """Your own jobs; for an operator, everybody's."""
    views = coordinator.store.jobs(states=state, study=study, submitted_by=mine(token), limit=limit, offset=offset)
    return [coordinator.jobs.current(view) for view in views]


@jobs.get("/jobs/{job_id}", summary="One job", responses=documented(NOT_FOUND))
def get_job(view: Job) -> JobView:
    """State, progress (with the cohorts still waited for) and, if it failed, why."""
    return view


@jobs.post("/jobs/{job_id}/cancel", summary="Cancel a job", responses=documented(NOT_FOUND))
def cancel_job(coordinator: Service, token: Caller, view: Job) -> JobView:
    """End a job, whether it waits or runs; one that has already ended stays as it is."""
    return coordinator.jobs.cancel(view.id, token.name)


@jobs.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=documented(NOT_FOUND),
)
async def follow_job(coordinator: Service, view: Job) -> AsyncIterator[ServerSentEvent]:
    """The job as it is now and after each change, until it has ended, as server-sent events.

    An event named `state` tells of a new state, `progress` of a step within one; the data of both are the job.
    """
    state = None
    async for now in coordinator.jobs.board.follow(view.id, lambda: coordinator.jobs.look(view.id)):
        yield ServerSentEvent(data=now, event="progress" if now.state is state else "state")
        state = now.state


@jobs.get(
    "/jobs/{job_id}/result",
    summary="The result of a job",
    response_model=dict[str, Any],
    responses=documented(FORBIDDEN, NOT_FOUND, CONFLICT),
)
def get_result(coordinator: Service, _: Researcher, view: Job) -> Response:
    """The result, in the form that `/analyses/{name}` describes; 409 while there is none, and why."""
    return Response(coordinator.result(view), media_type="application/json")


@jobs.get(
    "/jobs/{job_id}/proof",
    summary="What a result is verified by",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, **documented(FORBIDDEN, NOT_FOUND, CONFLICT)},
)
def get_proof(coordinator: Service, _: Researcher, view: Job) -> Response:
    """A zip of the signed documents, every question and every node's signed answer; 409 while there is no result."""
    return Response(coordinator.proof(view), media_type="application/zip")


@operating.get("/health", summary="Whether the coordinator works")
def get_health(coordinator: Service) -> dict[str, str]:
    """Answers without a token, once it has looked into its store."""
    coordinator.store.cohorts()
    return {"status": "ok", "version": cohortium.__version__}


def create_app(coordinator: Coordinator) -> FastAPI:
    """The API of this coordinator, as an ASGI application."""
    app = FastAPI(
        title="Cohortium",
        version=cohortium.__version__,
        description=DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        openapi_tags=TAGS,
        docs_url=None,  # a page that would load its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.coordinator = coordinator
    problems.install(app)
    for router in (known, jobs, operating):
        app.include_router(router, prefix=PREFIX)
    settings = coordinator.settings
    app.add_middleware(Edge, max_body_bytes=settings.max_body_bytes, body_timeout=settings.body_timeout)
    _complete(app)
    return app


def _complete(app: FastAPI) -> None:
    """Put the Problem that every operation may answer with into the OpenAPI document."""
    schema = app.openapi()
    schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
