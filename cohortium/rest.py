"""The coordinator's REST API as a `Service`."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, Problem, ServiceError
from cohortium.messages import AnalysisView, CohortView, JobRequest, JobView, NetworkView, SignedText, VariableView
from cohortium.settings import Connection
from cohortium.signer import Signer
from cohortium.twin import Twin

T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
# A stream that is silent for this long has been cut somewhere on the way: open it again.
SILENCE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
# Long enough for a coordinator to be restarted or moved. The job does not mind how long nobody watches it.
GIVE_UP_SECONDS = 600.0


class HttpService:
    """Asks a coordinator over HTTPS. `transport` replaces the network in tests."""

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None = None) -> None:
        self.url = connection.url
        self._connection = connection
        self._signer: Signer | None = None
        self._network: NetworkView | None = None
        headers = {"Authorization": f"Bearer {connection.token}"} if connection.token else {}
        self._http = httpx.Client(
            base_url=f"{connection.url}/api/v1",
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            verify=_trust(connection.ca),
            transport=transport,
        )

    def network(self) -> NetworkView:
        """What network this is."""
        return self._get(NetworkView, "/network")

    def dictionary(self) -> Dictionary:
        """The variables that every cohort agreed on."""
        return self._get(Dictionary, "/dictionary")

    def cohorts(self) -> list[CohortView]:
        """The cohorts, and whether each is there now."""
        return self._get(list[CohortView], "/cohorts")

    def twins(self) -> list[Twin]:
        """The synthetic twins that cohorts publish to rehearse with."""
        return self._get(list[Twin], "/twins")

    def variables(self, search: str = "") -> list[VariableView]:
        """The dictionary's variables whose name or label contains `search`."""
        return self._get(list[VariableView], "/variables", params={"search": search} if search else None)

    def analyses(self) -> list[AnalysisView]:
        """What this network can compute."""
        return self._get(list[AnalysisView], "/analyses")

    def submit(self, request: JobRequest) -> JobView:
        """Sign a question and hand it in. Raises InvalidKey, or why network or permit are Untrusted."""
        if self._signer is None:
            self._signer = Signer.of(self._connection)
        network = self._network or self.network()
        roster = self._get(SignedText, "/roster").document
        permits = self._get(list[SignedText], "/permits", params={"study": request.study})
        signed = self._signer.sign(request, network, roster, [permit.document for permit in permits])
        view = self._decode(JobView, self._call("POST", "/jobs", json={"document": signed.to_bytes().decode()}))
        self._network = network
        return view

    def jobs(self) -> list[JobView]:
        """Every job that the caller may see, the latest first."""
        return self._get(list[JobView], "/jobs")

    def job(self, job_id: str) -> JobView:
        """The job as it is now."""
        return self._get(JobView, _job(job_id))

    def cancel(self, job_id: str) -> JobView:
        """End a job."""
        return self._decode(JobView, self._call("POST", _job(job_id, "/cancel")))

    def result(self, job_id: str) -> bytes:
        """The result of a finished job, as JSON."""
        return self._call("GET", _job(job_id, "/result")).content

    def proof(self, job_id: str) -> bytes | None:
        """What the result is verified by."""
        return self._call("GET", _job(job_id, "/proof")).content

    def events(self, job_id: str, timeout: float | None = None) -> Iterator[JobView]:
        """The job now and after each change. A stream that breaks off is opened again, at growing intervals."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        last, pause, heard = None, FIRST_PAUSE, time.monotonic()
        while time.monotonic() < deadline:
            try:
                for view in self._stream(job_id, deadline):
                    pause, heard = FIRST_PAUSE, time.monotonic()
                    if view != last:
                        last = view
                        yield view
                    if view.state.is_final:
                        return
            except _Outage as outage:
                if time.monotonic() - heard > GIVE_UP_SECONDS:
                    raise ServiceError(f"{outage.message} The job goes on; look for it later.") from None
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _stream(self, job_id: str, deadline: float) -> Iterator[JobView]:
        silence = min(SILENCE_SECONDS, deadline - time.monotonic())
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=max(silence, 0.01))
        with (
            self._reachable(),
            self._http.stream("GET", _job(job_id, "/events"), timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
                raise self._error(response)
            for event in _events(response.iter_lines()):
                if event is not None:
                    yield self._view(event)
                # The longest silence is fixed when a request is made; near the deadline a new one waits less.
                if deadline - time.monotonic() < 0.75 * silence:
                    return

    def _view(self, event: str) -> JobView:
        try:
            return JobView.model_validate_json(event)
        except ValidationError:
            raise self._not_understood() from None

    def _get(self, kind: type[T], path: str, params: dict[str, str] | None = None) -> T:
        return self._decode(kind, self._call("GET", path, params=params))

    def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        with self._reachable():
            response = self._http.request(method, path, **content)
        if not response.is_success:
            raise self._error(response)
        return response

    def _decode(self, kind: type[T], response: httpx.Response) -> T:
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError:
            raise self._not_understood() from None

    def _not_understood(self) -> ServiceError:
        return ServiceError(
            f"{self.url} answered something that this version of Cohortium does not understand. "
            "Check the address, and whether your version is the coordinator's (`cohortium version`)."
        )

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise _Outage(f"{self.url} does not answer.") from None
        except httpx.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ServiceError(
                    f"The certificate of {self.url} is not trusted. If your network has its own certificate authority, "
                    "give its PEM file as `ca`, --ca or COHORTIUM_CA."
                ) from None
            raise _Outage(f"{self.url} cannot be reached: {error or type(error).__name__}.") from None

    def _error(self, response: httpx.Response) -> CohortiumError:
        problem = _problem(response)
        say = partial("{} answered {}. {}".format, self.url, response.status_code)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return ServiceError(f"{self.url} wants a valid token. Give one as `token`, or with `cohortium login`.")
        if response.is_server_error:
            hint = "It has a problem of its own; try again, or tell its operator."
            return _Outage(problem.message if problem else say(hint))
        if problem is not None:
            return CohortiumError.from_problem(problem)
        if response.status_code == httpx.codes.FORBIDDEN:
            return ServiceError(say("Your token does not allow this."))
        return ServiceError(say("Is this the address of a Cohortium coordinator?"))


class _Outage(ServiceError):
    """Something that may pass by itself."""


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate(json.loads(response.content))
    except (ValueError, RecursionError):
        return None


def _job(job_id: str, rest: str = "") -> str:
    return f"/jobs/{quote(job_id, safe='')}{rest}"


def _events(lines: Iterator[str]) -> Iterator[str | None]:
    """The data of each server-sent event, and None for every other line, such as the comments that keep it alive."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
        else:
            yield None


def _trust(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise ServiceError(f"{ca} is not a PEM file with the certificate of an authority.") from None
