"""The people generated beside the published figures that they are calibrated to."""

import numpy as np
import pyarrow.compute as pc
import pytest

from simulation import cohorts
from simulation.cohorts import calibration, figures, life

PEOPLE = 600_000


@pytest.fixture(scope="module")
def netherlands():
    return cohorts.people("netherlands", PEOPLE, seed=20)


@pytest.fixture(scope="module")
def age(netherlands):
    return netherlands["age"].to_numpy()


def text(table, name):
    return table[name].cast("string").to_numpy(zero_copy_only=False)


def close(figure, group, measured, sampling_error):
    """Within the stated tolerance, and what chance adds to it (three standard errors)."""
    published = figure.values[group] / (1000 if "1,000" in figure.what else 1)
    tolerance = figure.tolerance * published if figure.relative else figure.tolerance
    tolerance = tolerance / 1000 if "1,000" in figure.what and not figure.relative else tolerance
    assert abs(measured - published) <= tolerance + 3 * sampling_error, (figure.what, group, measured, published)


@pytest.mark.parametrize("group", figures.POPULATION.values)
def test_population_by_age(age, group):
    low, high = figures.band(group)
    share = figures.POPULATION.values[group] / sum(figures.POPULATION.values.values())
    assert np.mean((age >= low) & (age < high)) == pytest.approx(share, rel=figures.POPULATION.tolerance)


def test_smokers(netherlands, age):
    adults = age >= 18
    share = np.mean(text(netherlands, "smoking")[adults] == "current")
    close(figures.SMOKERS, "current", share, 0)


@pytest.mark.parametrize(("group", "above"), [("overweight", 25), ("obesity", 30)])
def test_weight(netherlands, age, group, above):
    close(figures.WEIGHT, group, np.mean(netherlands["bmi"].to_numpy()[age >= 18] >= above), 0)


@pytest.mark.parametrize("level", figures.EDUCATION.values)
def test_education(netherlands, age, level):
    asked = (age >= 15) & (age < 75)
    close(figures.EDUCATION, level, np.mean(text(netherlands, "education")[asked] == level), 0)


@pytest.mark.parametrize("group", figures.DIABETES.values)
def test_diabetes_by_age_and_sex(netherlands, age, group):
    low, high = figures.band(group)
    rows = (age >= low) & (age < high) & (text(netherlands, "sex") == group.split()[0])
    expected = figures.DIABETES.values[group] / 1000
    share = pc.mean(netherlands["diabetes"].filter(rows).cast("float64")).as_py()
    close(figures.DIABETES, group, share, np.sqrt(expected / rows.sum()))


def test_new_diabetes_in_the_first_year(netherlands):
    new = pc.and_(netherlands["t2d_event"], pc.less_equal(netherlands["t2d_time"], 365))
    rate = pc.sum(new).as_py() / PEOPLE
    close(figures.NEW_DIABETES, "all", rate, np.sqrt(0.0035 / PEOPLE))


def test_life_expectancy_of_the_true_hazards():
    people = calibration.sample(400_000, seed=3, every_age=True)
    for code, sex in enumerate(("female", "male")):
        years = life.life_expectancy(calibration.yearly_hazards(people, code))
        assert years == pytest.approx(figures.LIFE_EXPECTANCY.values[sex], abs=figures.LIFE_EXPECTANCY.tolerance)


def test_life_expectancy_of_the_deaths(netherlands, age):
    """The life table that a demographer would make of the first year of follow-up."""
    days = netherlands["followup_time"].to_numpy()
    died = netherlands["death"].to_numpy() & (days <= 365)
    # Half of a person's first year is lived at the age of the next year, on average, so ages are taken in the middle.
    attained = np.minimum((age + 0.5).astype(int), 99)
    for sex, years in figures.LIFE_EXPECTANCY.values.items():
        mine = text(netherlands, "sex") == sex
        deaths = np.bincount(attained[mine], died[mine], 100)
        lived = np.bincount(attained[mine], np.minimum(days[mine], 365) / 365.25, 100)
        hazards = np.maximum(deaths, 1e-9) / lived
        error = np.std([life.life_expectancy(_again(deaths, seed) / lived) for seed in range(40)])
        assert 0.05 < error < 0.6
        assert life.life_expectancy(hazards) == pytest.approx(years, abs=3 * error + figures.LIFE_EXPECTANCY.tolerance)


def _again(deaths, seed):
    return np.maximum(np.random.default_rng(seed).poisson(deaths), 1e-9)


def test_the_constants_are_what_calibration_gives():
    shifts = calibration.shifts(300_000, seed=99)
    allowed = dict.fromkeys(shifts, 0.03) | {name: 0.08 for name in shifts if "DIABETES.profile" in name}
    assert {name: shift for name, shift in shifts.items() if abs(shift) > allowed[name]} == {}


def test_gompertz_expectancy_agrees_with_its_life_table():
    at_birth, growth = 3e-5, 0.1
    middle = np.arange(0, 130) + 0.5
    assert life.life_expectancy(at_birth * np.exp(growth * middle)) == pytest.approx(
        life.gompertz_expectancy(at_birth, growth), abs=0.02
    )


def test_every_figure_says_where_it_is_from():
    for figure in cohorts.FIGURES:
        assert figure.source
        assert figure.year >= 2017
        assert "check" in figure.provenance or "archived copy" in figure.provenance
