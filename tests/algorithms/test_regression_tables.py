"""How a regression is shown."""

import numpy as np
from datasets import split
from test_glm import people


def test_ratios_have_a_table_of_their_own_and_nothing_wraps(ask):
    result = ask("glm", split(people(400), "mod3"), formula="ill ~ age * sex + arm", family="binomial")
    coefficients, ratios = result.tables()[:2]
    assert ratios.title == "Odds ratios"
    assert ratios.columns == ("term", "odds ratio", "95% CI low", "95% CI high", "p")
    for (name, *numbers), (term, *shown) in zip(coefficients.rows, ratios.rows, strict=True):
        assert name == term
        np.testing.assert_allclose(shown[:3], np.exp([numbers[0], numbers[4], numbers[5]]))
    lines = result.summary().splitlines()
    assert max(map(len, lines)) <= 110
    # Once per table, on one line each: no name and no heading is cut in two.
    assert sum(line.split()[:1] == ["age:sex[male]"] for line in lines) == 2
    assert sum("95% CI high" in line for line in lines) == 2


def test_exp_of_an_intercept_is_no_ratio(ask):
    result = ask("glm", split(people(400), "mod3"), formula="visits ~ age", family="poisson", cohort_effect="common")
    assert [row[0] for row in result.tables()[0].rows] == ["(Intercept)", "age"]
    assert result.tables()[1].title == "Rate ratios"
    assert [row[0] for row in result.tables()[1].rows] == ["age"]


def test_family_is_gaussian_unless_told_otherwise(ask):
    result = ask("glm", split(people(200), "mod3"), formula="bmi ~ age")
    assert (result.family, result.link) == ("gaussian", "identity")
    assert [table.title for table in result.tables()] == ["Coefficients"]
