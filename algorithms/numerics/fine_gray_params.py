"""What a Fine-Gray regression takes."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from algorithms.numerics.causes import CauseParams
from algorithms.numerics.cox_params import Ties
from algorithms.numerics.design import Design, compile_design
from algorithms.numerics.time_grid import MAX_CELLS
from cohortium.analysis import Confidence
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Formula
from cohortium.result import CohortEffect


class FineGrayParams(CauseParams):
    """The incidence of which cause, by what, and how."""

    formula: Formula = Field(
        description="Follow-up and covariates: `Surv(time, end) ~ age + sex`, where `end` is a category that says how "
        "follow-up ended: censored, or by which cause."
    )
    cohort_effect: CohortEffect = Field(
        "stratified",
        description="stratified: a baseline and a censoring distribution per cohort, and no time leaves it; common: "
        "one for all, as if pooled, on a grid of times whose intervals every cohort's policy must find wide enough.",
    )
    ties: Ties = Field("efron", description="How events at the same time are handled: efron or breslow.")
    robust: bool = Field(True, description="Whether standard errors are robust; others are too small in theory.")
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @property
    def stratified(self) -> bool:
        """Whether every cohort has a baseline of its own."""
        return self.cohort_effect == "stratified"

    @property
    def needs_grid(self) -> bool:
        """Whether people are counted on the grid of times."""
        return not self.stratified

    @cached_property
    def design(self) -> Design:
        """The compiled covariates; a hazard model has no intercept."""
        return compile_design(self.formula, self.dictionary, intercept_column=False)

    @cached_property
    def used(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return (*self.design.variables, *self.competing)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a Fine-Gray model cannot take."""
        self.check_follow_up()
        if self.surv.start is not None:
            raise self.formula.error(
                "A Fine-Gray model needs everybody from the start: write `Surv(time, end)`. With late entry, "
                "cause_specific_cox is possible.",
                self.surv.start,
            )
        if not self.formula.terms:
            raise FormulaError("Give a covariate after the `~`; competing_risks does without.", self.formula.text, 0)
        if not self.formula.intercept:
            raise FormulaError(
                "A hazard model has no intercept to leave out: remove `0` or `-1`.", self.formula.text, 0
            )
        width = self.design.width  # compiled now, so that its errors come before any node is asked
        if not self.stratified and self.points * (1 + width + width**2) > MAX_CELLS:
            raise InvalidQuestion(
                f"{self.points} times with {width} covariates are too many cells. Give a wider `interval`, or ask for "
                "cohort_effect='stratified'."
            )
