"""A coordinator in a thread that answers what a test tells it to, over real HTTP; and an analysis to ask it for."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from cohortium.analysis import Analysis, Params, Rounds, ask
from cohortium.data import Data
from cohortium.dictionary import Labels
from cohortium.documents import Job
from cohortium.errors import CohortiumError, UnknownName
from cohortium.formula import Formula
from cohortium.messages import CohortView, JobState, JobView, NetworkView, Progress, SignedText, VariableView
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.report import Table
from cohortium.result import Result
from cohortium.signing import Signed
from simulation.ceremony import Ceremony

TOKEN = "let-me-in"
NETWORK = "Test network"
CEREMONY = Ceremony(NETWORK, ("north", "south"))


class AverageParams(Params):
    formula: Formula = Field(description="What to average, such as `bmi ~ sex[male]`.")
    kind: Literal["plain", "trimmed"] = Field("plain", description="Which average.")
    groups: list[str] = Field(default_factory=list, description="Variables to group by.")
    knots: list[float] | int = Field(3, description="How many knots, or where.")
    max_rounds: int = Field(25, le=50, description="Give up after so many.")
    confidence: float | None = Field(None, description="Level.")
    exact: bool = Field(False, description="Whether to be exact.")


class AverageSum(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


class AverageResult(Result):
    mean: float

    def tables(self) -> list[Table]:
        return [Table("Average", ("term", "mean"), (("all", self.mean),))]


def average_sum(data: Data, params: AverageParams) -> AverageSum:
    return AverageSum(n=0, total=np.zeros(1))


def _average(params: AverageParams) -> Rounds[AverageResult]:
    total = yield from ask(average_sum)
    return AverageResult(n=int(total.n), mean=float(total.total[0]))


AVERAGE = Analysis(
    "average", _average, AverageParams, AverageResult, sys.modules[__name__], "Average of a variable.\n\nMore words."
)
RESULT = AverageResult(analysis="average", n=30, cohorts=("north", "south"), rounds=2, mean=0.1 + 0.2)


def job_view(job_id: str = "j1", state: str = "submitted", **changes) -> JobView:
    about = {"study": "s", "analysis": "average", "params": {}, "cohorts": ("north", "south")}
    return JobView(id=job_id, state=state, submitted=datetime(2026, 1, 2, tzinfo=UTC), **{**about, **changes})


def running(round_: int, *waiting: str) -> JobView:
    return job_view(state="running", progress=Progress(round=round_, statistic="average_sum", waiting_for=waiting))


class FakeCoordinator:
    """`streams` are what successive GETs of a job's events send before the connection ends; an int is a status."""

    def __init__(self) -> None:
        self.streams: list[list[JobView | str] | int] = []
        self.job = job_view()
        self.result: bytes = RESULT.model_dump_json().encode()
        self.problem: CohortiumError | None = None
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[dict] = []
        self.hold = threading.Event()
        self.app = FastAPI()
        self.app.add_api_route("/{path:path}", self.answer, methods=["GET", "POST"])

    async def answer(self, request: Request, path: str) -> Response:
        self.requests.append((request.method, path))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Response("{}", 401)
        if request.method == "POST":
            if path.endswith("/cancel"):
                self.job = self.job.model_copy(update={"state": JobState.cancelled})
                return _json(self.job)
            signed = Signed.from_bytes(Job, (await request.json())["document"].encode()).document
            asked = {name: getattr(signed, name) for name in ("study", "analysis", "params")}
            self.bodies.append(asked | {"cohorts": list(signed.cohorts)})
            if self.problem:
                return JSONResponse(self.problem.problem().model_dump(), 422)
            return _json(self.job)
        return self._get(path.removeprefix("api/v1/"), request)

    def _get(self, path: str, request: Request) -> Response:  # noqa: C901, PLR0911 - a table of what is where
        match path.split("/"):
            case ["network"]:
                about = {"dictionary": "d", "dictionary_version": "1", "dictionary_digest": "0" * 64, "code": "1+a"}
                return _json(NetworkView(name=NETWORK, version="0.1.0", **about))
            case ["roster"]:
                return _json(SignedText(document=CEREMONY.roster.to_bytes().decode()))
            case ["permits"]:
                permit = CEREMONY.permit(request.query_params["study"])
                return _json(SignedText(document=permit.to_bytes().decode()), many=True)
            case ["cohorts"]:
                return _json(CohortView(name="north", online=True, variables=("bmi",)), CohortView(name="south"))
            case ["variables"]:
                label = Labels(en="Body mass index", nl="Queteletindex")
                found = [VariableView(name="bmi", type="number", unit="kg/m2", label=label, cohorts=("north",))]
                return _json(*(found if request.query_params.get("search", "bmi") == "bmi" else []), many=True)
            case ["analyses"]:
                return _json(AVERAGE.view(), many=True)
            case ["jobs"]:
                return _json(self.job, many=True)
            case ["jobs", self.job.id]:
                return _json(self.job)
            case ["jobs", self.job.id, "events"]:
                return self._stream()
            case ["jobs", self.job.id, "result"]:
                return Response(self.result, media_type="application/json")
            case ["jobs", self.job.id, "proof"]:
                return Response(b"proof", media_type="application/zip")
            case ["jobs", name, *_]:
                return JSONResponse(UnknownName.of("job", name, [self.job.id]).problem().model_dump(), 404)
        return Response("not here", 404)

    def _stream(self) -> Response:
        events = self.streams.pop(0) if self.streams else []
        if isinstance(events, int):
            return Response("down", events)

        def lines() -> Iterator[str]:
            for event in events:
                if isinstance(event, str):
                    yield event
                else:
                    self.job = event
                    yield f"event: state\ndata: {event.model_dump_json()}\n\n"
            if not self.streams:
                # Silent, and open, as a real stream is between two changes.
                self.hold.wait(20)

        return StreamingResponse(lines(), media_type="text/event-stream")


def _json(*views, many: bool = False) -> Response:
    text = [view.model_dump_json() for view in views]
    return Response(text[0] if len(text) == 1 and not many else f"[{','.join(text)}]", media_type="application/json")


@contextmanager
def serving(coordinator: FakeCoordinator, **tls: str) -> Iterator[str]:
    """The address of `coordinator`, served on a free loopback port for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(coordinator.app, log_level="critical", ws="none", timeout_graceful_shutdown=1, **tls)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        coordinator.hold.set()
        server.should_exit = True
        thread.join(10)
        listener.close()
