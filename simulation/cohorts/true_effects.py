"""The true effects: the constants from which every outcome is drawn, so that any estimate can be judged.

Coefficients bear the names that results give to terms, and apply to values as they were recorded (rounded), before any
went missing. Signs and sizes are plausible, not estimates from a study; what is marked CALIBRATED follows from a
published figure (`figures.py`) by `calibration.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulation.cohorts.effects import Effects

SMOKING_NOW = Effects(
    outcome="smoking[current]",
    formula="(smoking is current) ~ age + age^2 + sex + education",
    family="binomial",
    among="18 and over, visited in 2024",
    intercept=-2.2798,  # CALIBRATED to SMOKERS
    coefficients={
        **{"age": 0.06, "age^2": -0.0008, "sex[male]": 0.35},
        **{"education[middle]": -0.05, "education[high]": -0.6},
    },
)
# Log odds per calendar year before 2024. In 2014 about 25.7 % smoked: Trimbos Institute (rokeninfo.nl), from the CBS.
SMOKING_TREND = 0.044
SMOKING_TREND_YEARS = 20  # further back it stays as it was

LOG_BMI = Effects(
    outcome="log(bmi)",
    formula="log(bmi) ~ age + age^2 + sex + education",
    family="gaussian",
    among="18 and over",
    intercept=2.9103,  # CALIBRATED to WEIGHT, and so is the spread
    coefficients={
        **{"age": 0.0125, "age^2": -0.000105, "sex[male]": 0.02},
        **{"education[middle]": -0.02, "education[high]": -0.06},
    },
    spread={"genes": 0.1368, "household": 0.0405, "person": 0.0973, "visit": 0.0203},
    per_year=0.002,
)

SBP = Effects(
    outcome="sbp",
    formula="sbp ~ age + sex + bmi + education + alcohol",
    family="gaussian",
    among="everyone",
    intercept=82.75,
    coefficients={
        **{"age": 0.45, "sex[male]": 5.0, "bmi": 0.75},
        **{"education[middle]": -0.5, "education[high]": -1.5, "alcohol": 0.08},
    },
    spread={"genes": 8.3, "household": 3.1, "person": 6.3, "visit": 8.9},
    per_year=0.45,
)
LDL = Effects(
    outcome="ldl",
    formula="ldl ~ age + sex + bmi",
    family="gaussian",
    among="everyone",
    intercept=2.1,
    coefficients={"age": 0.012, "sex[male]": 0.05, "bmi": 0.02},
    spread={"genes": 0.6, "household": 0.2, "person": 0.55},
)
HDL = Effects(
    outcome="hdl",
    formula="hdl ~ sex + bmi + smoking + alcohol",
    family="gaussian",
    among="everyone",
    intercept=2.17,
    coefficients={
        **{"sex[male]": -0.28, "bmi": -0.022, "smoking[former]": 0.0, "smoking[current]": -0.1, "alcohol": 0.008},
    },
    spread={"person": 0.28},
)

# Log odds of diabetes at these ages, besides the coefficients. CALIBRATED to DIABETES, at the middle of its age groups.
_AGES = (2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 32.5, 37.5, 42.5, 47.5, 52.5, 57.5, 62.5, 67.5, 72.5, 77.5, 82.5, 89.5)
_WOMEN = (
    *(-8.421, -8.018, -7.380, -7.183, -7.022, -6.882, -6.853, -6.372, -6.038),
    *(-5.607, -5.219, -4.844, -4.477, -4.210, -3.852, -3.623, -3.350, -3.313),
)
_MEN = (
    *(-8.648, -7.487, -7.473, -7.343, -7.160, -7.084, -6.794, -6.418, -5.797),
    *(-5.390, -4.994, -4.554, -4.210, -3.864, -3.625, -3.427, -3.356, -3.308),
)

DIABETES = Effects(
    outcome="diabetes",
    formula="diabetes ~ sex by age in straight lines between the ages of `profile` + bmi + education + origin",
    family="binomial",
    among="everyone",
    intercept=0.0,
    coefficients={
        **{"bmi": 0.09, "education[middle]": -0.15, "education[high]": -0.4},
        **{"origin[europe]": 0.1, "origin[outside_europe]": 0.6},
    },
    profile={
        "female": dict(zip(_AGES, _WOMEN, strict=True)),
        "male": dict(zip(_AGES, _MEN, strict=True)),
    },
)
CVD_HISTORY = Effects(
    outcome="cvd_history",
    formula="cvd_history ~ age + sex + smoking + diabetes + bmi",
    family="binomial",
    among="everyone",
    intercept=-8.2,
    coefficients={
        **{"age": 0.075, "sex[male]": 0.6, "smoking[former]": 0.3, "smoking[current]": 0.5},
        **{"diabetes": 0.6, "bmi": 0.03},
    },
)

DEATH = Effects(
    outcome="death",
    formula="Surv(followup_time, death) ~ age + sex + smoking + diabetes + cvd_history + education",
    family="hazard",
    among="everyone",
    intercept=-11.2210,  # CALIBRATED to LIFE_EXPECTANCY, and so is the effect of sex
    coefficients={
        **{"age": 0.096, "sex[male]": 0.2205, "smoking[former]": 0.15, "smoking[current]": 0.65, "diabetes": 0.4},
        **{"cvd_history": 0.55, "education[middle]": -0.1, "education[high]": -0.25},
    },
)
CVD = Effects(
    outcome="cvd_event",
    formula="Surv(cvd_time, cvd_event) ~ age + sex + smoking + sbp + ldl + hdl + diabetes",
    family="hazard",
    among="no cardiovascular disease at baseline",
    intercept=-10.54,
    coefficients={
        **{"age": 0.06, "sex[male]": 0.5, "smoking[former]": 0.15, "smoking[current]": 0.65},
        **{"sbp": 0.012, "ldl": 0.2, "hdl": -0.35, "diabetes": 0.55},
    },
)
TYPE_2_DIABETES = Effects(
    outcome="t2d_event",
    formula="Surv(t2d_time, t2d_event) ~ age + sex + bmi + sbp + education + origin",
    family="hazard",
    among="no diabetes at baseline",
    intercept=-10.3882,  # CALIBRATED to NEW_DIABETES
    coefficients={
        **{"age": 0.03, "sex[male]": 0.15, "bmi": 0.1, "sbp": 0.005, "education[middle]": -0.1},
        **{"education[high]": -0.3, "origin[europe]": 0.1, "origin[outside_europe]": 0.6},
    },
)
CANCER = Effects(
    outcome="cancer_event",
    formula="Surv(cancer_time, cancer_event) ~ age + sex + smoking + alcohol + bmi",
    family="hazard",
    among="everyone",
    intercept=-8.86,
    coefficients={
        **{"age": 0.065, "sex[male]": 0.15, "smoking[former]": 0.15, "smoking[current]": 0.45},
        **{"alcohol": 0.012, "bmi": 0.01},
    },
)

_ALL = (SMOKING_NOW, LOG_BMI, SBP, LDL, HDL, DIABETES, CVD_HISTORY, DEATH, CVD, TYPE_2_DIABETES, CANCER)


def truth() -> Mapping[str, Effects]:
    """The true effects on each outcome, by the outcome's name."""
    return {effects.outcome: effects for effects in _ALL}
