"""Conditions: what the closed grammar accepts, which rows it keeps, and where it points when it refuses."""

import contextlib
import datetime
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from cohortium.analysis import Params
from cohortium.condition import Condition
from cohortium.data import Data
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import CohortiumError, FormulaError
from cohortium.mentioned import variables_of

LEVELS = ("never", "it's over", 'say "current"')
DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "age": Variable(type="number"),
        "visits": Variable(type="integer"),
        "ill": Variable(type="boolean"),
        "smoking": Variable(type="category", categories=tuple(Category(value=v) for v in LEVELS)),
        "seen": Variable(type="date"),
        "person": Variable(type="identifier"),
    },
)
# One row per value, and one without any.
AGE = [-1.5, 0.0, 39.999, 40.0, 1e300, math.nan]
SMOKING = [0, 1, 2, 0, 1, -1]
ILL = [0.0, 1.0, 0.0, 1.0, 0.0, math.nan]
SEEN = ["1969-12-31", "1970-01-01", "2020-02-29", "2020-03-01", "2021-01-01", None]


def days(text):
    return math.nan if text is None else float((datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days)


DATA = Data(
    DICTIONARY,
    {
        "age": np.array(AGE),
        "visits": np.array(AGE),
        "ill": np.array(ILL),
        "smoking": np.array(SMOKING, dtype=np.int32),
        "seen": np.array([days(text) for text in SEEN]),
        "person": np.arange(6, dtype=np.int32),
    },
    6,
)


def kept(text, data=DATA):
    condition = Condition(text)
    condition.check(DICTIONARY)
    return list(np.flatnonzero(condition.keeps(data)))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age >= 40", [3, 4]),
        ("age<40", [0, 1, 2]),
        ("age == 0", [1]),
        ("age != 0", [0, 2, 3, 4]),
        ("age > -1.5e0", [1, 2, 3, 4]),
        ("age in [0, 40]", [1, 3]),
        ("!(age >= 40)", [0, 1, 2]),
        ("!(age in [0, 40])", [0, 2, 4]),
        ("!!(age >= 40)", [3, 4]),
        ("ill", [1, 3]),
        ("!ill", [0, 2, 4]),
        ("ill == false", [0, 2, 4]),
        ("ill != true | ill", [0, 1, 2, 3, 4]),
        ("smoking == 'never'", [0, 3]),
        ("smoking == 'it''s over'", [1, 4]),
        ('smoking == "it\'s over"', [1, 4]),
        ("smoking == 'say \"current\"'", [2]),
        ("smoking != 'never'", [1, 2, 4]),
        ("smoking in ['never', \"it's over\"]", [0, 1, 3, 4]),
        ("seen >= '2020-03-01'", [3, 4]),
        ("seen in ['1970-01-01', '2020-02-29']", [1, 2]),
        ("seen < '1970-01-01'", [0]),
        ("age >= 0 & smoking == 'never' | ill", [1, 3]),
        ("age >= 0 & (smoking == 'never' | ill)", [1, 3]),
        ("age < 0 | age >= 0 & ill", [0, 1, 3]),
        ("(age < 0 | age >= 0) & ill", [1, 3]),
        ("!ill & !(smoking == 'never')", [2, 4]),
    ],
)
def test_rows_that_are_kept(text, rows):
    assert kept(text) == rows


def test_a_missing_value_is_unknown_and_not_false():
    # Row 5 lacks everything; with what is known elsewhere, `|` can be true and `&` can be false.
    data = Data(DICTIONARY, {**DATA.columns, "ill": np.array([1.0, 0, 1, 0, 1, 1])}, 6)
    assert kept("ill | age > 0", data) == [0, 2, 3, 4, 5]
    assert kept("!(ill & age > 0)", data) == [0, 1, 3]
    assert kept("!(!ill & age > 0)", data) == [0, 1, 2, 4, 5]


