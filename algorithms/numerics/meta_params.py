"""What is asked of a meta-analysis."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from algorithms.numerics.cohort_estimates import RATIOS, Effect
from algorithms.numerics.design import INTERCEPT, refuse_specials
from algorithms.numerics.families import CanonicalName
from algorithms.numerics.grouping import Comparison, Grouping, comparison, factors_of
from algorithms.numerics.meta_summaries import Estimator, Prediction
from algorithms.numerics.outcome import check_outcome
from cohortium.analysis import Confidence, Params, find
from cohortium.errors import InvalidQuestion, UnknownName
from cohortium.formula import Formula

OwnFit = Literal["glm", "cox", "gee", "mixed_model", "ordinal", "multinomial"]
WITH_FAMILY = ("glm", "gee")


class MetaAnalysisParams(Params):
    """What every cohort estimates, and how the estimates are pooled."""

    formula: Formula = Field(
        description="What each cohort fits: `bmi ~ age + sex`; for a contrast of two groups `ill ~ treated`."
    )
    fit: OwnFit = Field(
        "glm", description="Which regression a coefficient comes from: each cohort fits it to its own people."
    )
    effect: Effect = Field(
        "coefficient",
        description="coefficient: of the cohort's own regression. Second against first group of a two-by-two table: "
        "log_rr, log_or, risk_difference. Second less first mean: mean_difference, or smd (Hedges' g).",
    )
    family: CanonicalName | None = Field(
        None, description="For a coefficient of glm or gee: gaussian (the default), binomial or poisson."
    )
    term: str | None = Field(
        None, description="Which coefficient, as results name it: `age`, `sex[male]`, `current: age`."
    )
    method: Estimator = Field("reml", description="Variance between cohorts: reml, or dl (DerSimonian-Laird).")
    knapp_hartung: bool = Field(True, description="Test and interval by Hartung and Knapp (t) instead of normal.")
    prediction: Prediction = Field(
        "hartung-knapp",
        description="Prediction interval: hartung-knapp (t with k - 1), higgins (t with k - 2), or normal.",
    )
    per_cohort: bool = Field(False, description="Also show each cohort's estimate, a forest plot and leave-one-out.")
    confidence: float = Confidence

    @cached_property
    def model(self) -> Any:
        """What a cohort fits alone: the bound parameters of that analysis."""
        family = {"family": self.family or "gaussian"} if self.fit in WITH_FAMILY else {}
        effect = "stratified" if self.fit == "cox" else "common"  # alone they are the same, but for the times of Cox
        values = {"formula": self.formula, "cohort_effect": effect, **family}
        return find(self.fit).params.bind(values, self.dictionary)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the coefficients of that fit."""
        columns = self.model.design.columns
        if self.fit != "multinomial":
            return tuple(columns)
        return tuple(f"{level}: {column}" for level in self.model.levels[1:] for column in columns)

    @property
    def ratio(self) -> str | None:
        """What exp(effect) is, if anything."""
        if self.effect != "coefficient":
            return RATIOS.get(self.effect)
        named = {"cox": "hazard ratio", "ordinal": "odds ratio", "multinomial": "odds ratio"}
        return named.get(self.fit) or (self.model.distribution.ratio if self.fit in WITH_FAMILY else None)

    @cached_property
    def grouping(self) -> Grouping:
        """The two groups of a contrast."""
        return Grouping(factors_of(self.formula), self.formula, self.dictionary)

    @cached_property
    def comparison(self) -> Comparison:
        """Outcome and groups of a difference between means."""
        return comparison(self.formula, self.grouping, self.dictionary)

    @property
    def is_table(self) -> bool:
        """Whether the effect comes from a two-by-two table."""
        return self.effect in ("log_rr", "log_or", "risk_difference")

    @property
    def variables(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return tuple(name.name for name in self.formula.names)

    @cached_property
    def position(self) -> int:
        """Which of the model's parameters is pooled. Raises UnknownName."""
        if self.effect != "coefficient":
            return 1
        columns = self.columns
        slopes = [name for name in columns if name != INTERCEPT]
        if self.term is None and len(slopes) != 1:
            raise InvalidQuestion(f"Say which `term` to pool: {', '.join(columns)}.")
        term = slopes[0] if self.term is None else self.term
        if term not in columns:
            raise UnknownName.of("term", term, columns)
        return columns.index(term)

    @property
    def chosen(self) -> str:
        """What is pooled, in words."""
        if self.effect == "coefficient":
            return self.columns[self.position]
        low, high = self.grouping.names
        return f"{self.grouping.factors[0]}: {high} against {low}"

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no such effect."""
        if self.effect != "coefficient":
            self._check_contrast()
        if self.family is not None and self.fit not in WITH_FAMILY:
            raise InvalidQuestion(f"`family` goes with fit='glm' or 'gee', not with '{self.fit}'.")
        _ = self.position

    def _check_contrast(self) -> None:
        refuse_specials(self.formula)
        if self.term is not None or self.family is not None or self.fit != "glm":
            raise InvalidQuestion("`term`, `family` and `fit` go with effect='coefficient'.")
        if len(self.grouping.factors) != 1 or len(self.grouping.names) != 2 or not self.formula.intercept:
            raise InvalidQuestion(f"effect='{self.effect}' takes one factor of two levels after the `~`.")
        if self.is_table:
            check_outcome(self.formula, self.dictionary, "binomial")
        else:
            _ = self.comparison
