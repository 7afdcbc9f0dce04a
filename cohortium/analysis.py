"""The one abstraction: an analysis is a generator that asks every node for a statistic and receives only the sum.

A *statistic* is a pure function `(data, params, **broadcast) -> Sums` that runs at each node. An *analysis* is a
generator of questions about statistics; it does no I/O, has no clock and draws no random numbers, so the log of
questions and sums replays it exactly. `conduct` is the only loop: the coordinator, the simulation, the tests and
the verification of a result differ only in the `ask_all_nodes` that they hand to it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType
from typing import Any, Generic, Self, TypeVar, cast, get_type_hints, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from cohortium.condition import Condition
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion, NotPermitted, Refused, UnknownName
from cohortium.messages import AnalysisView
from cohortium.quantities import Array, Sums
from cohortium.result import Result

P = TypeVar("P", bound="Params")
R = TypeVar("R", bound=Result)
S = TypeVar("S", bound=Sums)


@dataclass(frozen=True)
class Divided:
    """People divided into `size` groups by `variables`: `codes` of a block of rows, and how, in words."""

    label: str
    variables: tuple[str, ...]
    size: int
    codes: Callable[[Data], NDArray[np.intp]]


class Params(BaseModel):
    """What a researcher chooses. Each field documents itself: its description is the help text everywhere.

    `bind` checks the values against a dictionary; only bound parameters reach an analysis or a statistic. Which rows a
    question is about is the node's business (`where`, `complete`): an analysis sees those rows and no others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    where: Condition | None = Field(
        None,
        description="Only the rows that meet a condition: `age >= 40 & sex == 'female'`. It knows `== != < <= > >=`, "
        "`in ['a', 'b']`, `& | !` and brackets; dates are written as '2020-12-31'. A row without a value meets no "
        "comparison with it, nor the opposite of one.",
    )
    complete: tuple[str, ...] = Field(
        (),
        description="Only the rows that also have a value for each of these variables: name what a later or larger "
        "model needs, and all of them are fitted to the same rows.",
    )

    _dictionary: Dictionary | None = PrivateAttr(None)

    @classmethod
    def bind(cls, values: Mapping[str, Any], dictionary: Dictionary) -> Self:
        """The parameters, with every name looked up in `dictionary`. Raises InvalidQuestion or FormulaError."""
        params = cls.parse(values, dictionary)
        params._dictionary = dictionary
        for name in params.complete:
            dictionary[name]
        params.check()
        return params

    @classmethod
    def parse(cls, values: Mapping[str, Any], dictionary: Dictionary | None = None) -> Self:
        """The parameters as far as they can be judged on their own: names, types, grammar. Raises as `bind` does."""
        for name in values:
            if name not in cls.model_fields:
                raise UnknownName.of("parameter", name, cls.model_fields)
        try:
            return cls.model_validate(dict(values), context={"dictionary": dictionary} if dictionary else None)
        except ValidationError as error:
            raise InvalidQuestion.from_validation(error) from None

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that these parameters were bound to."""
        if self._dictionary is None:
            raise InvalidQuestion("parameters must be bound to a dictionary first")
        return self._dictionary

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:  # noqa: ARG002
        """How a statistic divides people beside by the levels of `formula` or of groups: by bins, by a broadcast value.

        A node's ledger compares these groups, like those, with what was told before.
        """
        return None

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # lists among the fields have no hash of their own

    def check(self) -> None:
        """What a field alone cannot tell; runs once bound. Raises InvalidQuestion."""

    @classmethod
    def told(cls) -> dict[str, FieldInfo]:
        """The fields in the order in which people read them: an analysis's own, then those that every analysis has."""
        return dict(sorted(cls.model_fields.items(), key=lambda field: field[0] in Params.model_fields))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        told = handler(schema)
        inner = handler.resolve_ref_schema(told)
        inner["properties"] = {name: inner["properties"][name] for name in cls.told()}
        return told


@dataclass(frozen=True)
class Question:
    """One statistic asked of every node.

    `per_cohort`: the answers are wanted one by one, not added up. `optional`: a refusal is an answer too; the analysis
    hears it and goes on without.
    """

    statistic: str
    broadcast: Mapping[str, Array] = field(default_factory=dict)
    per_cohort: bool = False
    optional: bool = False


Rounds = Generator[Question, Any, R]
# Why a cohort does not answer what it understood: by its own rule, or by the study's permit.
Refusal = Refused | NotPermitted
REFUSALS = (Refused, NotPermitted)
Statistic = Callable[..., Sums]


def ask(statistic: Callable[..., S], **broadcast: float | Array) -> Generator[Question, Any, S]:
    """Put a question to every node and receive the sum of the answers.

    In an analysis: `total = yield from ask(newton_terms, beta=beta)`.
    """
    answer = yield Question(statistic.__name__, _as_arrays(broadcast))
    return cast(S, answer)


def ask_each(statistic: Callable[..., S], **broadcast: float | Array) -> Generator[Question, Any, dict[str, S]]:
    """The same question with one answer per cohort; a node answers only if its permit and policy allow that."""
    answer = yield Question(statistic.__name__, _as_arrays(broadcast), per_cohort=True)
    return cast(dict[str, S], answer)


