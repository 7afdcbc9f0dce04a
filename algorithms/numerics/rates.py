"""Rates of events per person-time, their standardisation, and exact limits."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from cohortium.quantities import Array


class Rate(BaseModel):
    """Events per person-year with confidence limits."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    rate: float = Field(description="Events per person-year.")
    std_error: float = Field(description="Its standard error.")
    ci_low: float = Field(description="Lower confidence limit.")
    ci_high: float = Field(description="Upper confidence limit.")


class RateRatio(BaseModel):
    """How many times one rate another is."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    baseline: str = Field(description="Whose rate stands below the line.")
    ratio: float = Field(description="The ratio.")
    ci_low: float = Field(description="Lower confidence limit.")
    ci_high: float = Field(description="Upper confidence limit.")
    p_value: float = Field(description="Test that the rates are equal (Wald, on the log scale).")


class Standardised(BaseModel):
    """Observed events against those that reference rates lead one to expect: SIR, or SMR where the event is death."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    observed: int = Field(description="Events in the bands that have a reference rate.")
    expected: float = Field(description="Events expected there by the reference rates.")
    ratio: float = Field(description="Observed by expected.")
    ci_low: float = Field(description="Lower exact Poisson limit; the reference rates count as known.")
    ci_high: float = Field(description="Upper exact Poisson limit.")


def crude(events: float, person_years: float, level: float) -> Rate | None:
    """The rate with exact Poisson limits (Garwood 1936, Biometrika 28:437); None without person-time."""
    if person_years <= 0:
        return None
    low, high = poisson_limits(events, level)
    error = math.sqrt(events) / person_years
    return Rate(rate=events / person_years, std_error=error, ci_low=low / person_years, ci_high=high / person_years)


def directly_standardised(events: Array, person_years: Array, weights: Array, level: float) -> Rate:
    """The rate in a population with `weights` (bands,), with gamma limits; every band must have person-time.

    Source: Fay & Feuer (1997), Stat Med 16:791.
    """
    share = weights / weights.sum()
    rate, variance = float(share @ (events / person_years)), float(share**2 @ (events / person_years**2))
    largest, tail = float(np.max(share / person_years)), 0.5 - level / 2
    low = 0.0 if rate == 0 else _gamma_quantile(tail, rate, variance)
    high = _gamma_quantile(1 - tail, rate + largest, variance + largest**2)
    return Rate(rate=rate, std_error=math.sqrt(variance), ci_low=low, ci_high=high)


def indirectly_standardised(observed: float, expected: float, level: float) -> Standardised | None:
    """Observed by expected with exact Poisson limits; None if nothing is expected."""
    if expected <= 0:
        return None
    low, high = poisson_limits(observed, level)
    return Standardised(
        observed=round(observed),
        expected=expected,
        ratio=observed / expected,
        ci_low=low / expected,
        ci_high=high / expected,
    )


def ratio(of: Rate, to: Rate, baseline: str, level: float) -> RateRatio | None:
    """One rate by another, with Wald limits on the log scale; None if one of them is 0.

    For crude rates this is the rate ratio of a Poisson regression.
    """
    if of.rate <= 0 or to.rate <= 0:
        return None
    log, error = math.log(of.rate / to.rate), math.hypot(of.std_error / of.rate, to.std_error / to.rate)
    half = float(special.ndtri(0.5 + level / 2)) * error
    return RateRatio(
        baseline=baseline,
        ratio=math.exp(log),
        ci_low=math.exp(log - half),
        ci_high=math.exp(log + half),
        p_value=float(2 * special.ndtr(-abs(log) / error)),
    )


def poisson_limits(events: float, level: float) -> tuple[float, float]:
    """Exact limits of the mean of a Poisson count."""
    tail = 0.5 - level / 2
    low = float(special.gammaincinv(events, tail)) if events > 0 else 0.0
    return low, float(special.gammaincinv(events + 1, 1 - tail))


def _gamma_quantile(p: float, mean: float, variance: float) -> float:
    return variance / mean * float(special.gammaincinv(mean**2 / variance, p))
