"""Health at the baseline visit: way of life, body, blood, and the diseases that a person has.

Each step adds columns (shape (people,)) that later ones build on. What has no effects in `true_effects.py` has
plausible, uncalibrated numbers here. Blood pressure and lipids are as they would be without medication, so that
treatment hides no effect.
"""

from __future__ import annotations

import numpy as np

from simulation.cohorts import true_effects
from simulation.cohorts.columns import Columns, Floats
from simulation.cohorts.effects import Effects
from simulation.cohorts.families import TRAITS
from simulation.cohorts.recording import chance, recorded

NEVER, FORMER, CURRENT = 0, 1, 2  # levels of `smoking`


def add_health(rng: np.random.Generator, people: Columns, shared: Floats, year: Floats) -> Columns:
    """Add everything measured or asked at baseline.

    people has age, sex, education and origin; shared comes from `draw_families`; year is the calendar year of the
    visit, shape (people,). Returns what lasts of each person's blood pressure and log BMI until the next visit.
    """
    inherited = dict(zip(TRAITS, shared.transpose(1, 0, 2), strict=True))
    _add_way_of_life(rng, people, year)
    lasting: Columns = {"bmi": _add_body(rng, people, inherited)}
    lasting["sbp"] = _add_blood_pressure(rng, people, inherited["sbp"])
    _add_lipids(rng, people, inherited["ldl"])
    _add_diseases(rng, people)
    _add_treatment(rng, people)
    _add_other_blood(rng, people)
    _add_own_judgement(rng, people)
    return lasting


def stature(age: Floats) -> Floats:
    """Height as a share of what it will be when grown up."""
    return np.interp(age, (0, 2, 6, 10, 14, 17), (0.30, 0.50, 0.67, 0.80, 0.92, 1.0))


def childs_log_bmi(age: Floats) -> Floats:
    """The log of BMI relative to what the adults' formula gives at this age."""
    return np.interp(age, (0, 1, 6, 10, 14, 18), (-0.33, -0.16, -0.26, -0.21, -0.12, 0.0))


def lasting_part(rng: np.random.Generator, effects: Effects, inherited: Floats) -> Floats:
    """What the coefficients leave unexplained and stays from visit to visit: genes, household, person."""
    spread, (genes, household) = effects.spread, inherited
    own = rng.standard_normal(len(genes))
    kept: Floats = spread["genes"] * genes + spread["household"] * household + spread["person"] * own
    return kept


def _add_way_of_life(rng: np.random.Generator, people: Columns, year: Floats) -> None:
    age = people["age"].astype(float)
    n, male, adult = len(age), people["sex"] == 1, age >= 16
    trend = true_effects.SMOKING_TREND * np.clip(2024 - year, 0, true_effects.SMOKING_TREND_YEARS)
    young = np.interp(age, (13, 18), (-3.0, 0.0))
    now = chance(rng, true_effects.SMOKING_NOW.predictor(people) + trend + young) & (age >= 13)
    before = chance(rng, -3.2 + 0.045 * age) & (age >= 18) & ~now
    people["smoking"] = np.where(now, CURRENT, np.where(before, FORMER, NEVER)).astype(np.int8)
    smoked = np.maximum(age - 17, 0.5) * np.where(now, 1.0, 0.5) * (now | before)
    people["pack_years"] = recorded("pack_years", smoked * rng.gamma(2.0, 0.25, n))
    glasses = rng.gamma(1.3, np.where(male, 6.2, 4.0)) * (rng.random(n) < 0.78) * adult
    people["alcohol"] = recorded("alcohol", glasses)
    people["activity"] = recorded("activity", rng.gamma(1.5, 170.0, n))


def _add_body(rng: np.random.Generator, people: Columns, inherited: dict[str, Floats]) -> Floats:
    age = people["age"].astype(float)
    n, male = len(age), people["sex"] == 1
    genes, household = inherited["height"]
    grown = np.where(male, 182.5, 169.0) - 0.08 * np.maximum(age - 30, 0)
    grown += 6.6 * (np.sqrt(0.8) * genes + np.sqrt(0.1) * household + np.sqrt(0.1) * rng.standard_normal(n))
    height = recorded("height", grown * stature(age))
    lasting = lasting_part(rng, true_effects.LOG_BMI, inherited["bmi"])
    log_bmi = true_effects.LOG_BMI.predictor(people) + lasting + childs_log_bmi(age)
    log_bmi += true_effects.LOG_BMI.spread["visit"] * rng.standard_normal(n)
    metres = height / 100
    weight = recorded("weight", np.exp(log_bmi) * metres**2)
    bmi = recorded("bmi", weight / metres**2)
    waist = 0.22 * height + 2.1 * bmi + np.where(male, 6.0, -1.0) + 0.1 * age + rng.normal(0.0, 4.5, n) - 4.0
    people |= {"height": height, "weight": weight, "bmi": bmi, "waist": recorded("waist", waist)}
    return lasting


