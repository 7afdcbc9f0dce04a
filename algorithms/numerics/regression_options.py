"""What can be asked of a regression with a likelihood: weights, kinds of standard errors, a smaller model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Literal

from pydantic import Field

from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.groups import Groups
from algorithms.numerics.knots import lattices_of, open_splines, placed, placeholders
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.outcome import check_outcome, check_weights
from algorithms.numerics.regression import RegressionParams
from algorithms.numerics.sandwich import StdErrors
from cohortium.errors import InvalidQuestion
from cohortium.formula import Formula, Spline
from cohortium.quantities import Array

# What the logarithm of a family's second parameter is called beside the coefficients.
SHAPE = "log(alpha)"


class RegressionOptions(RegressionParams):
    """What to fit, and how."""

    formula: Formula = Field(
        description="Outcome and covariates: `bmi ~ age + sex`, `visits ~ age + offset(log(years))`; `cluster(family)` "
        "says whose outcomes go together."
    )
    cohort_effect: Literal["stratified", "common", "dummies", "random"] = Field(  # type: ignore[assignment]  # more
        "stratified",
        description="stratified: an intercept per cohort, which stays there; common: one for all, as if pooled; "
        "dummies: an intercept per cohort, reported, where cohorts may release their own figures.",
    )
    weights: str | None = Field(
        None,
        description="Variable with prior weights, as R's `weights`: precision, or for a share of events the number of "
        "trials.",
    )
    sampling_weights: str | None = Field(
        None,
        description="Variable with survey weights (1 / chance of being asked), taken to have mean 1 over all cohorts; "
        "standard errors are robust.",
    )
    std_errors: StdErrors | None = Field(
        None,
        description="model; HC0-HC3: robust to the variance; CR0, CR1 (= cluster): clusters, without and with the "
        "correction for few of them. Default: model; HC0 with sampling weights; CR1 with cluster(...).",
    )
    compare: Formula | None = Field(
        None, description="A smaller model, `~ age`, to be tested against this one on the same people."
    )
    by_cohort: bool = Field(
        False,
        description="Also each cohort's own estimates, how much they differ (Q, I², tau²) and the fit without each "
        "cohort. Where a cohort's policy or the permit forbids that, the pooled result comes without, and says so.",
    )
    max_iterations: int = Field(25, ge=1, le=200, description="Most Newton steps before giving up.")

    @property
    def estimates_dispersion(self) -> bool:
        """Whether standard errors have a dispersion in them that is estimated, so that tests are t and F."""
        return self.distribution.has_dispersion

    @property
    def can_be_penalised(self) -> bool:
        """Whether a penalised likelihood is a remedy for a maximum at infinity."""
        return False

    @property
    def penalised(self) -> bool:
        """Whether it is not the likelihood itself that is climbed."""
        return False

    @property
    def leaves_one_out(self) -> bool:
        """Whether the sums of one Newton step determine the fit without a cohort: no penalty, no second parameter."""
        return not self.penalised and self.distribution.name != "negative_binomial"

    @property
    def errors(self) -> StdErrors:
        """The kind of standard errors."""
        chosen = "CR1" if self.std_errors == "cluster" else self.std_errors
        by_default: StdErrors = "CR1" if self.formula.clusters else "HC0" if self.sampling_weights else "model"
        return chosen or by_default

    @cached_property
    def design(self) -> Design:
        """The compiled formula: its columns and variables. Splines without knots have none that mean anything."""
        return self._compiled(placeholders(self.splines))

    def design_with(self, knots: Array) -> Design:
        """The compiled formula with these knots, shape (splines, 7), of splines that do not say where theirs are."""
        return self._with_knots(tuple(placed(self.splines, knots).items())) if self.splines else self.design

    @cached_property
    def _with_knots(self) -> Callable[[tuple[tuple[Spline, tuple[float, ...]], ...]], Design]:
        # Every round of a fit has the same knots, and what a node knows of a design it remembers with it.
        return lru_cache(maxsize=2)(lambda knots: self._compiled(dict(knots)))

    def _compiled(self, knots: Mapping[Spline, tuple[float, ...]]) -> Design:
        weights, column = self.weights or self.sampling_weights, not self.profiled
        return compile_design(self.formula, self.dictionary, intercept_column=column, weights=weights, knots=knots)

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
    def smaller(self) -> tuple[int, ...]:
        """The columns of the model to compare with. Raises FormulaError or InvalidQuestion if it is not smaller."""
        if self.compare is None:
            return ()
        other, columns = self.compare, {column.known_as: k for k, column in enumerate(self.design.layout)}
        refuse_specials(other, "offset", "cluster")
        for part in ("response", "offsets", "clusters"):
            theirs, ours = getattr(other, part), getattr(self.formula, part)
            if theirs and theirs != ours:
                raise InvalidQuestion(f"`{other}` and `{self.formula}` do not have the same {part}.")
        knots = placeholders(open_splines(other))
        nested = compile_design(other, self.dictionary, intercept_column=not self.profiled, knots=knots)
        missing = [c.name for c in nested.layout if c.known_as not in columns]
        if missing or nested.width >= self.design.width or other.intercept != self.formula.intercept:
            raise InvalidQuestion(
                f"`{other}` is not a part of `{self.formula}`"
                + (f": it also has {', '.join(f'`{m}`' for m in missing)}." if missing else ".")
            )
        return tuple(sorted(columns[c.known_as] for c in nested.layout))

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a regression cannot take."""
        refuse_specials(self.formula, "offset", "cluster")
        for name in (self.weights, self.sampling_weights):
            if name is not None:
                check_weights(name, self.dictionary)
        check_outcome(self.formula, self.dictionary, self.distribution.name, self.weights)
        self.check_intercept()
        self._check_effect()
        self._check_errors()
        if self.by_cohort and self.splines:
            raise InvalidQuestion(
                f"by_cohort compares cohorts on the same columns: say where the knots of `{self.splines[0]}` are, or "
                "every cohort would place its own."
            )
        # Compiled now, so that their errors come before any node is asked.
        _ = self.design, self.smaller, self.lattices

    def _check_effect(self) -> None:
        if self.cohort_effect == "random":
            raise InvalidQuestion(
                "Random cohort effects are a mixed model: ask for mixed_model with a random intercept, or for "
                "cohort_effect='stratified', which assumes nothing about how cohorts differ."
            )
        if self.cohort_effect == "dummies" and self.errors != "model":
            raise InvalidQuestion(
                "Intercepts per cohort have standard errors of the model only: ask for std_errors='model', or for "
                "cohort_effect='stratified'."
            )

    def _check_errors(self) -> None:
        clustered, clusters = self.errors in {"CR0", "CR1"}, self.formula.clusters
        if len(clusters) > 1:
            raise self.formula.error("People can be in clusters of one kind only.", clusters[1])
        if clustered and not clusters:
            raise InvalidQuestion("Say in the formula what the clusters are: `+ cluster(family)`.")
        if clusters and not clustered:
            raise self.formula.error(
                f"std_errors='{self.errors}' does not look at clusters: leave them out, or ask for 'cluster'.",
                clusters[0],
            )
        if self.weights and self.sampling_weights:
            raise InvalidQuestion("Rows have either prior weights or sampling weights, not both.")
        if self.sampling_weights and self.errors == "model":
            raise InvalidQuestion(
                "With sampling weights the model's standard errors are wrong: ask for std_errors='HC0', or 'cluster' "
                "with a cluster(...) term."
            )
        if self.sampling_weights and self.compare:
            raise InvalidQuestion(
                "Weighted by sampling weights there is no likelihood to compare models by. Look at the Wald tests of "
                "the terms instead."
            )
