"""The REST API for whoever runs the coordinator: cohorts, roster, permits, audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cohortium.errors import UnknownName
from cohortium.messages import CohortName, CohortView, Enrolment, SignedText
from coordinator.callers import (
    BAD_BODY,
    CONFLICT,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    UNAUTHORIZED,
    Operator,
    Service,
    not_found,
)
from coordinator.problems import documented

operating = APIRouter(tags=["operation"])


@operating.put("/roster", summary="Bring a roster", responses=documented(UNAUTHORIZED, FORBIDDEN, CONFLICT, *BAD_BODY))
def put_roster(coordinator: Service, token: Operator, signed: SignedText) -> SignedText:
    """Take in a new version of the roster; nodes hear of it at once, and jobs under the one before end."""
    coordinator.put_roster(signed.document, token.name)
    return signed


@operating.post(
    "/permits",
    status_code=201,
    summary="Bring a permit",
    responses=documented(UNAUTHORIZED, FORBIDDEN, CONFLICT, *BAD_BODY),
)
def add_permit(coordinator: Service, token: Operator, signed: SignedText) -> SignedText:
    """Take in a permit that a data access committee of the roster has signed."""
    coordinator.add_permit(signed.document, token.name)
    return signed


@operating.get("/audit", summary="The audit", responses=documented(UNAUTHORIZED, FORBIDDEN, INVALID))
def get_audit(
    coordinator: Service,
    _: Operator,
    after: Annotated[int, Query(ge=0, le=10**9, description="Only entries after this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 1000,
) -> list[SignedText]:
    """What happened here, first to last: signed entries, each of which names the one before by its hash."""
    return [SignedText(document=text) for text in coordinator.audit.entries(after, limit)]


@operating.post(
    "/cohorts",
    status_code=201,
    summary="Enrol a cohort",
    responses=documented(UNAUTHORIZED, FORBIDDEN, CONFLICT, *BAD_BODY),
)
def enrol(coordinator: Service, token: Operator, enrolment: Enrolment) -> CohortView:
    """Pin the public key of a cohort's node: from then on that node, and no other, answers for the cohort."""
    return coordinator.enrol(enrolment, token.name)


@operating.delete(
    "/cohorts/{name}",
    status_code=204,
    summary="Withdraw a cohort",
    responses=documented(UNAUTHORIZED, FORBIDDEN, NOT_FOUND, INVALID),
)
def withdraw(
    coordinator: Service, token: Operator, name: Annotated[CohortName, Path(description="The cohort.")]
) -> None:
    """Turn the cohort's node away from now on. Its unfinished jobs fail, with that reason."""
    try:
        coordinator.withdraw(name, token.name)
    except UnknownName as error:
        raise not_found(error.message) from None
