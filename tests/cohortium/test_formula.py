"""The closed grammar: what it accepts, what it means, and where it points when it refuses."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError
from cohortium.formula import Call, Formula, Name, Power, Surv

DICTIONARY = Dictionary.model_validate(
    {"name": "d", "version": "1", "variables": {n: {"type": "number"} for n in ("bmi", "age", "py")}}
)


def terms(text: str) -> list[str]:
    return [str(t) for t in Formula(text).terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y ~ a + b", ["a", "b"]),
        ("y ~ a*b", ["a", "b", "a:b"]),
        ("y ~ a*b*c", ["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"]),
        ("y ~ a:b + a", ["a", "a:b"]),
        ("y ~ a:b + b:a", ["a:b"]),
        ("y ~ a + a", ["a"]),
        ("y ~ a:a", ["a"]),
        ("y ~ a:b*c", ["c", "a:b", "a:b:c"]),
        ("y ~ 1", []),
        ("y ~ x^2 + log(x)^0.5 + sqrt(exp(x))", ["x^2", "log(x)^0.5", "sqrt(exp(x))"]),
        ("y ~ rcs(age, 4) + rcs(age, [1, 2.5, 3])", ["rcs(age, 4)", "rcs(age, [1, 2.5, 3])"]),
        ("y ~ cut(age, [-1, 40, 6e1]):sex", ["cut(age, [-1, 40, 60]):sex"]),
        ("  y~ph.ecog+ wt_loss  ", ["ph.ecog", "wt_loss"]),
        ("y ~ offset + log", ["offset", "log"]),
    ],
)
def test_terms(text, expected):
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "intercept"),
    [
        ("y ~ a", True),
        ("y ~ a - 1", False),
        ("y ~ 0 + a", False),
        ("y ~ -1 + a", False),
        ("y ~ 1 + a", True),
        ("y ~ 0", False),
    ],
)
def test_intercept(text, intercept):
    assert Formula(text).intercept is intercept


def test_specials():
    formula = Formula(
        "Surv(start, stop, event) ~ a + strata(centre) + cluster(id) + offset(log(py)) + (1 + days | subject)"
    )
    assert formula.response == Surv(time=Name("stop"), event=Name("event"), start=Name("start"))
    assert formula.strata == (Name("centre"),)
    assert formula.clusters == (Name("id"),)
    assert formula.offsets == (Call("log", Name("py")),)
    (random,) = formula.random
    assert str(random) == "(1 + days | subject)"
    assert [n.name for n in formula.names] == ["start", "stop", "event", "a", "centre", "id", "py", "days", "subject"]


def test_response_may_be_transformed_or_absent():
    assert Formula("log(y)^2 ~ a").response == Power(Call("log", Name("y")), 2.0)
    assert Formula("~ a").response is None


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("bmi ~ age +", 11, "a variable"),
        ("bmi ~ age + f(x)", 12, "no function `f`"),
        ("bmi ~ I(age)", 6, "no function `I`"),
        ("bmi ~ age - sex", 12, "only the intercept"),
        ("bmi ~ age ; drop", 10, "no meaning"),
        ("bmi ~ __import__", 6, "no meaning"),
        ("bmi ~ a b", 8, "found `b`"),
        ("bmi", 3, "Expected `~`"),
        ("", 0, "a variable"),
        ("y ~ x ~ z", 6, "found `~`"),
        ("Surv(a) ~ b", 6, "Surv(time, event)"),
        ("y ~ cut(x, [3, 1])", 11, "increasing"),
        ("y ~ rcs(x, 2)", 11, "3 to 7 knots"),
        ("y ~ offset(", 11, "a variable"),
        ("y ~ (a + b):c", 10, "`|`"),
        ("y ~ log()", 8, "a variable"),
        ("y ~ 2*x", 4, "a variable"),
    ],
)
def test_errors_point_at_the_character(text, position, words):
    with pytest.raises(FormulaError) as caught:
        Formula(text)
    assert caught.value.position == position
    assert words in caught.value.message
    if text:
        assert str(caught.value).splitlines()[2] == "  " + " " * position + "^"


def test_unknown_variable_points_and_suggests():
    with pytest.raises(FormulaError) as caught:
        Formula("bmi ~ agee + py").check_names(DICTIONARY)
    assert caught.value.position == 6
    assert "Did you mean `age`?" in caught.value.message


def test_is_a_field_of_a_pydantic_model():
    class Model(BaseModel):
        formula: Formula

    model = Model.model_validate({"formula": "bmi ~ age"})
    assert Model.model_validate_json(model.model_dump_json()) == model
    assert Model.model_json_schema()["properties"]["formula"]["type"] == "string"
    with pytest.raises(FormulaError):
        Model.model_validate({"formula": "bmi ~ nobody"}, context={"dictionary": DICTIONARY})


def test_too_much_is_refused():
    with pytest.raises(FormulaError, match="2000 characters"):
        Formula("y ~ " + "+".join(["a"] * 2000))
    with pytest.raises(FormulaError, match="crossed"):
        Formula("y ~ " + "*".join("abcdefghij"))


def test_deep_nesting_parses():
    assert str(Formula("y ~ " + "log(" * 300 + "x" + ")" * 300).terms[0]).count("log") == 300


@given(st.text(max_size=60))
def test_any_text_parses_or_fails_as_a_formula_error(text):
    try:
        Formula(text)
    except FormulaError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017


@given(st.text(alphabet=string.ascii_lowercase[:4] + " +-*:^~(),|[]01.", max_size=40).map(lambda t: "y ~ " + t))
def test_almost_formulas_parse_or_fail_as_a_formula_error(text):
    try:
        again = Formula(str(Formula(text)))
    except FormulaError:
        return
    assert again == Formula(text)
