"""What is asked of people who belong together in sets: matched cases and controls, siblings, twins."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from algorithms.numerics.clusters import check_group
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.outcome import check_outcome
from cohortium.analysis import Confidence, Params
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Formula, Surv
from cohortium.result import CohortEffect

SetFamily = Literal["binomial", "gaussian", "survival"]


class MatchedParams(Params):
    """Whose outcome is compared with whose, and how."""

    formula: Formula = Field(
        description="Outcome, covariates, and in strata() who belongs together: `case ~ smoking + strata(set)`, `bmi ~ "
        "screen_time + strata(family)`, `Surv(time, event) ~ dose + strata(family)`."
    )
    family: Literal["binomial", "gaussian"] | None = Field(
        None,
        description="binomial: conditional logistic regression; gaussian: differences within sets. By default binomial "
        "if the outcome is binary, otherwise gaussian.",
    )
    model: Literal["within", "between_within"] = Field(
        "within",
        description="within: people are compared with their own set only; between_within (gaussian): effects of a "
        "set's mean and of deviations from it, side by side.",
    )
    cohort_effect: CohortEffect = Field(
        "stratified",
        description="Of between_within: stratified, an intercept per cohort; common, one for all. Comparisons within "
        "sets are within cohorts in any case.",
    )
    std_errors: Literal["model", "cluster"] | None = Field(
        None,
        description="Of gaussian: model, equal variances; cluster, robust to whatever goes on within a set. By default "
        "model for within and cluster for between_within.",
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @cached_property
    def kind(self) -> SetFamily:
        """How the outcome is modelled."""
        if isinstance(self.formula.response, Surv):
            return "survival"
        name = str(self.formula.response)
        binary = name in self.dictionary and self.dictionary[name].is_binary
        return self.family or ("binomial" if binary else "gaussian")

    @property
    def sets(self) -> str:
        """The variable that says who belongs together."""
        return self.formula.strata[0].name

    @property
    def between(self) -> bool:
        """Whether the means of sets are covariates, too."""
        return self.model == "between_within"

    @property
    def clustered(self) -> bool:
        """Whether standard errors are robust to what goes on within a set."""
        return self.kind == "gaussian" and (self.between if self.std_errors is None else self.std_errors == "cluster")

    @cached_property
    def design(self) -> Design:
        """The compiled covariates, without an intercept."""
        return compile_design(self.formula, self.dictionary, intercept_column=False)

    @cached_property
    def names(self) -> list[str]:
        """The coefficients, before any is left out."""
        columns = self.design.columns
        if not self.between:
            return list(columns)
        return [f"{c} (within)" for c in columns] + [f"{c} (between)" for c in columns]

    @cached_property
    def hazard(self) -> CoxParams:
        """The Cox model with a baseline hazard per set, for follow-up."""
        return CoxParams.bind({"formula": str(self.formula)}, self.dictionary)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what cannot be compared within sets."""
        refuse_specials(self.formula, "strata")
        if not self.formula.strata:
            raise FormulaError("Say who belongs together: `+ strata(set)`.", self.formula.text, len(self.formula.text))
        if len(self.formula.strata) > 1:
            raise self.formula.error("People belong to sets of one kind only.", self.formula.strata[1])
        check_group(self.formula.strata[0], self.formula, self.dictionary)
        if not self.formula.terms:
            raise FormulaError("Give a covariate after the `~`.", self.formula.text, 0)
        if not self.formula.intercept:
            raise FormulaError("Sets take the place of the intercept: remove `0` or `-1`.", self.formula.text, 0)
        if self.sets in {name.name for name in self.formula.names if name.position != self.formula.strata[0].position}:
            raise self.formula.error(
                "What says who belongs together is no covariate or outcome.", self.formula.strata[0]
            )
        self._check_kind()
        _ = self.design  # compiled now, so that its errors come before any node is asked

    def _check_kind(self) -> None:
        if self.kind == "survival":
            if self.family is not None:
                raise InvalidQuestion("`family` is for an outcome that is a number or a binary variable.")
            _ = self.hazard
        else:
            check_outcome(self.formula, self.dictionary, self.kind)
        if self.kind != "gaussian" and (self.between or self.std_errors == "cluster"):
            raise InvalidQuestion(
                "model='between_within' and std_errors='cluster' are for gaussian outcomes: a conditional likelihood "
                "knows differences within sets only."
            )
        if self.between and self.std_errors == "model":
            raise InvalidQuestion("People of a set are alike, so between_within takes std_errors='cluster'.")