def test_an_empty_cohort_keeps_nobody():
    empty = Data(DICTIONARY, {name: column[:0] for name, column in DATA.columns.items()}, 0)
    assert kept("age >= 40 & !(smoking in ['never'])", empty) == []


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "a variable"),
        ("age", 0, "a number"),
        ("age >", 5, "a number"),
        ("age > 40 &", 10, "a variable"),
        ("age > 40)", 8, "the end of the condition"),
        ("(age > 40", 9, "`)`"),
        ("age = 40", 4, "`=`"),
        ("age > 40; drop", 8, "`;`"),
        ("age > 1e999", 6, "too large"),
        ("age > 'old'", 6, "a number"),
        ("age > true", 6, "a number"),
        ("aeg > 40", 0, "Did you mean `age`"),
        ("age > visits", 6, "'visits'"),
        ("40 < age", 0, "a variable"),
        ("20 < age < 40", 0, "a variable"),
        ("ill == 1", 7, "true or false"),
        ("ill > false", 0, "boolean"),
        ("smoking == never", 11, "'never'"),
        ("smoking == 'Never'", 11, "no category"),
        ("smoking in ['never', 'sometimes']", 21, "no category"),
        ("smoking < 'never'", 0, "category"),
        ("smoking == 1", 11, "in quotes"),
        ("smoking in []", 12, "a number"),
        ("smoking", 0, "in quotes"),
        ("seen > 2020", 7, "'2020-12-31'"),
        ("seen > '2021-02-29'", 7, "'2020-12-31'"),
        ("seen > '20210228'", 7, "'2020-12-31'"),
        ("person == 3", 0, "identifier"),
        ("person in ['3']", 0, "identifier"),
        ("age > 40 & __import__('os')", 11, "`_`"),
        ("age > 40 & print(1)", 16, "end of the condition"),
        ("age > 'a", 6, "`'`"),
        ("(" * 60 + "ill" + ")" * 60, 51, "brackets"),
        ("!" * 100 + "ill", 51, "brackets"),
        ("age in [" + ", ".join(["1"] * 501) + "]", 7, "500"),
        ("ill" + " & ill" * 400, 0, "2000"),
    ],
)
def test_errors_point_at_the_character(text, position, says):
    with pytest.raises(FormulaError) as caught:
        kept(text)
    assert (caught.value.position, says in caught.value.message) == (position, True), caught.value
    assert CohortiumError.from_problem(caught.value.problem()).position == position


@given(st.text(alphabet="ageil smokn><=!&|()[],'\"0123456789.e-", max_size=60))
def test_any_text_is_a_condition_or_a_formula_error(text):
    with contextlib.suppress(FormulaError):
        kept(text)


@given(st.text(max_size=60))
def test_an_error_points_into_the_text(text):
    with pytest.raises(FormulaError) as caught:
        kept(text + "$")
    assert 0 <= caught.value.position <= len(text)


COLUMNS = {"age": AGE, "ill": ILL, "smoking": SMOKING}
SIGNS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def leaf(name, sign, value):
    """Text, and a function of a row that is True, False, or None where it is not known."""
    quoted = "'" + LEVELS[value].replace("'", "''") + "'" if name == "smoking" else ""
    shown = {"ill": str(bool(value)).lower(), "smoking": quoted}

    def judge(row):
        found = COLUMNS[name][row]
        missing = found == -1 if name == "smoking" else math.isnan(found)
        return None if missing else SIGNS[sign](found, value)

    return f"{name} {sign} {shown.get(name, repr(value))}", judge


def either(parts):
    def judge(row):
        found = [part(row) for _, part in parts]
        return True if True in found else (None if None in found else False)

    return " | ".join(f"({text})" for text, _ in parts), judge


def both(parts):
    def judge(row):
        found = [part(row) for _, part in parts]
        return False if False in found else (None if None in found else True)

    return " & ".join(f"({text})" for text, _ in parts), judge


def negated(part):
    return f"!({part[0]})", lambda row: None if part[1](row) is None else not part[1](row)


LEAVES = st.one_of(
    st.builds(leaf, st.just("age"), st.sampled_from(list(SIGNS)), st.sampled_from([-1.5, 0.0, 40.0, 41.5])),
    st.builds(leaf, st.just("ill"), st.sampled_from(["==", "!="]), st.sampled_from([0, 1])),
    st.builds(leaf, st.just("smoking"), st.sampled_from(["==", "!="]), st.sampled_from([0, 1, 2])),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(either, st.lists(inner, min_size=2, max_size=3)),
        st.builds(both, st.lists(inner, min_size=2, max_size=3)),
        st.builds(negated, inner),
    ),
    max_leaves=12,
)


@given(CONDITIONS)
def test_rows_are_kept_as_three_valued_logic_says(condition):
    text, judge = condition
    assert kept(text) == [row for row in range(6) if judge(row) is True]


class Asked(BaseModel):
    where: Condition | None = None


def test_in_a_model_it_is_text():
    asked = Asked.model_validate({"where": "age >= 40"}, context={"dictionary": DICTIONARY})
    assert asked.model_dump(mode="json") == {"where": "age >= 40"}
    assert Asked.model_validate_json(asked.model_dump_json()) == asked
    assert [name.name for name in Condition("age > 1 & ill | age < 0").names] == ["age", "ill"]
    with pytest.raises(FormulaError, match="no variable"):
        Asked.model_validate({"where": "aeg >= 40"}, context={"dictionary": DICTIONARY})
    with pytest.raises(ValueError, match="a condition is text"):
        Asked(where=3)


def test_a_condition_mentions_variables_that_a_permit_must_name():
    class Described(Params):
        variable: str

    params = Described.bind(
        {"variable": "age", "where": "ill & !(smoking == 'never') | age > 3", "complete": ["seen"]}, DICTIONARY
    )
    assert sorted(variables_of(params)) == ["age", "ill", "seen", "smoking"]
