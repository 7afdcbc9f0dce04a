"""Analyse many cohorts as if they were one, while every participant's record stays where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cohortium.errors import (
    CannotEstimate,
    CohortiumError,
    Collinear,
    FormulaError,
    InvalidQuestion,
    JobCancelled,
    NodeFailed,
    NotConverged,
    Refused,
    Separation,
    ServiceError,
    UnknownName,
)

if TYPE_CHECKING:
    from cohortium.client import connect
    from cohortium.report import read_bundle as load

__version__ = "0.1.0"

__all__ = [
    "CannotEstimate",
    "CohortiumError",
    "Collinear",
    "FormulaError",
    "InvalidQuestion",
    "JobCancelled",
    "NodeFailed",
    "NotConverged",
    "Refused",
    "Separation",
    "ServiceError",
    "UnknownName",
    "__version__",
    "connect",
    "load",
]


def __getattr__(name: str) -> object:
    # numpy, the formula grammar and the analyses are loaded when somebody connects, not by every `import cohortium`:
    # nodes and the command line's help import this package too.
    if name == "connect":
        from cohortium.client import connect

        return connect
    if name == "load":
        from cohortium.report import read_bundle

        return read_bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
