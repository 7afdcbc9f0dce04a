"""A condition as a researcher writes it: which rows a question is about (grammar: `cohortium/comparisons.py`)."""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cohortium.comparisons import Comparison, Joined, Not, Parser, Part, Value, comparisons_in
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import FormulaError, did_you_mean
from cohortium.terms import Name
from cohortium.tokens import MAX_LENGTH

Mask = NDArray[np.bool_]
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition:
    """A parsed condition. Raises FormulaError from the constructor, pointing at the character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.part = Parser(text).condition()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """Every variable that the condition mentions, in the order of the text."""
        return tuple(dict.fromkeys(comparison.name for comparison in comparisons_in(self.part)))

    def check(self, dictionary: Dictionary) -> None:
        """Raises FormulaError at the first name or value that does not agree with the dictionary."""
        for comparison in comparisons_in(self.part):
            _Check(self.text, dictionary).comparison(comparison)

    def keeps(self, data: Data) -> Mask:
        """The rows that meet the condition, shape (rows,). The condition must have been checked (see `check`)."""
        return _judge(self.part, data)[0]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "condition", "maxLength": MAX_LENGTH}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Condition:
        if not isinstance(value, str | Condition):
            raise ValueError("a condition is text, such as `age >= 40 & sex == 'female'`")
        condition = value if isinstance(value, Condition) else cls(value)
        dictionary = (info.context or {}).get("dictionary")
        if dictionary is not None:
            condition.check(dictionary)
        return condition


class _Check:
    """Whether comparisons agree with the dictionary. Raises FormulaError, pointing at what does not."""

    def __init__(self, text: str, dictionary: Dictionary) -> None:
        self.text, self.dictionary = text, dictionary

    def comparison(self, comparison: Comparison) -> None:
        name = comparison.name
        if name.name not in self.dictionary:
            known = did_you_mean(name.name, self.dictionary.variables)
            raise self._error(f"There is no variable `{name}`.{known}", name.position)
        variable = self.dictionary[name.name]
        if variable.type == "identifier":
            raise self._error(f"`{name}` is an identifier: rows cannot be chosen by it.", name.position)
        ordered = comparison.operator not in ("==", "!=", "in")
        if ordered and variable.type in ("category", "boolean"):
            raise self._error(f"`{name}` is a {variable.type}: compare it with `==`, `!=` or `in`.", name.position)
        for value in comparison.values:
            self._value(name, variable, value)

    def _value(self, name: Name, variable: Variable, value: Value) -> None:
        match variable.type:
            case "category" if not isinstance(value.value, str):
                raise self._error(f"`{name}` is a category: compare it with a level in quotes.", value.position)
            case "category" if value.value not in variable.levels:
                known = did_you_mean(str(value.value), variable.levels)
                raise self._error(f"`{name}` has no category {value.value!r}.{known}", value.position)
            case "boolean" if not isinstance(value.value, bool):
                raise self._error(f"`{name}` is a boolean: compare it with true or false.", value.position)
            case "date" if not isinstance(value.value, str) or _days(value.value) is None:
                raise self._error(f"`{name}` is a date: write one as '2020-12-31'.", value.position)
            case "number" | "integer" if isinstance(value.value, str | bool):
                raise self._error(f"`{name}` is a number: compare it with a number.", value.position)

    def _error(self, message: str, position: int) -> FormulaError:
        return FormulaError(message, self.text, position)


def _days(text: str) -> float | None:
    """Days since 1970-01-01, None if `text` is not a date."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return float(datetime.date.fromisoformat(text).toordinal() - datetime.date(1970, 1, 1).toordinal())
    except ValueError:
        return None


def _judge(part: Part, data: Data) -> tuple[Mask, Mask]:
    """Of which rows a part is true, and of which false; of the others it is not known."""
    match part:
        case Comparison():
            return _compare(part, data)
        case Not():
            true, false = _judge(part.part, data)
            return false, true
        case Joined():
            judged = [_judge(each, data) for each in part.parts]
            true, false = judged[0]
            for also_true, also_false in judged[1:]:
                true, false = (
                    (true & also_true, false | also_false)
                    if part.operator == "&"
                    else (true | also_true, false & also_false)
                )
            return true, false


def _compare(comparison: Comparison, data: Data) -> tuple[Mask, Mask]:
    name = comparison.name.name
    variable = data.dictionary[name]
    column = data[name] if variable.is_numeric else data.codes(name)
    values = [_coded(value.value, variable) for value in comparison.values]
    if comparison.operator == "in":
        true = np.isin(column, values)
    else:
        true = np.asarray(COMPARE[comparison.operator](column, values[0]))
    known = ~data.missing(name)
    return true & known, ~true & known


def _coded(value: float | str | bool, variable: Variable) -> float:
    if variable.type == "category":
        return variable.levels.index(str(value))
    if isinstance(value, str):
        return _days(value) or 0.0
    return float(value)
