"""A node counts the figures that it tells each study, and stops before they tell what single people's values are."""

from typing import Annotated

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import Refused
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table
from node.budget import Asked, Budget, count_figures
from node.config import render
from node.console import app
from node.disclosure import Policy
from simulation import network


class Terms(Sums):
    n: Count
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", positive=True)]
    table: Table
    flag: Flag


def terms(seed=0, zeros=0):
    rng = np.random.default_rng(seed)
    table = rng.uniform(1, 2, 6)
    table[:zeros] = [0, np.nan, 0][:zeros]
    return Terms(n=20, score=rng.normal(size=3), information=np.ones((3, 3)), table=table, flag=1)


def test_what_counts_as_a_figure():
    assert count_figures(terms()) == 1 + 3 + 6 + 6  # the matrix once, no vote
    assert count_figures(terms(zeros=3)) == 1 + 3 + 6 + 3  # no zero, nothing withheld


@pytest.fixture
def budget():
    return Budget()


def tell(budget, sums, study="s", *, cells=100, most=0.3, **changes):
    asked = Asked(**{"statistic": "terms", "broadcast": {"beta": np.zeros(2)}, "params": "{}"} | changes)
    budget.pay(budget.cost(study, asked, sums, cells=cells, most=most))


def test_it_refuses_before_too_much_is_told(budget):
    tell(budget, terms(1))
    with pytest.raises(Refused) as caught:
        tell(budget, terms(2))
    assert caught.value.rule == "budget_refuse"
    assert not any(character.isdigit() for character in caught.value.message)
    assert budget.spent("s").figures == 16
    tell(budget, terms(2), study="t")
    tell(budget, terms(2), most=0.33)
    assert budget.spent("s").share == 0.32
    assert [spent.study for spent in budget.studies()] == ["s", "t"]


def test_the_same_again_costs_nothing(budget):
    for _ in range(3):
        tell(budget, terms(1))
    assert budget.spent("s").figures == 16
    tell(budget, terms(1), cells=1)  # not even where nothing may be told any more
    tell(budget, terms(1), cells=1, params="of a larger question, which asks this as well")
    for changed in ({"study": "t"}, {"statistic": "others"}, {"broadcast": {"beta": np.ones(2)}}):
        with pytest.raises(Refused):
            tell(budget, terms(1), cells=1, **changed)


def test_equal_counts_of_something_else_are_news(budget):
    counts = Terms(n=20, score=np.ones(3), information=np.ones((3, 3)), table=np.full(6, 12.0), flag=0)
    tell(budget, counts, params="at 30")
    tell(budget, counts, params="at 30")
    assert budget.spent("s").figures == 16
    tell(budget, counts, params="at 31", most=1)
    assert budget.spent("s").figures == 32


def test_it_remembers_across_restarts(tmp_path):
    first = Budget(tmp_path / "ledger.db")
    tell(first, terms(1))
    first.close()
    again = Budget(tmp_path / "ledger.db")
    tell(again, terms(1))
    assert again.spent("s").figures == 16
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


PEOPLE = 60
DICTIONARY = Dictionary(
    name="d", version="1", variables={n: Variable(type="number", minimum=0, maximum=100, precision=1) for n in "xyz"}
)


def test_a_study_that_asks_on_and_on_is_stopped():
    """Histograms of other widths, of 180 values: long before as many figures as values are told."""
    rng = np.random.default_rng(0)
    frames = {name: pa.table({n: rng.integers(0, 100, PEOPLE).astype(float) for n in "xyz"}) for name in "abc"}
    policy = Policy.none().model_copy(update={"budget_refuse": 0.3})
    net = network(frames, DICTIONARY, policy)
    jobs = [net.study("s").histogram(variable="x", breaks=[0, cut, 50 + cut / 2, 100]) for cut in range(20, 60)]
    ended = [job.wait() or job.view for job in jobs]
    assert {view.problem.rule for view in ended if view.problem} == {"budget_refuse"}
    assert 5 < sum(view.problem is None for view in ended) < 20
    assert all(node.ledger.budget.spent("s").share <= 0.3 for node in net.service.nodes.values())
    net.study("t").histogram(variable="x", breaks=[0, 25, 100]).result()


def test_the_operator_sees_what_was_told(tmp_path):
    ledger = Budget(tmp_path / "ledger.db")
    for study, cells in (("much", 60), ("more", 55), ("little", 1000)):
        tell(ledger, terms(), study, cells=cells)
    ledger.close()
    for name in ("node.key", "identity.key", "masking.key", "dictionary.toml"):
        (tmp_path / name).touch()
    settings = {"cohort": "north", "coordinator": "localhost:9443", "dictionary": "dictionary.toml"}
    text = render(settings | {"trust": {"network": "net"}, "data": {"source": "*.csv"}})
    (tmp_path / "node.toml").write_text(text)
    shown = CliRunner().invoke(app, ["budget", "--config", str(tmp_path / "node.toml")])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == [
        "more    16 figures of 55 values: 97% spent; hardly anything is answered any more",
        "much    16 figures of 60 values: 89% spent; beyond `budget_warn`",
        "little  16 figures of 1000 values: 5% spent",
    ]


def test_the_researcher_sees_what_is_left_and_no_number():
    rng = np.random.default_rng(0)
    frames = dict.fromkeys("abc", pa.table({n: rng.integers(0, 100, PEOPLE).astype(float) for n in "xyz"}))
    told = 4 / (3 * PEOPLE)  # four bins

    def policy(warn, refuse):
        return Policy.none().model_copy(update={"budget_warn": warn, "budget_refuse": refuse})

    policies = {"a": policy(told / 2, told * 1.01), "b": policy(told / 2, 1.0), "c": policy(told * 2, 1.0)}
    net = network(frames, DICTIONARY, policies)
    study = net.study("s")

    def states():
        return {row["cohort"]: row["budget"] for row in study.budget().to_frame("pyarrow").to_pylist()}

    assert states() == dict.fromkeys("abc", "open")
    study.histogram(variable="x", breaks=[0, 25, 50, 75, 100]).result()
    assert states() == {"a": "spent", "b": "low", "c": "open"}
    study = net.study("t")
    assert states() == dict.fromkeys("abc", "open")
