"""No two answers of a network differ by a few people, whichever analyses, conditions and variables they came from."""

import numpy as np
import pyarrow as pa
import pytest

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import Refused
from node.answer import CohortNode
from node.data import load
from node.disclosure import Policy
from simulation import network

DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "person": Variable(type="identifier"),
        "age": Variable(type="number", minimum=18, maximum=110, precision=0.1),
        "income": Variable(type="number", minimum=0, maximum=400, precision=0.1),
        "lung": Variable(type="number", minimum=0, maximum=10, precision=0.01),
        "sex": Variable(type="category", categories=(Category(value="f"), Category(value="m"))),
        "ill": Variable(type="boolean"),
    },
)
PEOPLE = 120


def frame(seed, people=PEOPLE):
    rng = np.random.default_rng(seed)
    lung = rng.normal(4, 1, people).round(2)
    lung[:3] = np.nan  # three people were not measured
    age = rng.uniform(20, 80, people).round(1)
    age[-2:] = 97.0
    return pa.table(
        {
            "person": np.arange(people) + 1000 * seed,
            "age": age,
            "income": rng.gamma(2, 20, people).round(1),
            "lung": lung,
            "sex": rng.choice(["f", "m"], people),
            "ill": rng.random(people) < 0.4,
        }
    )


FRAMES = {name: frame(seed) for seed, name in enumerate("abcd")}


@pytest.fixture
def net():
    return network(FRAMES, DICTIONARY, Policy(min_difference=10))


def ask(net, analysis, study="s", cohorts=None, **params):
    return net.study(study).run(analysis, cohorts=cohorts, **params).result()


def refused(net, analysis, rule="min_difference", **params):
    with pytest.raises(Refused) as caught:
        ask(net, analysis, **params)
    assert caught.value.rule == rule
    return caught.value.message


class TestAcross:
    def test_conditions(self, net):
        ask(net, "describe", variables=["income"], where="age >= 40")
        refused(net, "describe", variables=["income"], where="age >= 40.2")
        ask(net, "describe", variables=["income"], where="age >= 50")

    def test_analyses(self, net):
        ask(net, "describe", variables=["income"], where="age >= 40")
        refused(net, "histogram", variable="income", by="ill", breaks=[0, 40, 400], where="age >= 40.2")
        refused(net, "quantiles", variables=["income"], where="age >= 40.2")

    def test_missing_values(self, net):
        ask(net, "linear_regression", formula="income ~ age")
        message = refused(net, "linear_regression", formula="income ~ age + lung")
        assert "`age`, `income`" in message
        assert "`complete`" in message

    def test_missing_values_when_the_same_rows_are_asked_for(self, net):
        small = ask(net, "linear_regression", formula="income ~ age", complete=["lung"])
        large = ask(net, "linear_regression", formula="income ~ age + lung")
        assert small.n == large.n

    def test_studies_of_one_researcher(self, net):
        ask(net, "describe", variables=["income"], where="age >= 40")
        refused(net, "describe", variables=["income"], where="age >= 40.2", study="t")

    def test_a_group_and_its_parts(self, net):
        ask(net, "describe", variables=["income"], where="lung <= 4")
        ask(net, "describe", variables=["income"], where="lung > 4")
        refused(net, "describe", variables=["income"])  # but for those who were not measured

    def test_cohorts(self, net):
        ask(net, "describe", variables=["income"])
        for cohorts in ("abc", "bcd"):
            refused(net, "describe", variables=["income"], cohorts=list(cohorts), rule="release_per_cohort")
        ask(net, "describe", variables=["income"])

    def test_people_who_have_left(self, net):
        ask(net, "describe", variables=["income"])
        for node in net.service.nodes.values():
            data = load(FRAMES[node.cohort].slice(2), DICTIONARY)
            net.service.nodes[node.cohort] = CohortNode(node.cohort, data, node.policy, node.ledger)
        refused(net, "describe", variables=["income"])
        ask(net, "describe", variables=["sex"])

    def test_what_a_condition_itself_counts(self, net):
        ask(net, "describe", variables=["income"], where="age >= 40")
        refused(net, "describe", variables=["sex"], where="age >= 40.2")


def test_a_study_chooses_its_people_once(net):
    study = net.study("s", where="age >= 30", complete=["lung"])
    rows = {study.run("linear_regression", formula=f"income ~ {x}").result().n for x in ("age", "age + lung", "sex")}
    assert len(rows) == 1
    assert study.run("describe", variables=["ill"], where="age >= 50").result().where == "age >= 50"


def test_the_refusal_names_the_earlier_job(net):
    first = net.study("s").run("describe", variables=["income"], where="age >= 40")
    first.result()
    assert f"job {first.id}" in refused(net, "describe", variables=["income"], where="age >= 40.2")


def test_a_mean_of_all_and_of_the_groups_is_not_told_in_one_job(net):
    frames = {
        name: table.set_column(4, "sex", pa.array([None] * 2 + table["sex"].to_pylist()[2:]))
        for name, table in FRAMES.items()
    }
    lacking = network(frames, DICTIONARY, Policy())
    ask(lacking, "describe", variables=["income"])
    refused(lacking, "anova", formula="income ~ sex")


def test_a_job_asks_the_same_rows_in_every_round_and_again(net):
    for _ in range(2):
        ask(net, "glm", formula="ill ~ age + income + sex", family="binomial")


def test_without_a_policy_there_is_no_ledger():
    free = network(FRAMES, DICTIONARY)
    for where in ("age >= 40", "age >= 40.2", "age < 97"):
        ask(free, "describe", variables=["income"], where=where)
    assert all(node.ledger is None for node in free.service.nodes.values())
