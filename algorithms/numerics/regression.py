"""What every regression asks for."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.likelihood import Family
from algorithms.numerics.outcome import check_outcome
from cohortium.analysis import Confidence, Params
from cohortium.errors import InvalidQuestion
from cohortium.formula import Formula
from cohortium.result import CohortEffect


class RegressionParams(Params):
    """What to fit, and how."""

    formula: Formula = Field(
        description="Outcome and covariates: `bmi ~ age + sex`, `visits ~ age + offset(log(years))`."
    )
    cohort_effect: CohortEffect = Field(
        "stratified", description="stratified: an intercept per cohort; common: one for all, as if pooled."
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @property
    def profiled(self) -> bool:
        """Whether every cohort has an intercept of its own."""
        return self.cohort_effect != "common"

    @property
    def distribution(self) -> Family:
        """How the outcome is distributed, with its link."""
        raise NotImplementedError

    @cached_property
    def design(self) -> Design:
        """The compiled formula."""
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a regression cannot take."""
        refuse_specials(self.formula, "offset")
        check_outcome(self.formula, self.dictionary, self.distribution.name)
        self.check_intercept()
        _ = self.design  # compiled now, so that its errors come before any node is asked

    def check_intercept(self) -> None:
        """Raises InvalidQuestion when cohorts have intercepts of their own and the formula has none."""
        if self.profiled and not self.formula.intercept:
            raise InvalidQuestion(
                f"cohort_effect='{self.cohort_effect}' gives every cohort its own intercept, so the formula cannot "
                "leave the intercept out. Remove `0` or `-1`, or ask for cohort_effect='common'."
            )
