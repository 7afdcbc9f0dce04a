"""What is asked of a trial within cohorts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.expressions import value_codes
from algorithms.numerics.groups import Groups
from algorithms.numerics.outcome import check_outcome
from algorithms.numerics.random_selection import joint_key
from cohortium.analysis import Confidence, Divided, Params
from cohortium.data import Data
from cohortium.errors import FormulaError, InvalidQuestion
from cohortium.formula import Formula, Surv
from cohortium.quantities import Array
from cohortium.result import CohortEffect

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Holder = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")]
# What a trial reports of people by what became of them.
GROUPS = ("not selected", "refused", "accepted")


def _arm(selected: str, block: Data) -> NDArray[np.intp]:
    return value_codes(block, selected)


class TrialParams(Params):
    """Who may take part (`where`), who was chosen, and what of it."""

    strata: tuple[str, ...] = Field(
        (), description="Variables with levels within which people are chosen at random, in every cohort apart."
    )
    share: float = Field(0.5, gt=0, lt=1, description="Share of the eligible people of a stratum that is selected.")
    commitments: dict[Holder, Hash] = Field(
        {},
        description="Who holds a part of the key of the selection, and the SHA-256 commitment to it, published before "
        "eligibility is fixed.",
    )
    identifier: str | None = Field(
        None, description="What tells people apart: an identifier, or an integer. Selection goes by it."
    )
    keys: dict[Holder, str] = Field(
        {}, description="The revealed parts of the key, by holder: every cohort votes whether its selection follows."
    )
    selected: str | None = Field(
        None, description="Whether somebody was selected (two values, the second is yes). Without it: eligibility only."
    )
    accepted: str | None = Field(
        None, description="Whether a selected person had the intervention; who has no value did not accept."
    )
    formula: Formula | None = Field(
        None,
        description="Outcome and baseline covariates: `bmi ~ age`, `Surv(time, event) ~ 1`; `cluster(clinic)` for "
        "people whose outcomes go together.",
    )
    family: Literal["gaussian", "binomial"] | None = Field(
        None, description="By default binomial (risk difference) for a binary outcome, otherwise gaussian."
    )
    balance: tuple[str, ...] = Field((), description="Baseline variables to be compared between those selected or not.")
    cohort_effect: CohortEffect = Field(
        "stratified", description="stratified: an intercept per cohort; common: one for all, as if pooled."
    )
    std_errors: Literal["HC0", "HC1", "cluster"] | None = Field(
        None, description="Robust standard errors: HC0 (default), HC1, or cluster (default with cluster())."
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps, for Surv().")

    def __hash__(self) -> int:
        # Commitments and keys are dictionaries, which have no hash of their own.
        return hash(self.model_dump_json())

    @property
    def profiled(self) -> bool:
        """Whether every cohort has an intercept of its own."""
        return self.cohort_effect == "stratified"

    @property
    def surv(self) -> Surv | None:
        """Follow-up, if that is the outcome."""
        response = None if self.formula is None else self.formula.response
        return response if isinstance(response, Surv) else None

    @property
    def kind(self) -> Literal["gaussian", "binomial", "survival", "none"]:
        """What the outcome is."""
        if self.formula is None:
            return "none"
        if self.surv is not None:
            return "survival"
        name = str(self.formula.response)
        binary = name in self.dictionary and self.dictionary[name].is_binary
        return self.family or ("binomial" if binary else "gaussian")

    @property
    def errors(self) -> str:
        """The kind of standard errors."""
        clusters = self.formula is not None and self.formula.clusters
        return self.std_errors or ("cluster" if clusters else "HC0")

    @cached_property
    def groups(self) -> Groups:
        """The design strata."""
        return Groups(self.dictionary, self.strata)

    @cached_property
    def key(self) -> bytes | None:
        """The key of the selection, if its parts are revealed. Raises InvalidQuestion if they are others."""
        return joint_key(self.keys, self.commitments) if self.keys else None

    @cached_property
    def assigned(self) -> Formula:
        """The outcome by assignment, covariates and design strata; the assignment is the first term."""
        assert self.formula is not None
        terms = [str(self.selected), *map(str, self.formula.terms)]
        strata = [f"strata({s})" for s in self.strata] if self.surv else list(self.strata)
        clusters = [f"cluster({c})" for c in self.formula.clusters]
        return Formula(f"{self.formula.response} ~ {' + '.join([*terms, *strata, *clusters])}")

    @cached_property
    def design(self) -> Design:
        """Its columns; the assignment is the first that is no intercept."""
        return compile_design(self.assigned, self.dictionary, intercept_column=not self.profiled)

    @cached_property
    def baseline(self) -> Design:
        """The variables to be balanced, as columns without an intercept."""
        formula = Formula(f"{self.selected} ~ {' + '.join(self.balance)}")
        return compile_design(formula, self.dictionary, intercept_column=False)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """What a row must have to be compared: the same rows for outcome and baseline."""
        named = (self.selected,) if self.selected else ()
        outcome = self.design.variables if self.formula is not None else ()
        return tuple(dict.fromkeys([*named, *outcome, *(self.baseline.variables if self.balance else ())]))

    @cached_property
    def hazard(self) -> CoxParams:
        """The Cox model of follow-up, with a baseline hazard per cohort and design stratum."""
        asked = {"formula": str(self.assigned), "robust": True, "max_iterations": self.max_iterations}
        return CoxParams.bind(asked, self.dictionary)

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:  # noqa: ARG002
        """By selection, where sums over those selected, and those not, are told."""
        if statistic not in {"preparation", "trial_sums"} or self.selected is None:
            return None
        return Divided(f"arms of {self.selected}", (self.selected,), 2, partial(_arm, self.selected))

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what is no trial."""
        _ = self.groups.levels, self.key
        self._check_selection()
        if self.formula is not None:
            self._check_formula(self.formula)
        if self.balance:
            _ = self.baseline

    def _check_selection(self) -> None:
        if self.identifier is not None and self.dictionary[self.identifier].type not in {"identifier", "integer"}:
            kind = self.dictionary[self.identifier].type
            raise InvalidQuestion(f"`{self.identifier}` is a {kind}. Selection goes by an identifier, or an integer.")
        if self.keys and not self.identifier:
            raise InvalidQuestion("Selection by `keys` goes by a number that tells people apart: give `identifier`.")
        if self.selected is None and (self.formula is not None or self.accepted is not None or self.balance):
            raise InvalidQuestion("Say who was `selected`; without it only eligible people are counted.")
        for name in (self.selected, self.accepted):
            if name is not None and not self.dictionary[name].is_binary:
                raise InvalidQuestion(f"`{name}` must say yes or no: a boolean, two categories, or an integer 0 or 1.")

    def _check_formula(self, formula: Formula) -> None:
        refuse_specials(formula, "cluster")
        if len(formula.clusters) > 1:
            raise formula.error("Give one cluster() only.", formula.clusters[1])
        if not formula.intercept:
            raise FormulaError("The intercept is those not selected: remove `0` or `-1`.", formula.text, 0)
        if (self.errors == "cluster") != bool(formula.clusters):
            raise InvalidQuestion("std_errors='cluster' and `+ cluster(clinic)` in the formula go together.")
        taken = {self.selected, self.accepted, *self.strata}
        for name in formula.names:
            if name.name in taken:
                raise formula.error(f"`{name}` is in the model already, by its part in the trial.", name)
        if self.surv is None:
            check_outcome(formula, self.dictionary, "binomial" if self.kind == "binomial" else "gaussian")
            _ = self.design
        else:
            if self.family is not None or self.std_errors == "HC1":
                raise InvalidQuestion("For Surv() leave out `family`; standard errors are robust, by cluster() or not.")
            _ = self.hazard
