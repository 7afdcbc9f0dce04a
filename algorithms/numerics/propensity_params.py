"""What is asked of a comparison of two treatments that people were not given at random."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.families import FAMILIES
from algorithms.numerics.groups import Groups
from algorithms.numerics.knots import lattices_of, open_splines, placed, placeholders
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.likelihood import Family
from algorithms.numerics.outcome import check_outcome
from algorithms.numerics.regression import RegressionParams
from algorithms.numerics.time_grid import TimeGridParams
from cohortium.analysis import Divided
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import InvalidQuestion
from cohortium.formula import Formula, Spline, Surv
from cohortium.quantities import Array

# What a weight is called beside treatment, time and event: a name that nobody gives to one of these.
WEIGHT = "ip.weight."

Estimand = Literal["ATE", "ATT", "overlap"]


def _left_hand_side(value: object) -> object:
    """An outcome on its own as the formula that it begins."""
    return f"{value} ~ 1" if isinstance(value, str) and "~" not in value else value


Outcome = Annotated[Formula, BeforeValidator(_left_hand_side)]


def _arm(treatment: str, block: Data) -> NDArray[np.intp]:
    return value_codes(block, treatment)


class PropensityParams(RegressionParams):
    """Which treatment, what it may be confounded by, and its effect on what."""

    formula: Formula = Field(
        description="Treatment (two values, the second is the treatment) and confounders: `statin ~ age + sex`."
    )
    outcome: Outcome | None = Field(
        None,
        description="What the treatment may change: a number or binary variable, `sbp`, or `Surv(time, event)`. "
        "Without it the answer is about balance only.",
    )
    family: Literal["gaussian", "binomial"] | None = Field(
        None, description="How the outcome is modelled; by default binomial if it is binary, otherwise gaussian."
    )
    estimand: Estimand = Field(
        "ATE",
        description="Whose average effect: ATE, everybody's; ATT, that of the treated; overlap, that of people whose "
        "treatment is least certain (overlap weights).",
    )
    stabilised: bool = Field(
        False, description="Multiply weights by the share of the person's own treatment, so that they are around 1."
    )
    truncate: float | None = Field(
        None, gt=0, lt=0.5, description="Cut weights at this quantile and at 1 less it: 0.01 for 1% and 99%."
    )
    interval: float | None = Field(
        None,
        gt=0,
        description="With Surv(): width of the grid of times of weighted survival curves; without it there are none.",
    )
    until: float | None = Field(None, gt=0, description="With Surv(): who is followed longer is censored then.")

    @cached_property
    def splines(self) -> tuple[Spline, ...]:
        """The splines whose knots are still to be placed."""
        return open_splines(self.formula)

    @cached_property
    def lattices(self) -> tuple[Lattice, ...]:
        """The possible values of the variables of these splines."""
        return lattices_of(self.splines, self.formula, self.dictionary)

    @property
    def groups(self) -> Groups:
        """Knots are placed by everybody's values."""
        return Groups(self.dictionary)

    @cached_property
    def design(self) -> Design:
        """The compiled formula; splines without knots have none that mean anything."""
        knots = placeholders(self.splines)
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled, knots=knots)

    def design_with(self, knots: Array) -> Design:
        """The compiled formula with these knots, shape (splines, 7)."""
        if not self.splines:
            return self.design
        found = placed(self.splines, knots)
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled, knots=found)

    @property
    def distribution(self) -> Family:
        """That of the treatment."""
        return FAMILIES["binomial"]

    @property
    def surv(self) -> Surv | None:
        """Follow-up, if that is the outcome."""
        response = None if self.outcome is None else self.outcome.response
        return response if isinstance(response, Surv) else None

    @cached_property
    def outcome_family(self) -> Family | None:
        """How the outcome is modelled; None for follow-up, and without an outcome."""
        if self.outcome is None or self.surv is not None:
            return None
        name = str(self.outcome.response)
        binary = name in self.dictionary and self.dictionary[name].is_binary
        return FAMILIES[self.family or ("binomial" if binary else "gaussian")]

    @cached_property
    def measured(self) -> Design | None:
        """Reads the outcome of a row; None where there is nothing to be read as a number."""
        if self.outcome is None or self.surv is not None:
            return None
        return compile_design(self.outcome, self.dictionary)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """What a row must have to be used: the same rows in every round."""
        own = () if self.outcome is None else tuple(name.name for name in self.outcome.names)
        return tuple(dict.fromkeys([*self.design.variables, *own]))

    @property
    def treatment(self) -> str:
        """The variable that says who is treated."""
        return str(self.formula.response)

    @property
    def arms(self) -> tuple[str, str]:
        """Its two values."""
        low, high = value_levels(self.dictionary[self.treatment])
        return low, high

    @cached_property
    def grid(self) -> TimeGridParams:
        """The grid of times of the curves, the groups being the arms."""
        asked = {"formula": f"{self.surv} ~ {self.treatment}", "interval": self.interval, "until": self.until}
        return TimeGridParams.bind(asked, self.dictionary)

    @cached_property
    def hazard(self) -> CoxParams:
        """The Cox model of weighted people: a baseline hazard per cohort, so that no time leaves it."""
        names = (self.treatment, *(name.name for name in self.outcome.names)) if self.outcome else ()
        known = {name: self.dictionary[name] for name in names} | {WEIGHT: Variable(type="number")}
        dictionary = Dictionary(name=self.dictionary.name, version=self.dictionary.version, variables=known)
        asked = {"formula": f"{self.surv} ~ {self.treatment}", "weights": WEIGHT, "robust": True, "until": self.until}
        return CoxParams.bind(asked, dictionary)

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:  # noqa: ARG002
        """By treatment, where sums over either arm are told."""
        if statistic not in {"preparation", "weighting", "life_tables"}:
            return None
        return Divided(f"arms of {self.treatment}", (self.treatment,), 2, partial(_arm, self.treatment))

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what cannot be compared."""
        refuse_specials(self.formula)
        check_outcome(self.formula, self.dictionary, "binomial")
        self.check_intercept()
        if not self.formula.terms or not self.formula.intercept:
            raise InvalidQuestion("Give confounders after the `~`, and leave the intercept in: `statin ~ age + sex`.")
        if self.stabilised and self.estimand == "overlap":
            raise InvalidQuestion("Overlap weights are shares of 1 already: leave out `stabilised`.")
        if self.truncate is not None and self.estimand == "overlap":
            raise InvalidQuestion("Overlap weights are never above 1: there is nothing to `truncate`.")
        self._check_outcome()
        # Compiled now, so that their errors come before any node is asked.
        _ = self.design, self.lattices

    def _check_outcome(self) -> None:
        if self.surv is None and (self.interval is not None or self.until is not None):
            raise InvalidQuestion("`interval` and `until` are for an outcome Surv(time, event).")
        if self.family is not None and self.outcome_family is None:
            raise InvalidQuestion("`family` is for an outcome that is a number or a binary variable.")
        if self.outcome is None:
            return
        if self.outcome.terms or self.outcome.offsets or self.outcome.strata or self.outcome.clusters:
            raise InvalidQuestion("Give the outcome alone: confounders are those of `formula`, in every model.")
        explaining = {name.name: name for name in self.formula.names}
        for name in self.outcome.names:
            if name.name in explaining:
                raise self.formula.error(
                    f"`{name}` is the outcome: it cannot explain the treatment.", explaining[name.name]
                )
        if self.outcome_family is not None:
            check_outcome(self.outcome, self.dictionary, self.outcome_family.name)
            _ = self.measured
        elif self.surv is not None and self.surv.start is not None:
            raise self.outcome.error(
                "Count time from the treatment: Surv(time, event), without a start.", self.surv.start
            )
        else:
            _ = self.hazard
            if self.interval is not None:
                _ = self.grid.points
