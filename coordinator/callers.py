"""Who calls the REST API, what they may do, and what an operation may answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cohortium.errors import UnknownName
from cohortium.messages import JobView
from coordinator.auth import Role, authenticate
from coordinator.problems import Declined
from coordinator.service import Coordinator
from coordinator.store import Token

bearer = HTTPBearer(auto_error=False, description="A token of this coordinator (`cohortium coordinator token new`).")


def service(request: Request) -> Coordinator:
    """The coordinator that this API belongs to."""
    coordinator: Coordinator = request.app.state.coordinator
    return coordinator


Service = Annotated[Coordinator, Depends(service)]


def caller(coordinator: Service, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Token:
    """Whose token came with the request. Answers 401 if there is no valid one."""
    token = authenticate(coordinator.store, credentials.credentials) if credentials else None
    if token is None:
        raise Declined(HTTPStatus.UNAUTHORIZED, "Send a valid token as `Authorization: Bearer …`.")
    return token


Caller = Annotated[Token, Depends(caller)]


def _only(role: Role, token: Token) -> Token:
    if token.role != role:
        raise Declined(HTTPStatus.FORBIDDEN, f"This takes a token with the role `{role}`; yours is `{token.role}`.")
    return token


def researcher(token: Caller) -> Token:
    """A caller with the role researcher. Answers 403 to others."""
    return _only(Role.researcher, token)


def operator(token: Caller) -> Token:
    """A caller with the role operator. Answers 403 to others."""
    return _only(Role.operator, token)


Researcher = Annotated[Token, Depends(researcher)]
Operator = Annotated[Token, Depends(operator)]
JobId = Annotated[str, Path(description="Id of the job.")]


def job(coordinator: Service, token: Caller, job_id: JobId) -> JobView:
    """The job of that id, if the caller may see it. Answers 404 otherwise."""
    view = coordinator.store.job(job_id, mine(token)) if job_id.isalnum() else None
    if view is None:
        raise not_found("There is no such job among those that you may see.")
    return coordinator.jobs.current(view)


def not_found(message: str) -> Declined:
    """The error 404."""
    return Declined(HTTPStatus.NOT_FOUND, message, UnknownName)


def mine(token: Token) -> str | None:
    """Whose jobs a caller may see: their own; None means everybody's."""
    return None if token.role == Role.operator else token.name


Job = Annotated[JobView, Depends(job)]

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND
INVALID, CONFLICT = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT
BAD_BODY = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, INVALID)
