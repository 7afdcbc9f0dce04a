"""Phrases that the methods texts of several analyses share."""

from __future__ import annotations

from types import MappingProxyType

INTERCEPTS = MappingProxyType(
    {
        "stratified": "with an intercept of its own for every cohort (profiled out where the cohort is)",
        "common": "with one intercept for all cohorts, as if records were pooled",
        "dummies": "with an estimated fixed intercept for every cohort",
        "random": "with a normally distributed random intercept for every cohort",
    }
)
BASELINES = MappingProxyType(
    {
        "stratified": "with a baseline hazard of its own for every cohort",
        "common": "with one baseline hazard for all cohorts, as if records were pooled",
    }
)
STANDARD_ERRORS = MappingProxyType(
    {
        "model": "model-based standard errors",
        "HC0": "standard errors robust to the variance (HC0; White 1980, Econometrica 48:817)",
        "HC1": "standard errors robust to the variance (HC1; MacKinnon & White 1985, J Econom 29:305)",
        "HC2": "standard errors robust to the variance (HC2; MacKinnon & White 1985, J Econom 29:305)",
        "HC3": "standard errors robust to the variance (HC3; MacKinnon & White 1985, J Econom 29:305)",
        "CR0": "cluster-robust standard errors (CR0; Liang & Zeger 1986, Biometrika 73:13)",
        "CR1": "cluster-robust standard errors, corrected for few clusters (CR1; Liang & Zeger 1986, Biometrika 73:13)",
    }
)


def intercepts(effect: str | None) -> str:
    """How differences between cohorts were modelled, after a comma."""
    return f", {INTERCEPTS[effect]}" if effect else ""


def interval(level: float) -> str:
    """The kind of interval: `95% Wald intervals`."""
    return f"{100 * level:g}% Wald intervals"