def ask_each_if_allowed(
    statistic: Callable[..., S], **broadcast: float | Array
) -> Generator[Question, Any, dict[str, S] | Refusal]:
    """`ask_each` for what an analysis can do without: the answers or, where a rule forbids one, the refusal."""
    answer = yield Question(statistic.__name__, _as_arrays(broadcast), per_cohort=True, optional=True)
    return cast(dict[str, S] | Refusal, answer)


def _as_arrays(broadcast: Mapping[str, float | Array]) -> Mapping[str, Array]:
    return MappingProxyType({name: np.asarray(value, dtype=np.float64) for name, value in broadcast.items()})


@dataclass(frozen=True)
class Analysis(Generic[P, R]):
    """A registered analysis: everything that the node, coordinator, client, command line and docs derive from it."""

    name: str
    run: Callable[[P], Rounds[R]]
    params: type[P]
    result: type[R]
    module: ModuleType
    doc: str

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return self.doc.splitlines()[0]

    def view(self) -> AnalysisView:
        """The analysis as it is told to those who do not have its code."""
        params, result = self.params.model_json_schema(), self.result.model_json_schema(mode="serialization")
        return AnalysisView(name=self.name, title=self.title, doc=self.doc, params=params, result=result)

    @property
    def statistics(self) -> Mapping[str, Statistic]:
        """What this analysis may ask a node: the functions of its module that return a Sums record, by name.

        A node computes these and nothing else, so the list is closed by what its operator installed.
        """
        return _statistics(self.module)

    def statistic(self, name: str) -> Statistic:
        """The statistic of that name. Raises UnknownName."""
        if name not in self.statistics:
            raise UnknownName.of(f"statistic of {self.name}", name, self.statistics)
        return self.statistics[name]

    def sums(self, name: str) -> type[Sums]:
        """The record that a statistic returns."""
        return cast(type[Sums], get_type_hints(self.statistic(name))["return"])


@cache
def _statistics(module: ModuleType) -> Mapping[str, Statistic]:
    return MappingProxyType({name: f for name, f in vars(module).items() if inspect.isfunction(f) and _is_statistic(f)})


def _is_statistic(function: Callable[..., Any]) -> bool:
    if list(inspect.signature(function).parameters)[:2] != ["data", "params"]:
        return False
    returned = get_type_hints(function).get("return")
    return isinstance(returned, type) and issubclass(returned, Sums)


_registered: dict[str, Analysis[Any, Any]] = {}


def analysis(run: Callable[[P], Rounds[R]]) -> Analysis[P, R]:
    """Register a generator as the analysis of its name. Its parameter and result types are read from its signature."""
    hints = get_type_hints(run)
    result = next(a for a in hints["return"].__args__ if isinstance(a, type) and issubclass(a, Result))
    module = importlib.import_module(run.__module__)
    registered: Analysis[P, R] = Analysis(
        run.__name__, run, hints["params"], cast(type[R], result), module, inspect.getdoc(run) or ""
    )
    _registered[run.__name__] = registered
    return registered


@cache
def registry() -> Mapping[str, Analysis[Any, Any]]:
    """Every analysis of the installed packages (entry point group `cohortium.analyses`), by name, in order."""
    for entry in entry_points(group="cohortium.analyses"):
        package = entry.load()
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    return MappingProxyType(dict(sorted(_registered.items())))


def find(name: str) -> Analysis[Any, Any]:
    """The analysis of that name. Raises UnknownName, with a suggestion."""
    if name not in registry():
        raise UnknownName.of("analysis", name, registry())
    return registry()[name]


AskAllNodes = Callable[[Question], Any]


@overload
def conduct(analysis: Analysis[P, R], params: P, ask_all_nodes: AskAllNodes, cohorts: tuple[str, ...] = ...) -> R: ...
@overload
def conduct(
    analysis: Analysis[Any, Any], params: Params, ask_all_nodes: AskAllNodes, cohorts: tuple[str, ...] = ...
) -> Result: ...
def conduct(
    analysis: Analysis[Any, Any], params: Params, ask_all_nodes: AskAllNodes, cohorts: tuple[str, ...] = ()
) -> Result:
    """Run an analysis: put each of its questions to `ask_all_nodes`, hand back the sum, and return its result.

    `ask_all_nodes` returns the Sums record that the question's statistic declares (or, for a per-cohort question,
    one record per cohort). Whatever it raises ends the analysis. The result knows how many rounds it took, whose
    answers it rests on (`cohorts`), and how exact it is.
    """
    generator = analysis.run(params)
    rounds = 0
    answer = None
    try:
        while True:
            question = generator.send(answer)
            rounds += 1
            answer = _answer(question, ask_all_nodes)
    except StopIteration as done:
        rows = {"where": str(params.where) if params.where else None, "complete": params.complete}
        told = cast(Result, done.value).model_copy(update=rows)
        return told.conducted(analysis.name, rounds=rounds, cohorts=cohorts)
    finally:
        generator.close()


def _answer(question: Question, ask_all_nodes: AskAllNodes) -> Any:
    try:
        return ask_all_nodes(question)
    except REFUSALS as refusal:
        if not question.optional:
            raise
        return refusal


Confidence = Field(0.95, gt=0.5, lt=1, description="Level of the confidence intervals.")