def _add_blood_pressure(rng: np.random.Generator, people: Columns, inherited: Floats) -> Floats:
    n = len(people["age"])
    lasting = lasting_part(rng, true_effects.SBP, inherited)
    visit = true_effects.SBP.spread["visit"] * rng.standard_normal(n)
    sbp = recorded("sbp", true_effects.SBP.predictor(people) + lasting + visit)
    people |= {"sbp": sbp, "dbp": diastolic(rng, sbp)}
    return lasting


def diastolic(rng: np.random.Generator, sbp: Floats) -> Floats:
    """Diastolic pressure (mm[Hg]) that goes with a systolic one, at least 15 below it."""
    return recorded("dbp", np.minimum(32.0 + 0.34 * sbp + rng.normal(0.0, 6.5, len(sbp)), sbp - 15.0))


def _add_lipids(rng: np.random.Generator, people: Columns, inherited: Floats) -> None:
    n = len(people["age"])
    ldl = np.maximum(true_effects.LDL.predictor(people) + lasting_part(rng, true_effects.LDL, inherited), 0.2)
    hdl = recorded(
        "hdl", true_effects.HDL.predictor(people) + true_effects.HDL.spread["person"] * rng.standard_normal(n)
    )
    log_tg = -0.9 + 0.035 * people["bmi"] + 0.12 * people["sex"] + 0.1 * (people["smoking"] == CURRENT)
    triglycerides = recorded("triglycerides", np.exp(log_tg + rng.normal(0.0, 0.42, n)))
    total = recorded("chol_total", ldl + hdl + triglycerides / 2.2)
    # LDL is what the laboratory works out of the others (mmol/L): Friedewald, Levy & Fredrickson (1972).
    ldl = recorded("ldl", total - hdl - triglycerides / 2.2)
    people |= {"chol_total": total, "hdl": hdl, "ldl": ldl, "triglycerides": triglycerides}


def _add_diseases(rng: np.random.Generator, people: Columns) -> None:
    people["diabetes"] = chance(rng, true_effects.DIABETES.predictor(people))
    people["cvd_history"] = chance(rng, true_effects.CVD_HISTORY.predictor(people))


def _add_treatment(rng: np.random.Generator, people: Columns) -> None:
    age, sbp, ill = people["age"], people["sbp"], people["diabetes"] + 1.0 * people["cvd_history"]
    people["bp_medication"] = chance(rng, -10.3 + 0.06 * age + 0.04 * sbp + 0.5 * ill)
    high = (sbp >= 140) | (people["dbp"] >= 90)
    people["hypertension"] = high | people["bp_medication"]
    people["lipid_medication"] = chance(rng, -6.5 + 0.06 * age + 0.2 * people["ldl"] + 1.3 * ill)


def _add_other_blood(rng: np.random.Generator, people: Columns) -> None:
    age, n, diabetes = people["age"], len(people["age"]), people["diabetes"]
    glucose = 5.1 + 0.008 * (age - 50) + 0.02 * (people["bmi"] - 25) + rng.normal(0.0, 0.45, n)
    people["glucose"] = recorded("glucose", glucose + diabetes * rng.gamma(2.0, 1.2, n))
    hba1c = 36.0 + 0.06 * (age - 50) + rng.normal(0.0, 2.6, n)
    people["hba1c"] = recorded("hba1c", hba1c + diabetes * rng.gamma(2.5, 5.0, n))
    adult = np.where(people["sex"] == 1, 83.0, 67.0) + 0.1 * (age - 50) + rng.normal(0.0, 12.0, n)
    people["creatinine"] = recorded("creatinine", adult * np.interp(age, (0, 18), (0.35, 1.0)))


def _add_own_judgement(rng: np.random.Generator, people: Columns) -> None:
    burden = 0.025 * (people["age"] - 45) + 0.05 * (people["bmi"] - 25) + 0.8 * people["cvd_history"]
    burden += 0.6 * people["diabetes"] - 0.35 * np.maximum(people["education"], 0)
    felt = burden + rng.logistic(size=len(burden))
    people["self_rated_health"] = ((felt > -1.6).astype(np.int8) + (felt > 1.2)).astype(np.int8)
