"""What a scenario file says. A key that means nothing here stops everything, as in every settings file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cohortium.analysis import find
from cohortium.errors import CohortiumError, UnknownName
from cohortium.messages import StudyName
from node.disclosure import Policy
from simulation import cohorts
from simulation.faults import Fault


class InvalidScenario(CohortiumError):
    """A file that does not describe a scenario; the message has a line per fault."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class People(_Part):
    """Who takes part."""

    seed: int = Field(1, ge=0, description="The same seed gives the same people.")
    total: int | None = Field(
        None, ge=1, description="How many people together, over all eleven holders in proportion to their sizes."
    )
    holders: dict[str, int] = Field({}, description="Or how many people of each holder, by its name.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.total is None) == (not self.holders):
            raise ValueError("say either `total` or `holders`")
        for name, people in self.holders.items():
            _known(lambda name=name: cohorts.find(name))
            if people < 1:
                raise ValueError(f"`{name}` needs at least one participant")
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """How many people of each holder."""
        if self.total is None:
            return dict(self.holders)
        return {name: size for name, size in cohorts.sizes(self.total).items() if size}


class Problems(_Part):
    """What is wrong with the data of one holder, besides what is wrong with them anyway (docs/synthetic-people.md)."""

    missing: dict[str, float] = Field({}, description="Share of the values of a variable that go missing, at random.")
    absent: list[str] = Field([], description="Variables that were not collected either.")
    coding: Literal["network", "columns", "own"] = Field(
        "network",
        description="How its file is written. `network`: as the dictionary has it. `columns`: with the holder's own "
        "names of columns and marks for missing values, which its node is told. `own`: with its own codes of "
        "categories as well; a node cannot read these, refuses to start, and says what it found.",
    )

    @model_validator(mode="after")
    def _of_the_dictionary(self) -> Self:
        for name in (*self.missing, *self.absent):
            _known(lambda name=name: cohorts.PEOPLE[name])
        for name, share in self.missing.items():
            if not 0 <= share <= 1:
                raise ValueError(f"`missing` of `{name}` is a share, between 0 and 1")
        return self


class Asked(_Part):
    """One question of the study."""

    analysis: str = Field(description="Name of the analysis.")
    params: dict[str, Any] = Field({}, description="Its parameters.")
    cohorts: list[str] | None = Field(
        None, description="Whom to ask; by default every holder that collected what the question is about."
    )
    truth: str | None = Field(
        None, description="The true effect that it estimates (docs/synthetic-people.md), shown beside the result."
    )

    @model_validator(mode="after")
    def _askable(self) -> Self:
        _known(lambda: find(self.analysis).params.bind(self.params, cohorts.PEOPLE))
        if self.truth is not None and self.truth not in cohorts.truth():
            raise ValueError(UnknownName.of("true effect", self.truth, cohorts.truth()).message)
        return self


class Scenario(_Part):
    """The whole file."""

    title: str = Field(description="What it is about, in a few words.")
    study: StudyName = Field("rehearsal", description="The study on whose behalf is asked.")
    people: People
    problems: dict[str, Problems] = Field({}, description="By holder.")
    policy: Policy = Field(default_factory=Policy, description="What every node lets out; by default the rule of ten.")
    ask: list[Asked] = Field(min_length=1, description="The questions, one after the other.")
    faults: list[Fault] = Field([], description="What goes wrong while they are asked.")

    @model_validator(mode="after")
    def _about_those_who_take_part(self) -> Self:
        taking_part = self.people.sizes
        for name in self._named():
            if name not in taking_part:
                raise ValueError(UnknownName.of("cohort", name, taking_part).message)
        return self

    def _named(self) -> Iterator[str]:
        yield from self.problems
        for asked in self.ask:
            yield from asked.cohorts or ()
        yield from (fault.cohort for fault in self.faults if fault.cohort is not None)

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a scenario. Raises InvalidScenario with a line per fault."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidScenario(f"{path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidScenario(f"{path} is not TOML: {error}") from None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
            raise InvalidScenario("\n".join([f"{path} is not a scenario:", *faults])) from None


def _known(look_up: Any) -> None:
    """Look something up, in words that pydantic passes on."""
    try:
        look_up()
    except CohortiumError as error:
        raise ValueError(error.message) from None
