"""Groups that questions tell apart may not differ by few people, whatever made them differ."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import Refused
from node.disclosure import Policy
from node.told_apart import Partition
from simulation import network

PEOPLE, LEAST = 120, 10
DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number", minimum=0, maximum=PEOPLE),
        "y": Variable(type="number", minimum=-10, maximum=10),
        "time": Variable(type="number", minimum=0, maximum=PEOPLE),
        "dead": Variable(type="boolean"),
        "sex": Variable(type="category", categories=(Category(value="f"), Category(value="m"))),
    },
)
LIMITED = Policy(max_leverage=1.0)


def asked():
    """Three cohorts in which nobody shares a value of `x` or `time`; every other person is a woman."""
    frames = {}
    for seed, name in enumerate("abc"):
        rng, values = np.random.default_rng(seed), np.arange(PEOPLE, dtype=float)
        frames[name] = pl.DataFrame(
            {
                "x": values,
                "y": rng.uniform(-1, 1, PEOPLE),
                "time": values + 0.5,
                "dead": rng.random(PEOPLE) < 0.5,
                "sex": np.where(values % 2, "m", "f"),
            }
        )
    return network(frames, dictionary=DICTIONARY, policy=LIMITED).study("one")


QUESTIONS = {
    "anova": lambda study, at: study.anova(formula=f"y ~ cut(x, [{at}])", levene="no"),
    "another function": lambda study, at: study.anova(formula=f"y ~ cut(sqrt(x), [{at**0.5:.6f}])", levene="no"),
    "a model": lambda study, at: study.linear_regression(formula=f"y ~ cut(x, [{at}])"),
    "a mean": lambda study, at: study.describe(variables=["y"], where=f"x > {at}"),
    "a histogram": lambda study, at: study.histogram(variable="x", breaks=[0, at, PEOPLE]),
}
# Far enough from both ends for groups that other rules let pass.
INNER = st.integers(40, PEOPLE - 40).map(lambda k: k + 0.5)


@settings(max_examples=30)
@given(INNER, st.integers(-14, 14), st.sampled_from(sorted(QUESTIONS)), st.sampled_from(sorted(QUESTIONS)))
def test_two_groups_are_told_of_unless_few_are_in_just_one(at, further, first, second):
    study = asked()
    QUESTIONS[first](study, at).result()
    if 0 < abs(further) < LEAST and {first, second} != {"a histogram", "a mean"}:
        with pytest.raises(Refused, match="min_difference"):
            QUESTIONS[second](study, at + further).result()
    elif abs(further) >= LEAST or first == second:
        QUESTIONS[second](study, at + further).result()


@pytest.mark.parametrize("analysis", ["kaplan_meier", "log_rank"])
@settings(max_examples=12)
@given(at=st.integers(50, PEOPLE - 25), further=st.integers(-14, 14))
def test_two_ends_of_follow_up_have_nobody_between_them_or_many(analysis, at, further):
    study = asked()
    grid = {"interval": at / 2} if analysis == "kaplan_meier" else {}
    ask = {"kaplan_meier": study.kaplan_meier, "log_rank": study.log_rank}[analysis]
    formula = "Surv(time, dead) ~ 1" if analysis == "kaplan_meier" else "Surv(time, dead) ~ sex"
    ask(formula=formula, until=at, **grid).result()
    women_or_men = 1 if analysis == "kaplan_meier" else 2
    if 0 < abs(further) < LEAST * women_or_men - 1:
        with pytest.raises(Refused, match=r"lies between a point of this grid .*min_difference"):
            ask(formula=formula, until=at + further, **({"interval": (at + further) / 2} if grid else {})).result()
    elif not further:
        ask(formula=formula, until=at, **grid).result()


def test_the_same_grid_again_and_one_that_divides_it_are_answered():
    study = asked()
    for interval in (40, 20, 40, 20):
        study.kaplan_meier(formula="Surv(time, dead) ~ 1", interval=interval).result()


def test_groups_are_compared_by_themselves_not_only_together():
    study = asked()
    study.table1(variables=["y"], by="sex", where="x > 40.5").result()
    with pytest.raises(Refused, match="min_difference"):
        study.table1(variables=["y"], by="sex", where="x > 42.5 & !(sex == 'm' & x < 70)").result()


def test_what_the_large_groups_leave_of_everybody_is_not_a_small_one():
    frame = pl.DataFrame({"y": np.arange(104.0) / 20, "sex": ["f"] * 100 + ["m"] * 4})
    study = network(dict.fromkeys("abc", frame), dictionary=DICTIONARY, policy=LIMITED).study("one")
    study.describe(variables=["y"]).result()
    with pytest.raises(Refused, match="min_difference"):
        study.table1(variables=["y"], by="sex").result()


def test_every_round_of_a_job_tells_the_same_groups_apart_and_works_them_out_once(monkeypatch):
    worked_out = []
    groups = Partition.groups

    def counting(partition, data, names, least):
        worked_out.append(partition.label)
        return groups(partition, data, names, least)

    monkeypatch.setattr(Partition, "groups", counting)
    assert asked().glm(formula="dead ~ x + sex", family="binomial").result().rounds > 4
    assert worked_out == ["sex"] * 3
