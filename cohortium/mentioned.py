"""Which variables of the dictionary a question is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from cohortium.analysis import Params
from cohortium.condition import Condition
from cohortium.formula import Formula


def variables_of(params: Params) -> list[str]:
    """The dictionary's variables that parameters mention, in formulas, in conditions or by name."""
    named = dict.fromkeys(name for field in type(params).model_fields for name in _names(getattr(params, field)))
    return [name for name in named if name in params.dictionary]


def _names(value: Any) -> Iterator[str]:
    match value:
        case Formula() | Condition():
            yield from (name.name for name in value.names)
        case str():
            yield value
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from _names(item)
        case Mapping():
            yield from _names([*value.keys(), *value.values()])
        case BaseModel():
            yield from _names([getattr(value, name) for name in type(value).model_fields])
