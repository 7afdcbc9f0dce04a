"""Follow-up that ends by one of several causes: what a question about competing risks takes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.time_grid import TimeGridParams
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.formula import Formula

# Integers from 0 to at most this many are causes as they are, as in R: 0 is censored.
MAX_CAUSES = 20


class CausesParams(TimeGridParams):
    """Whose follow-up, and by which causes it ends."""

    formula: Formula = Field(
        description="Follow-up and groups: `Surv(time, end) ~ treatment`, where `end` is a category that says how "
        "follow-up ended: censored, or by which cause."
    )
    censored: str | None = Field(
        None, description="The level of `end` that means censored; by default the first (for numbers, 0)."
    )
    competing: tuple[str, ...] = Field(
        (),
        description="Where `end` only says yes or no to one cause: yes/no variables for the others, as `death`. Who "
        "did not have the event left by the first of these that is yes.",
    )

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """How follow-up can end, the censored among them."""
        name = self.surv.event.name
        variable = self.dictionary[name]
        if self._yes_or_no:
            event = variable.levels[1] if variable.levels else name
            return ("censored", event, *self.competing) if variable.is_binary else ()
        if levels := value_levels(variable):
            return levels
        low, high = variable.minimum, variable.maximum
        if variable.type == "integer" and low == 0 and high is not None and high <= MAX_CAUSES:
            return tuple(str(k) for k in range(int(high) + 1))
        return ()

    @cached_property
    def causes(self) -> tuple[str, ...]:
        """The causes, in the dictionary's order."""
        return tuple(end for end in self.ends if end != self.censored_level)

    def status(self, block: Data) -> NDArray[np.intp]:
        """How each row's follow-up ended, shape (rows,): 0 for censored, k for the k-th of `causes`."""
        if self._yes_or_no:
            found = np.zeros(len(block), dtype=np.intp)
            for k, name in reversed([*enumerate((self.surv.event.name, *self.competing), start=1)]):
                found[block[name] > 0] = k
            return found
        position = {cause: k for k, cause in enumerate(self.causes, start=1)}
        numbers = np.array([position.get(end, 0) for end in self.ends])
        return numbers[value_codes(block, self.surv.event.name)]

    def check_follow_up(self, *specials: str) -> None:
        """Raises FormulaError for times or causes that are none, and for special terms other than `specials`."""
        self.check_times(*specials)
        if not self.ends:
            raise self.formula.error(
                f"`{self.surv.event}` cannot say how follow-up ended: it must be a category, an integer that the "
                f"dictionary limits to 0 (censored) up to the number of causes, at most {MAX_CAUSES}, or yes or no, "
                "with `competing` for the other causes.",
                self.surv.event,
            )
        for name in self.competing:
            if not self.dictionary[name].is_binary or name == self.surv.event.name:
                raise InvalidQuestion(f"`{name}` in `competing` must be another variable that is yes or no.")
        if self.censored is not None:
            self.must_be_an_end(self.censored, "censored")

    def must_be_an_end(self, given: str, what: str) -> None:
        """Raises InvalidQuestion for a level that follow-up cannot end with."""
        if given not in self.ends:
            raise InvalidQuestion(
                f"`{what}` is no level of `{self.surv.event}`: it has {', '.join(f'`{end}`' for end in self.ends)}."
            )

    @property
    def row_variables(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return (*(name.name for name in self.formula.names), *self.competing)

    @property
    def _yes_or_no(self) -> bool:
        """Whether the event and its competitors are each a variable that is yes or no."""
        return bool(self.competing) or self.dictionary[self.surv.event.name].type == "boolean"

    @property
    def censored_level(self) -> str:
        """The level that means censored."""
        return self.ends[0] if self.censored is None else self.censored


class CauseParams(CausesParams):
    """A model of one cause among several."""

    cause: str | None = Field(
        None, description="The cause that is modelled, a level of `end`; by default the first that is not censored."
    )

    @property
    def chosen(self) -> str:
        """The cause that is modelled."""
        return self.causes[0] if self.cause is None else self.cause

    @property
    def number(self) -> int:
        """Its `status`."""
        return self.causes.index(self.chosen) + 1

    def check_follow_up(self, *specials: str) -> None:
        """Raises as for `CausesParams`, and for a cause that is none."""
        super().check_follow_up(*specials)
        if self.cause is not None:
            self.must_be_an_end(self.cause, "cause")
            if self.cause not in self.causes:
                raise InvalidQuestion(f"`{self.cause}` means censored here: choose {', '.join(self.causes)}.")
