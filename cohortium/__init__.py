"""Analyse many cohorts as if they were one, while every participant's record stays where it is."""

from __future__ import annotations

from importlib import import_module
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
    from cohortium.bundle import load
    from cohortium.client import connect

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


# numpy, the formula grammar and the analyses are loaded when somebody connects, not by every `import cohortium`: nodes
# and the help of the command line import this package too.
_LATER = {"connect": "cohortium.client", "load": "cohortium.bundle"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return __all__
