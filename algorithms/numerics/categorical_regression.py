"""What regressions of an outcome with several categories ask for, how they are fitted, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import special

from algorithms.numerics.categorical import Categorical
from algorithms.numerics.categorical_fit import CategoryPreparation
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.preparation import Plan, plan
from algorithms.numerics.scoring import NewtonTerms
from algorithms.numerics.standardised import broadcast_scaling
from cohortium import report
from cohortium.analysis import Confidence, Params, ask
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.formula import Formula, Name
from cohortium.quantities import Array
from cohortium.result import CohortEffect, Estimate, Result

if TYPE_CHECKING:
    import altair

MOST_CATEGORIES = 10


class CategoricalParams(Params):
    """What to fit, and how."""

    formula: Formula = Field(description="An outcome with several categories, and covariates: `stage ~ age + sex`.")
    cohort_effect: CohortEffect = Field(
        "stratified", description="stratified: intercepts per cohort; common: the same for all, as if pooled."
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @property
    def profiled(self) -> bool:
        """Whether every cohort has intercepts of its own."""
        return self.cohort_effect == "stratified"

    @property
    def levels(self) -> tuple[str, ...]:
        """The categories of the outcome, in the order of the dictionary."""
        return self.dictionary[str(self.formula.response)].levels

    @cached_property
    def design(self) -> Design:
        """The compiled formula."""
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what these models cannot take."""
        refuse_specials(self.formula)
        response = self.formula.response
        if response is None:
            raise FormulaError("There is no outcome before the `~`.", self.formula.text, 0)
        if not isinstance(response, Name) or self.dictionary[response.name].type != "category":
            at = response if isinstance(response, Name) else self.formula.names[0]
            raise self.formula.error("The outcome must be a category; for a number or a yes/no use `glm`.", at)
        if not 3 <= len(self.levels) <= MOST_CATEGORIES:
            raise self.formula.error(
                f"`{response}` has {len(self.levels)} categories, not 3 to {MOST_CATEGORIES}. For two use `glm`.",
                response,
            )
        if not self.formula.intercept:
            raise InvalidQuestion("These models keep their intercepts. Remove `0` or `-1` from the formula.")
        _ = self.design  # compiled now, so that its errors come before any node is asked


