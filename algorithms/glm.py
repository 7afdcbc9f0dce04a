"""Generalised linear models."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from algorithms.numerics.climbing import Climb
from algorithms.numerics.dropped_terms import drop_one
from algorithms.numerics.estimation import estimate, regression_result
from algorithms.numerics.families import LINKS
from algorithms.numerics.firth import PenalisedLogit, firth_terms, penalised_fit  # noqa: F401 - a statistic as well
from algorithms.numerics.likelihood import Family, FamilyName, LinkName
from algorithms.numerics.order_statistics import counts_between  # noqa: F401 - a statistic as well
from algorithms.numerics.own_fits import OwnFit
from algorithms.numerics.profile_likelihood import profile_intervals, profile_terms  # noqa: F401 - a statistic as well
from algorithms.numerics.regression_by_cohort import own_regression, with_cohorts
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import RegressionResult
from algorithms.numerics.regression_sums import (  # noqa: F401 - the statistics that this analysis may ask
    cohort_intercept,
    newton_terms,
    preparation,
    sandwich_terms,
    shape_terms,
)
from cohortium.analysis import Rounds, analysis
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array


class GlmParams(RegressionOptions):
    """What to fit, and how."""

    family: FamilyName = Field(
        "gaussian", description="The distribution of the outcome; negative_binomial has variance mu + alpha mu^2."
    )
    link: LinkName | None = Field(
        None,
        description="What is linear in the covariates. gaussian: identity, log; binomial: logit, probit, cloglog, log, "
        "identity; poisson and gamma: log, identity; negative_binomial: log. The first is the default.",
    )
    quasi: bool = Field(
        False, description="Estimate the dispersion of a binomial or poisson outcome from Pearson's statistic."
    )

    intervals: Literal["wald", "profile"] = Field(
        "wald", description="profile: also profile-likelihood intervals, better than Wald's with few people or events."
    )
    drop1: bool = Field(
        False, description="Also test each term against the model without it, as R's drop1: likelihood ratio, or F."
    )
    penalty: Literal["firth"] | None = Field(
        None, description="firth: finite estimates where some group has only one outcome (binomial, logit)."
    )

    @cached_property
    def distribution(self) -> Family:
        """The family with its link."""
        if self.penalty is not None:
            return PenalisedLogit()
        links = LINKS[self.family]
        return links[self.link] if self.link else next(iter(links.values()))

    @property
    def estimates_dispersion(self) -> bool:
        """Whether standard errors have a dispersion in them that is estimated."""
        return self.quasi or self.distribution.has_dispersion

    @property
    def can_be_penalised(self) -> bool:
        """Whether a penalised likelihood is a remedy for a maximum at infinity."""
        return (self.family, self.distribution.link) == ("binomial", "logit") and self.design.weights is None

    @property
    def penalised(self) -> bool:
        """Whether the likelihood has Firth's penalty."""
        return self.penalty is not None

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a model cannot take."""
        if self.link is not None and self.link not in LINKS[self.family]:
            raise InvalidQuestion(
                f"A {self.family} model has no {self.link} link here. Choose {' or '.join(LINKS[self.family])}."
            )
        if self.quasi and self.family not in {"binomial", "poisson"}:
            raise InvalidQuestion(f"quasi is for binomial and poisson: a {self.family} model estimates its dispersion.")
        if self.family == "negative_binomial" and self.errors in {"HC2", "HC3"}:
            raise InvalidQuestion("A negative binomial model has no leverages: ask for HC0, HC1 or 'cluster'.")
        if self.family == "negative_binomial" and self.cohort_effect == "dummies":
            raise InvalidQuestion("Intercepts per cohort are not reported for a negative binomial model.")
        if self.penalty is not None and (self.family, self.link or "logit") != ("binomial", "logit"):
            raise InvalidQuestion("penalty='firth' is for a binomial outcome with logit link.")
        if self.penalty is not None and (self.weights or self.sampling_weights or self.errors != "model" or self.quasi):
            raise InvalidQuestion("penalty='firth' goes with unweighted rows and the model's standard errors.")
        if self.penalty is not None and (self.compare is not None or self.cohort_effect == "dummies"):
            raise InvalidQuestion("penalty='firth' takes neither `compare` nor cohort_effect='dummies'.")
        super().check()
        self._check_likelihood()

    def _check_likelihood(self) -> None:
        """Raises InvalidQuestion where profile intervals or tests of terms need a likelihood that is not there."""
        if self.intervals == "profile" and (self.penalised or self.family == "negative_binomial"):
            raise InvalidQuestion("Profile intervals are for models without a penalty or a second parameter.")
        if (self.drop1 or self.intervals == "profile") and (self.errors != "model" or self.sampling_weights):
            raise InvalidQuestion(
                "drop1 and profile intervals go by the likelihood, which robust standard errors do not rely on: ask "
                "for std_errors='model', or look at the Wald tests of the terms."
            )
        if self.drop1 and (self.penalised or not self.formula.intercept):
            raise InvalidQuestion("drop1 takes a model with an intercept and without a penalty.")


def own_estimates(
    data: Data, params: GlmParams, *, coefficients: Array, centre: Array, per_unit: Array, units: Array, knots: Array
) -> OwnFit:
    """A cohort's own fit and its part in the pooled one: asked per cohort, of those that release their own figures."""
    broadcast = {"coefficients": coefficients, "centre": centre, "per_unit": per_unit, "units": units, "knots": knots}
    return own_regression(data, params, glm, broadcast)


@analysis
def glm(params: GlmParams) -> Rounds[RegressionResult]:
    """Generalised linear model.

    How does the outcome change with the covariates: a difference in means (gaussian), an odds ratio (binomial), a rate
    ratio (poisson, negative binomial) or a ratio of means (gamma)? The mean mu of the outcome follows
    link(mu) = X beta + offset.

    With cohort_effect "stratified" every cohort has an intercept of its own, which it works out and keeps: the fit is
    that of a model with a fixed effect per cohort. With "common" the fit equals that on the pooled records. Risk ratios
    of a frequent outcome: poisson with std_errors "HC0" (modified Poisson; Zou 2004, Am J Epidemiol 159:702), which
    converges where binomial with link "log" does not.

    Maximum likelihood by Newton's method on sums. Standard errors go by the expected information, as in R; those of a
    negative binomial by the observed information of coefficients and alpha together (R's glm.nb takes alpha as known).
    Source: McCullagh & Nelder (1989), Generalized Linear Models.
    """
    climb = yield from Climb.prepared(params)
    fit = yield from (penalised_fit(climb) if params.penalty else climb.fit(climb.kept))
    found = yield from estimate(climb, fit)
    more = {
        "drop1": (yield from drop_one(found)) if params.drop1 else {},
        "profile": (yield from profile_intervals(found)) if params.intervals == "profile" else {},
    }
    return (yield from with_cohorts(regression_result(found).model_copy(update=more), found, own_estimates))
