"""What can go wrong, as one tree.

CohortiumError
├── InvalidQuestion      the question cannot be asked as it stands: nothing was computed
│   ├── FormulaError     … and the formula or condition says where: points at the character
│   └── UnknownName      a variable, cohort, analysis or category that does not exist here
├── Refused              a disclosure rule forbids an answer; says which rule and whose
├── AwaitingApproval     nothing is wrong: the operators of some cohorts have yet to decide about the job
├── CannotEstimate       the data do not support the estimate
│   ├── Collinear        design columns that are combinations of others
│   ├── Separation       the likelihood has no finite maximum
│   └── NotConverged     the iteration ended before its answer was good enough
├── NodeFailed           a node could not answer; names the cohort
├── Untrusted            a document, or who signed it, cannot be relied on
│   ├── Malformed        it is not a document of the kind that it should be, in its one form
│   ├── BadSignature     the signature does not belong to this document, kind and signer
│   ├── UnknownSigner    the signer is not one who may sign this
│   ├── NotYetValid      its time has not come
│   ├── Expired          its time is over
│   ├── Superseded       a newer roster of the network is known
│   ├── Revoked          the roster withdrew the key or the permit
│   ├── WrongNetwork     it belongs to another network
│   ├── WrongReference   it refers to another roster, permit, job, question or vector than the one at hand
│   ├── NotPermitted     the permit does not cover what the job asks
│   ├── AlreadyAnswered  a node answered another question in this round of the job
│   ├── BrokenChain      a journal was changed, cut off or written anew
│   └── NotVerified      a result, or a question, is not what the analysis leads to
├── InvalidKey           a key, or its file, cannot be used
├── JobCancelled         somebody ended the job
└── ServiceError         the coordinator could not be reached, or turned the caller away

An error crosses the network as a `Problem`: its kind (the class name here) and words that we wrote.
It never carries a data value, and never a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from cohortium.explain import Explanation


class Problem(BaseModel):
    """An error as it crosses the network: what kind, in words, and where in the formula (0-based) if it is one."""

    model_config = ConfigDict(frozen=True)

    kind: str
    message: str
    rule: str | None = None
    cohort: str | None = None
    formula: str | None = None
    position: int | None = None


class CohortiumError(Exception):
    """Anything that Cohortium raises on purpose. `message` is for people and holds no data value."""

    kinds: ClassVar[dict[str, type[CohortiumError]]] = {}

    def __init_subclass__(cls) -> None:
        CohortiumError.kinds[cls.__name__] = cls

    def __init__(self, message: str, *, cohort: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cohort = cohort

    def problem(self) -> Problem:
        """The error in the form that crosses the network."""
        return Problem(kind=type(self).__name__, message=self.message, cohort=self.cohort)

    def explain(self) -> Explanation:
        """Which rule is behind it, whose it is, why it exists, and how to ask instead."""
        from cohortium.explain import explain  # noqa: PLC0415 - wanted after an error only, and it builds on this module

        return explain(self.problem())

    @staticmethod
    def from_problem(problem: Problem) -> CohortiumError:
        """The error that `problem` describes; an unknown kind becomes a plain CohortiumError."""
        kind = CohortiumError.kinds.get(problem.kind)
        if kind is FormulaError and problem.formula is not None and problem.position is not None:
            return FormulaError(problem.message, problem.formula, problem.position)
        if kind is Refused:
            return Refused(problem.message, rule=problem.rule or "unnamed", cohort=problem.cohort)
        return (kind or CohortiumError)(problem.message, cohort=problem.cohort)


class InvalidQuestion(CohortiumError):
    """The question cannot be asked as it stands."""

    @classmethod
    def from_validation(cls, error: ValidationError) -> InvalidQuestion:
        """One line per parameter that pydantic turned down, without the value it was given."""
        lines = [
            f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}" for e in error.errors(include_input=False)
        ]
        return cls("; ".join(lines))


class FormulaError(InvalidQuestion):
    """A formula or condition that the closed grammar, or the dictionary, forbids; `position`: the 0-based character."""

    def __init__(self, message: str, formula: str, position: int) -> None:
        super().__init__(message)
        self.formula = formula
        self.position = position

    def __str__(self) -> str:
        return f"{self.message}\n  {self.formula}\n  {' ' * self.position}^"

    def problem(self) -> Problem:  # noqa: D102 - as above, with the place
        return super().problem().model_copy(update={"formula": self.formula, "position": self.position})


class UnknownName(InvalidQuestion):
    """A name that does not exist here; the message suggests what was probably meant."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownName:
        """`what` is the kind of thing ("variable"), `known` the names that would have been right."""
        return cls(f"There is no {what} `{name}`.{did_you_mean(name, known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to a message: the closest known names, or, if few, all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f" Did you mean {' or '.join(f'`{c}`' for c in close)}?"
    return f" Known: {', '.join(known)}." if 0 < len(known) <= 12 else ""


class Refused(CohortiumError):
    """A disclosure rule forbids the answer. `rule` is its name in the policy, `cohort` whose policy it is."""

    def __init__(self, message: str, *, rule: str, cohort: str | None = None) -> None:
        super().__init__(message, cohort=cohort)
        self.rule = rule

    def problem(self) -> Problem:  # noqa: D102 - as above, with the rule
        return super().problem().model_copy(update={"rule": self.rule})


class AwaitingApproval(CohortiumError):
    """The operators of `cohorts` have yet to decide about the job; the same question is asked again when they have."""

    def __init__(self, message: str, *, cohort: str | None = None, cohorts: tuple[str, ...] = ()) -> None:
        super().__init__(message, cohort=cohort)
        self.cohorts = cohorts


class CannotEstimate(CohortiumError):
    """The data do not support the estimate that was asked for."""


class Collinear(CannotEstimate):
    """Some design columns are combinations of others; the message names them."""


class Separation(CannotEstimate):
    """The likelihood has no finite maximum; the message names the columns that run away."""


class NotConverged(CannotEstimate):
    """The iteration ended before its answer was good enough; no numbers are returned."""


class NodeFailed(CohortiumError):
    """A node could not answer."""


class Untrusted(CohortiumError):
    """A document, or who signed it, cannot be relied on. See `signing`; one class per way to fail."""


class Malformed(Untrusted):
    """Not a document of the kind that it should be, or not in its one canonical form."""


class BadSignature(Untrusted):
    """The signature does not belong to this document, this kind of document and this signer."""


class UnknownSigner(Untrusted):
    """The signature may be right, but the signer is not one who may sign this."""


class NotYetValid(Untrusted):
    """The document's time has not come."""


class Expired(Untrusted):
    """The document's time is over."""


class Superseded(Untrusted):
    """A newer roster of the network is known, or another one of the same version."""


class Revoked(Untrusted):
    """The roster withdrew the key or the permit."""


class WrongNetwork(Untrusted):
    """The document belongs to another network."""


class WrongReference(Untrusted):
    """The document refers to another roster, permit, job, question or vector than the one at hand."""


class NotPermitted(Untrusted):
    """The permit does not cover what the job asks."""


class AlreadyAnswered(Untrusted):
    """A node answered another question, or another choice of cohorts, in this round of the job."""


class BrokenChain(Untrusted):
    """A journal was changed, cut off or written anew."""


class NotVerified(Untrusted):
    """A result, or a question that was put to the nodes, is not what the analysis leads to."""


class InvalidKey(CohortiumError):
    """A key, or the file that should hold one, cannot be used."""


class JobCancelled(CohortiumError):
    """Somebody ended the job before it had a result."""


class ServiceError(CohortiumError):
    """The coordinator could not be reached, or turned the caller away."""
