"""The data dictionary: what every cohort's variables mean, and so the shape of everything that is computed.

Levels, their order, the reference level (the first) and the time lattice come from here and never from data, so a
cohort that lacks a level, or is empty, computes arrays of the same shape as every other.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from cohortium.errors import CohortiumError, UnknownName

VariableType = Literal["number", "integer", "boolean", "category", "date", "identifier"]
NUMERIC: frozenset[VariableType] = frozenset({"number", "integer", "boolean", "date"})

# Names go into formulas and into files, so they are plain words (dots as in R's `ph.ecog`).
VARIABLE_NAME = r"[A-Za-z][A-Za-z0-9_.]{0,63}"
Name = Annotated[str, StringConstraints(pattern=f"^{VARIABLE_NAME}$")]


class InvalidDictionary(CohortiumError):
    """A dictionary that contradicts itself or does not follow the schema."""


class Labels(BaseModel):
    """A text for people, in English and Dutch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    en: str = ""
    nl: str = ""


class Category(BaseModel):
    """One level of a categorical variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str = Field(min_length=1, max_length=100, description="The level as it is written in terms and tables.")
    code: str | None = Field(None, description="How the data spell it, where that differs from `value`.")
    label: Labels = Labels()


class Variable(BaseModel):
    """One variable: what it measures, in what unit, and which values are possible."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: VariableType = Field(
        description="identifier: a person, family or clinic; it can group rows, and is never released."
    )
    label: Labels = Labels()
    unit: str | None = Field(None, description="Unit of measurement (UCUM where there is one): `kg/m2`, `days`.")
    minimum: float | None = Field(None, description="Smallest possible value; dates count in days since 1970-01-01.")
    maximum: float | None = Field(None, description="Largest possible value.")
    precision: float | None = Field(None, gt=0, description="Step in which the value was recorded: 1, 0.1 …")
    missing: tuple[str | float, ...] = Field((), description="Codes in the data that mean `not known`: -9, 999.")
    categories: tuple[Category, ...] = Field((), description="The levels in order; the first is the reference.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type == "category") != bool(self.categories):
            raise ValueError("`categories` belong to variables of type `category`, and to all of them")
        for spelled in ([c.value for c in self.categories], self.codes):
            if len(set(spelled)) != len(spelled):
                raise ValueError("the same category is declared twice")
        if set(self.codes) & {str(code) for code in self.missing}:
            raise ValueError("a code cannot mean both a category and `missing`")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("`minimum` is larger than `maximum`")
        return self

    @property
    def levels(self) -> tuple[str, ...]:
        """The category values in order; the first is the reference level."""
        return tuple(c.value for c in self.categories)

    @property
    def codes(self) -> list[str]:
        """How the data spell each level, in the order of `levels`."""
        return [c.code if c.code is not None else c.value for c in self.categories]

    @property
    def is_numeric(self) -> bool:
        """Whether a value is a number that can be added up (booleans count as 0 and 1)."""
        return self.type in NUMERIC

    @property
    def is_binary(self) -> bool:
        """Whether the variable has exactly two values, of which the second (or 1) is the event."""
        return (
            self.type == "boolean"
            or len(self.categories) == 2
            or (self.type == "integer" and (self.minimum, self.maximum) == (0, 1))
        )

    @property
    def centre(self) -> float:
        """A public value in the middle of the possible ones: subtracted before squaring, to keep digits."""
        if self.type == "boolean" or self.minimum is None or self.maximum is None:
            return 0.0
        return 0.5 * (self.minimum + self.maximum)

    @property
    def lattice_step(self) -> float | None:
        """The step between possible values: the declared precision, or 1 for whole numbers."""
        return self.precision if self.precision is not None else (1.0 if self.type in {"integer", "date"} else None)


class Dictionary(BaseModel):
    """The variables of a network of cohorts. Every node and the coordinator must hold the very same one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    title: Labels = Labels()
    variables: dict[Name, Variable]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: two dictionaries with the same digest mean the same."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def __getitem__(self, name: str) -> Variable:
        if name not in self.variables:
            raise UnknownName.of("variable", name, self.variables)
        return self.variables[name]

    def __contains__(self, name: object) -> bool:
        return name in self.variables

    def search(self, text: str) -> list[str]:
        """Names of the variables whose name or label, English or Dutch, contains `text`, whatever its case."""
        wanted = text.casefold()
        searched = {n: f"{n}\n{v.label.en}\n{v.label.nl}".casefold() for n, v in self.variables.items()}
        return [name for name, found_in in searched.items() if wanted in found_in]

    def lattice_points(self, name: str, step: float) -> int:
        """How many steps of `step` (in the variable's unit) reach its declared maximum."""
        maximum = self[name].maximum
        if maximum is None:
            raise InvalidDictionary(f"`{name}` declares no `maximum`, so its grid has no end")
        return math.ceil(round(maximum / step, 9))

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a dictionary file. Raises InvalidDictionary with one line per fault."""
        try:
            return cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise InvalidDictionary(f"{path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidDictionary(f"{path} is not TOML: {error}") from None
        except ValidationError as error:
            faults = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise InvalidDictionary("\n".join([f"{path} is not a dictionary:", *faults])) from None
