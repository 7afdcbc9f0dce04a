"""Errors as what callers and clients read: `cohortium.errors.Problem`, the one body of every error of the REST API."""

from __future__ import annotations

import secrets
import traceback
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from cohortium.errors import CohortiumError, InvalidQuestion, Problem, ServiceError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class Declined(ServiceError):
    """The API turns a request down, with an HTTP status; `kind` is what the error is to a client."""

    def __init__(self, status: HTTPStatus, message: str, kind: type[CohortiumError] = ServiceError) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind

    def problem(self) -> Problem:  # noqa: D102 - as above
        return Problem(kind=self.kind.__name__, message=self.message)


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


def respond(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as an HTTP response."""
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a Problem."""
    app.add_exception_handler(CohortiumError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, object]]:
    """The `responses` of an operation that may answer with these errors, for the OpenAPI document."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {int(s): {"description": s.phrase, "content": {MEDIA_TYPE: schema}} for s in statuses}


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, CohortiumError)
    if isinstance(error, Declined):
        headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
        return respond(error.status, error.problem(), headers)
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, error.problem())


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    message = {
        404: "There is nothing at this address; /api/v1/openapi.json lists what there is.",
        405: f"{request.method} is not possible here.",
    }.get(error.status_code, f"{phrase}.")
    headers = dict(error.headers) if error.headers else None
    return respond(error.status_code, Problem(kind="ServiceError", message=message), headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = [f"{'.'.join(map(str, e['loc'][1:])) or e['loc'][0]}: {e['msg']}" for e in error.errors()]
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, InvalidQuestion("; ".join(lines)).problem())