class CategoricalResult(Result):
    """A fitted regression of an outcome with several categories."""

    formula: str = Field(description="The formula as it was asked.")
    categories: dict[str, int] = Field(description="People per category of the outcome, in order.")
    coefficients: dict[str, Estimate] = Field(description="Estimates by term, as log odds ratios.")
    covariance: tuple[tuple[float, ...], ...] = Field(
        description="Covariance matrix: `coefficients`, then `intercepts`, in their order."
    )
    intercepts: dict[str, Estimate] = Field(description="Intercepts that all cohorts share; none if stratified.")
    confidence: float = Field(description="Level of the confidence intervals.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    parameters: int = Field(description="Estimated parameters, cohort intercepts included.")
    log_likelihood: float = Field(description="Log-likelihood.")
    null_log_likelihood: float = Field(description="Log-likelihood with the intercepts alone.")
    chi_square: float = Field(description="Likelihood-ratio test of all slopes together.")
    df: int = Field(description="Degrees of freedom of that test: the slopes.")
    p_value: float = Field(description="P-value of that test.")
    deviance: float = Field(description="Minus twice the log-likelihood.")
    aic: float = Field(description="Akaike's criterion.")
    bic: float = Field(description="Schwarz's criterion, counting people.")
    pseudo_r2: float = Field(description="McFadden's: how much nearer to 0 the log-likelihood is than without slopes.")
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    condition_number: float = Field(description="Of the standardised, weighted design.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def statement(self) -> Exactness:
        """Equal to the pooled fit with the same intercepts."""
        return exactly(
            "equals the same fit to the pooled records"
            + (", intercepts for every cohort added" if self.cohort_effect == "stratified" else ""),
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """The slopes with their odds ratios, the intercepts, the categories, and the people without a value."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "z", "p", "odds ratio", f"{level} low", f"{level} high")
        rows: tuple[tuple[report.Cell, ...], ...] = tuple(
            (n, e.estimate, e.std_error, e.statistic, e.p_value, *(_exp(v) for v in (e.estimate, e.ci_low, e.ci_high)))
            for n, e in self.coefficients.items()
        )
        tables = [report.Table("Coefficients", columns, rows)]
        if self.intercepts:
            cuts = tuple((n, e.estimate, e.std_error, e.statistic) for n, e in self.intercepts.items())
            tables.append(report.Table("Intercepts", ("intercept", "estimate", "std. error", "z"), cuts))
        tables.append(report.Table("Outcome", ("category", "people"), tuple(self.categories.items())))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the odds ratios."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        return charts.forest(self.coefficients, "odds ratio") if self.coefficients else None


@dataclass(frozen=True)
class Layout:
    """Which parameters there are: `kept` of all that nodes know, `columns` of the design (without the intercept)."""

    model: Categorical
    planned: Plan
    first: int
    width: int

    @property
    def columns(self) -> NDArray[np.intp]:
        """The covariate columns that take part, as positions in the design."""
        kept = self.planned.kept
        return kept[kept >= self.first]

    @property
    def intercepts(self) -> int:
        """How many intercepts are parameters here."""
        return (self.model.categories - 1) * self.first

    @property
    def kept(self) -> NDArray[np.intp]:
        """The parameters that take part, as positions among all that nodes know."""
        wide, repeats = self.width - self.first, self.model.slopes(1)
        slopes = (np.arange(repeats)[:, None] * wide + (self.columns - self.first)).ravel()
        return np.concatenate([slopes, repeats * wide + np.arange(self.intercepts)])

    def back(self, coefficients: Array, inverse: Array) -> tuple[Array, Array]:
        """Coefficients and covariance for columns as they are."""
        scaling, repeats = self.planned.scaling, self.model.slopes(1)
        per_unit = np.tile(scaling.per_unit[self.columns], repeats)
        transform = np.diag(np.concatenate([per_unit, np.ones(self.intercepts)]))
        moved = self.model.shift * scaling.centre[self.columns] * scaling.per_unit[self.columns]
        size = len(self.columns)
        for j in range(self.intercepts):
            at = (j if repeats > 1 else 0) * size
            transform[len(per_unit) + j, at : at + size] = moved
        return transform @ coefficients, transform @ inverse @ transform.T


def plan_categories(total: CategoryPreparation, params: CategoricalParams, model: Categorical) -> Layout:
    """Scale the columns. Raises CannotEstimate where there is too little to fit."""
    if not total.n and not total.silent:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if not total.n:
        raise CannotEstimate("In no cohort does the outcome vary, so nothing can be learnt within cohorts.")
    empty = [f"`{level}`" for level, count in zip(params.levels, total.outcomes, strict=True) if not count]
    if empty:
        raise CannotEstimate(
            f"Nobody has the outcome {', '.join(empty)}. Use an outcome whose categories all occur, or merge them."
        )
    planned = plan(total, params.design, profiled=params.profiled, centred_outcome=False)
    return Layout(model, planned, 0 if params.profiled else 1, params.design.width)


def fit_categories(
    statistic: Callable[..., NewtonTerms], layout: Layout, params: CategoricalParams, start: Array, names: list[str]
) -> Steps[Fit]:
    """Maximum likelihood by Newton's method; `statistic` gives a cohort's terms at slopes and intercepts."""
    kept = layout.kept
    slopes = layout.model.slopes(layout.width - layout.first)

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        everywhere = np.zeros(slopes + layout.model.categories - 1)
        everywhere[kept] = coefficients
        scaling = broadcast_scaling(layout.planned.scaling)
        terms = yield from ask(
            statistic,
            slopes=everywhere[:slopes],
            intercepts=everywhere[slopes:],
            centre=scaling["centre"],
            per_unit=scaling["per_unit"],
        )
        return replace(terms, score=terms.score[kept], information=terms.information[np.ix_(kept, kept)])

    first = np.concatenate([np.zeros(len(kept) - layout.intercepts), start[: layout.intercepts]])
    model = Model(names, intercept=False, separable=True, max_iterations=params.max_iterations)
    return (yield from maximise(evaluate, first, model))


def common_fields(
    fit: Fit, total: CategoryPreparation, layout: Layout, params: CategoricalParams, slopes: int
) -> dict[str, object]:
    """What every result of such a model says."""
    n = round(total.n)
    log_likelihood = fit.terms.log_likelihood
    shares = total.outcomes / total.n
    null = total.null if params.profiled else float(total.outcomes @ np.log(shares))
    parameters = slopes + (round(total.own_intercepts) if params.profiled else layout.intercepts)
    chi_square = max(2.0 * (log_likelihood - null), 0.0)
    return {
        "n": n,
        "n_excluded": _whole(float(total.excluded)),
        "cohort_effect": params.cohort_effect,
        "formula": str(params.formula),
        "categories": {level: round(c) for level, c in zip(params.levels, total.outcomes, strict=True)},
        "confidence": params.confidence,
        "missing": {name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        "parameters": parameters,
        "log_likelihood": log_likelihood,
        "null_log_likelihood": null,
        "chi_square": chi_square,
        "df": slopes,
        "p_value": float(special.chdtrc(slopes, chi_square)) if slopes else 1.0,
        "deviance": -2.0 * log_likelihood,
        "aic": -2.0 * log_likelihood + 2.0 * parameters,
        "bic": -2.0 * log_likelihood + parameters * float(np.log(n)),
        "pseudo_r2": 1.0 - log_likelihood / null,
        "iterations": fit.iterations,
        "decrement": fit.decrement,
        "condition_number": fit.condition_number,
        "dropped": layout.planned.dropped,
        "warnings": tuple(_warnings(total, layout, params)),
    }


def _warnings(total: CategoryPreparation, layout: Layout, params: CategoricalParams) -> list[str]:
    found = []
    if layout.planned.dropped:
        found.append(f"Nobody has the level of {', '.join(layout.planned.dropped)}: left out.")
    if total.silent:
        found.append(
            f"In {total.silent:g} cohort{'' if total.silent == 1 else 's'} the outcome does not vary; beside an "
            "intercept of its own it tells nothing and is not counted."
        )
    withheld = [name for name, count in zip(params.design.variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many people lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)


def _exp(value: float) -> float:
    return float(np.exp(value)) if value < 709.0 else float("inf")
