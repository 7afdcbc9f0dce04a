"""`where` and `complete` choose rows at the nodes: as if the others had never been there, and never just a few."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cohortium.analysis import registry
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import FormulaError, InvalidQuestion, Refused, UnknownName
from node.disclosure import Policy
from simulation import cohorts, network
from tests.simulation.test_handbook import FOLDER, handbook

HOLDERS = ("north", "seniors", "twins")
WHERE = "age >= 45 & !(education == 'high')"
EXAMPLES = handbook.examples(FOLDER)


@pytest.fixture(scope="module")
def frames():
    return {name: cohorts.people(name, 1500, seed=3) for name in HOLDERS}


def run(frames, analysis, policy=None, dictionary=cohorts.PEOPLE, **params):
    return network(frames, dictionary, policy).study().run(analysis, **params).result()


def wanted(frame):
    education = pc.cast(frame["education"], pa.string())
    others = pc.and_(pc.is_in(education, pa.array(["low", "middle"])), pc.is_valid(frame["hdl"]))
    return pc.fill_null(pc.and_(pc.greater_equal(frame["age"], 45), others), False)


def told(result):
    """The result, but for what it says of the rows that were not chosen."""
    found = result.model_dump(mode="json", exclude={"where", "complete"})
    excluded = found["exactness"]["excluded"]
    for reason in [reason for reason in excluded if reason.startswith("not (") or "asked to be complete" in reason]:
        del excluded[reason]
    return found


@pytest.mark.parametrize("analysis", list(registry()))
def test_every_analysis_sees_the_chosen_rows_and_no_others(frames, analysis, monkeypatch):
    monkeypatch.setattr("node.noise._gaussian", lambda size, _scale: np.zeros(size))  # noise is never the same
    before = {name: frame.filter(wanted(frame)) for name, frame in frames.items()}
    params = {name: value for name, value in EXAMPLES[analysis].items() if name not in {"where", "complete"}}
    chosen = run(frames, analysis, where=WHERE, complete=["hdl"], **params)
    assert told(chosen) == told(run(before, analysis, **params))  # to the last bit
    assert chosen.where == WHERE
    assert f"where {WHERE}" in " ".join(chosen.summary().split())
    assert "also complete hdl" in " ".join(chosen.summary().split())


def test_the_same_rows_for_models_of_different_size(frames):
    names = ["sbp", "age", "hdl", "education"]
    larger = run(frames, "linear_regression", formula="sbp ~ age + hdl + education")
    smaller = run(frames, "linear_regression", formula="sbp ~ age", complete=names)
    alone = run(frames, "linear_regression", formula="sbp ~ age")
    assert smaller.n == larger.n < alone.n


SMALL = Dictionary(name="d", version="1", variables={n: Variable(type="number", minimum=0) for n in ("x", "y")})


def table(x, y=None):
    return pa.table({"x": np.asarray(x, float), "y": np.asarray(x if y is None else y, float)})


def mean(frames, where, policy=None, **params):
    return run(frames, "describe", policy, SMALL, variables=["y"], where=where, **params).variables["y"].mean


THREE = {"a": table(range(40)), "b": table(range(40)), "c": table(range(20))}


def test_a_cohort_in_which_nobody_is_chosen_adds_nothing():
    assert mean(THREE, "x >= 20", Policy()) == pytest.approx(29.5)
    assert mean(THREE, "x >= 0", Policy()) == pytest.approx((780 + 780 + 190) / 100)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("x >= 15", "`where` keeps fewer than 10 people"),
        ("x < 5", "`where` keeps fewer than 10 people"),
        ("x >= 5", "`where` leaves out fewer than 10 people"),
        ("x < 35", "`where` leaves out fewer than 10 people"),
        ("x == 7", "`where` keeps fewer than 10 people"),
        ("x != 7", "`where` leaves out fewer than 10 people"),
    ],
)
def test_a_few_people_are_neither_chosen_nor_left_out(where, says):
    with pytest.raises(Refused, match=says) as caught:
        mean(THREE, where, Policy())
    assert caught.value.rule == "min_people"
    assert mean(THREE, where) is not None  # without a policy nothing is withheld


def test_few_with_a_value_are_not_chosen_either():
    frames = THREE | {"b": table(range(40), [np.nan] * 35 + [1.0] * 5)}
    with pytest.raises(Refused, match="`complete` keeps fewer than 10 people"):
        run(frames, "describe", Policy(), SMALL, variables=["x"], complete=["y"])


def test_a_refused_choice_of_rows_is_never_computed(monkeypatch):
    """The rows are judged before anything is computed of them."""
    monkeypatch.setattr("cohortium.data.Data.blocks", lambda *_: pytest.fail("values were read"))
    with pytest.raises(Refused):
        mean(THREE, "x == 7", Policy())


def test_what_the_dictionary_does_not_know_is_refused_before_it_is_asked():
    with pytest.raises(FormulaError, match="no variable"):
        mean(THREE, "z > 1")
    with pytest.raises(UnknownName, match="no variable"):
        mean(THREE, "x > 1", complete=["z"])


def test_a_cohort_that_did_not_collect_the_variable_says_so():
    with pytest.raises(InvalidQuestion, match="`x` was not collected by this cohort"):
        mean(THREE | {"c": table(range(40)).drop_columns("x")}, "x > 5")
