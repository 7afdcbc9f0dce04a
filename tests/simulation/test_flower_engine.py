"""Flower's simulation engine gives the very bits that the network in this process gives."""

import pytest
from datasets import volunteers

from cohortium.errors import Refused
from node.disclosure import Policy
from simulation import network
from simulation.flower_engine import flower_network

QUESTIONS = {
    "describe": {"variables": ["age", "bmi", "arm"]},
    "glm": {"formula": "smokes ~ age + sex + bmi", "family": "binomial"},
    "cox": {"formula": "Surv(time, dead) ~ age + sex"},
    "quantiles": {"variables": ["visits"]},
}


@pytest.fixture(scope="module")
def frames():
    frame = volunteers(400)
    return {f"cohort{k}": frame.iloc[k::4] for k in range(4)}


@pytest.fixture(scope="module")
def engine(frames):
    with flower_network(frames, policy={**dict.fromkeys(frames, Policy.none()), "cohort3": Policy()}) as net:
        yield net


@pytest.mark.parametrize("analysis", QUESTIONS)
def test_the_same_bits_as_in_this_process(engine, frames, analysis):
    cohorts = ["cohort0", "cohort1", "cohort2"]
    ours = network(frames).study().run(analysis, cohorts=cohorts, **QUESTIONS[analysis]).result(progress=False)
    theirs = engine.study().run(analysis, cohorts=cohorts, **QUESTIONS[analysis]).result(progress=False)
    assert theirs.model_dump_json() == ours.model_dump_json()
    assert theirs.n > 0


def test_a_virtual_node_keeps_its_policy(engine):
    with pytest.raises(Refused, match="cohort3"):
        engine.study().run("glm", formula="visits ~ bmi", where="age > 68").result(progress=False)


def test_jobs_side_by_side_get_their_own_answers(engine):
    jobs = [engine.study().describe(variables=[name]) for name in ("age", "bmi", "years")]
    assert [list(job.result(progress=False).variables) for job in jobs] == [["age"], ["bmi"], ["years"]]
