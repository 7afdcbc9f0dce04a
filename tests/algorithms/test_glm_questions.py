"""Questions that a generalised linear model cannot answer, and where it says so."""

import numpy as np
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from test_glm_limits import people, three

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import FormulaError, InvalidQuestion, NotConverged


class TestWrongQuestions:
    @pytest.mark.parametrize(
        ("formula", "family", "position"),
        [
            ("bmi ~ age + log(sex)", "gaussian", 16),
            ("bmi ~ sex^2", "gaussian", 6),
            ("bmi ~ cut(sex, [1])", "gaussian", 10),
            ("bmi ~ age + rcs(age, 4)", "gaussian", 12),
            ("bmi ~ age + strata(sex)", "gaussian", 19),
            ("bmi ~ age + cluster(sex) + cluster(ill)", "gaussian", 35),
            ("bmi ~ age + (1 | sex)", "gaussian", 17),
            ("bmi ~ age + offset(sex)", "gaussian", 19),
            ("bmi ~ heigth", "gaussian", 6),
            ("sex ~ age", "gaussian", 0),
            ("sex ~ age", "poisson", 0),
            ("bmi ~ age", "binomial", 0),
            ("~ age", "gaussian", 0),
            ("Surv(age, ill) ~ sex", "gaussian", 5),
            ("bmi ~ person", "gaussian", 6),
            ("bmi ~ age + country", "gaussian", 12),
        ],
    )
    def test_points_at_the_character(self, ask, formula, family, position):
        dictionary = Dictionary(
            name="d",
            version="1",
            variables={
                "age": Variable(type="number"),
                "bmi": Variable(type="number"),
                "ill": Variable(type="boolean"),
                "person": Variable(type="identifier"),
                "country": Variable(type="category", categories=(Category(value="nl"),)),
                "sex": Variable(type="category", categories=(Category(value="f"), Category(value="m"))),
            },
        )
        frame = people()[["age", "bmi", "sex", "ill"]].assign(person="p", country="nl")
        with pytest.raises(FormulaError) as raised:
            ask("glm", three(frame), dictionary=dictionary, formula=formula, family=family, cohort_effect="common")
        assert raised.value.position == position

    def test_no_intercept_of_its_own_without_intercept(self, ask):
        with pytest.raises(InvalidQuestion, match="its own intercept"):
            ask("glm", three(people()), formula="bmi ~ 0 + age", family="gaussian")

    def test_unknown_family(self, ask):
        with pytest.raises(InvalidQuestion, match="family"):
            ask("glm", three(people()), formula="bmi ~ age", family="tweedie")

    @pytest.mark.parametrize("expression", ["log(dose)", "dose^-1", "log(dose):sex"])
    def test_a_transformation_that_is_not_finite_names_itself_and_no_value(self, ask, expression):
        frame = people()
        frame.loc[17, "dose"] = 0.0
        with pytest.raises(FormulaError, match="is not a finite number for every row") as raised:
            ask("glm", three(frame), formula=f"bmi ~ {expression}", family="gaussian", cohort_effect="common")
        assert expression.split(":")[0] in raised.value.message
        assert raised.value.position == 6

    @pytest.mark.parametrize("bad", [-1.0, 2.5])
    def test_counts_are_whole_and_not_negative(self, ask, bad):
        frame = people().astype({"visits": float})
        frame.loc[5, "visits"] = bad
        with pytest.raises(InvalidQuestion, match=r"`visits` of a poisson model must be whole") as raised:
            ask("glm", three(frame), formula="visits ~ age", family="poisson")
        assert str(bad) not in raised.value.message

    def test_large_counts_without_an_intercept(self, ask):
        frame = people().assign(visits=lambda f: (40 * f["age"]).round().astype(int))
        result = ask("glm", three(frame), formula="visits ~ 0 + dose", family="poisson", cohort_effect="common")
        pooled = smf.glm("visits ~ 0 + dose", frame, family=sm.families.Poisson()).fit(tol=1e-14, maxiter=500)
        np.testing.assert_allclose(result.coefficients["dose"].estimate, pooled.params["dose"], rtol=1e-9)
        np.testing.assert_allclose(result.deviance, pooled.deviance, rtol=1e-9)

    def test_too_few_iterations_give_no_numbers(self, ask):
        with pytest.raises(NotConverged, match="no numbers"):
            ask("glm", three(people()), formula="ill ~ age", family="binomial", max_iterations=1)

    def test_an_event_is_the_second_category(self, ask):
        frame = people().assign(state=lambda f: np.where(f["ill"], "yes", "no"))
        asked = {"family": "binomial", "cohort_effect": "common"}
        by_text = ask("glm", three(frame), formula="state ~ age", **asked)
        assert by_text.coefficients == ask("glm", three(frame), formula="ill ~ age", **asked).coefficients
