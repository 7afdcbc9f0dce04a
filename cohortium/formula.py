"""A formula as a researcher writes it, parsed by the closed grammar (`cohortium/grammar.py`)."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError, did_you_mean
from cohortium.grammar import Parser
from cohortium.terms import Call, Cut, Factor, Name, Numeric, Power, Random, Spline, Surv, Term, names_in
from cohortium.tokens import MAX_LENGTH

__all__ = [
    "Call",
    "Cut",
    "Factor",
    "Formula",
    "Name",
    "Numeric",
    "Power",
    "Random",
    "Spline",
    "Surv",
    "Term",
    "names_in",
]


class Formula:
    """A parsed formula. Raises FormulaError from the constructor, pointing at the character.

    `terms` are main effects first, then interactions by order, as R sorts them; duplicates count once.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.response, parsed = Parser(text).formula()
        self.terms: tuple[Term, ...] = tuple(sorted(parsed.main.values(), key=lambda t: len(t.factors)))
        self.intercept = parsed.intercept
        self.offsets = tuple(parsed.offsets)
        self.strata = tuple(parsed.strata)
        self.clusters = tuple(parsed.clusters)
        self.random = tuple(parsed.random)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """Every variable that the formula mentions, in the order of the text."""
        parts: list[Any] = [self.response, *self.terms, *self.offsets, *self.strata, *self.clusters, *self.random]
        found = {
            n.name: n for n in sorted(itertools.chain.from_iterable(map(names_in, parts)), key=lambda n: -n.position)
        }
        return tuple(sorted(found.values(), key=lambda n: n.position))

    def error(self, message: str, at: Name | Factor) -> FormulaError:
        """A FormulaError that points at a part of this formula."""
        return FormulaError(message, self.text, at.position)

    def check_names(self, dictionary: Dictionary) -> None:
        """Raises FormulaError at the first name that the dictionary does not have."""
        for name in self.names:
            if name.name not in dictionary:
                raise self.error(f"There is no variable `{name}`.{did_you_mean(name.name, dictionary.variables)}", name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "formula", "maxLength": MAX_LENGTH}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> Formula:
        if not isinstance(value, str | Formula):
            raise ValueError("a formula is text, such as `bmi ~ age + sex`")
        formula = value if isinstance(value, Formula) else cls(value)
        dictionary = (info.context or {}).get("dictionary")
        if dictionary is not None:
            formula.check_names(dictionary)
        return formula
