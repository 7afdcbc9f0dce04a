"""No analysis answers at coefficients by which its sums would be about one person: found from the registry.

A malicious coordinator may broadcast what it likes. Every question with coefficients that an example asks is asked
again with coefficients so steep that nearly all weight is one person's; under the default policy there must be no
answer, or one of zeros. With the guard off there is one, so the attack itself works.
"""

from functools import cache
from importlib import import_module

import numpy as np
import pytest
from datasets import split, volunteers

from cohortium.analysis import conduct, find, registry
from cohortium.errors import Refused
from cohortium.quantities import SumOver
from cohortium.secure_sum import add_up, decode, encode
from node.disclosure import Policy, check
from simulation import network

EXAMPLES = [(name, k) for name in sorted(registry()) for k in range(len(import_module(f"test_{name}").EXAMPLES))]
CHOSEN = {"coefficients", "slopes"}
STEEP = (40.0, 400.0, 4000.0)
# Rules about the people of these examples, not about what was broadcast: off, so that steering alone is judged.
OTHERS = {"min_carriers": 1, "max_leverage": 1.0, "min_events_per_parameter": 0.0, "max_parameters_per_person": 1e9}
OTHERS |= {"min_residual_df": -(10**9), "min_model_people": 1, "min_interval": 1, "max_share_of_one": 1.0}
GUARDED = Policy(**OTHERS, max_share_of_two=1.0)
OPEN = GUARDED.model_copy(update={"max_weight_share": 1.0, "max_predictor": 1e300, "min_people": 1})


@cache
def cohorts():
    return tuple(node.data for node in network(split(volunteers(), "mod3")).service.nodes.values())


def asked_with_coefficients(name, example):
    """The first question of each statistic that takes coefficients, as the example asks it."""
    params, found = find(name).params.bind(example, cohorts()[0].dictionary), {}

    def ask(question):
        statistic = find(name).statistic(question.statistic)
        values = {k: float(v) if v.ndim == 0 else v for k, v in question.broadcast.items()}
        chosen = [k for k in values if k in CHOSEN and np.size(values[k])]
        if chosen:
            found.setdefault(question.statistic, (statistic, params, values, chosen))
        record = find(name).sums(question.statistic)
        answers = {str(k): encode(statistic(data, params, **values)) for k, data in enumerate(cohorts())}
        return {k: decode(record, a) for k, a in answers.items()} if question.per_cohort else add_up(record, answers)

    conduct(find(name), params, ask, ("0", "1", "2"))
    return found.values()


def moved_by(record, honest):
    """The fields that tell something, and something else than at the coefficients of the example."""
    sums = [field for field, kind in record.kinds.items() if isinstance(kind, SumOver)]
    return [f for f in sums if np.any(getattr(record, f)) and np.any(getattr(record, f) != getattr(honest, f))]


def answers(question, steep, policy):
    """What a cohort answers, as far as it depends on them, when the last coefficient is `steep`."""
    statistic, params, values, chosen = question
    moved = dict(values)
    for name in chosen:
        moved[name] = np.zeros_like(values[name])
        moved[name][..., -1] = steep
    try:
        with np.errstate(all="ignore"):
            honest = statistic(cohorts()[0], params, **values)
            return moved_by(check(statistic(cohorts()[0], params, **moved), policy), honest)
    except (Refused, FloatingPointError, np.linalg.LinAlgError):
        return []


@pytest.mark.parametrize(("name", "k"), EXAMPLES)
def test_no_analysis_can_be_steered_to_one_person(name, k):
    example = import_module(f"test_{name}").EXAMPLES[k]
    for question in asked_with_coefficients(name, example):
        found = [answers(question, steep, GUARDED) for steep in STEEP] if is_weighed(question) else []
        assert not any(found), (question[0].__name__, found)


def is_weighed(question):
    """Whether the sums depend on the coefficients other than as polynomials: of least squares, they follow anyway."""
    statistic, params, values, _ = question
    with np.errstate(all="ignore"):
        evidence = statistic(cohorts()[0], params, **values).evidence
    return evidence is not None and evidence.predictor > 0


def test_the_attack_works_where_nothing_guards():
    example = {"formula": "visits ~ bmi", "family": "poisson"}
    (question,) = [q for q in asked_with_coefficients("glm", example) if q[0].__name__ == "newton_terms"]
    told = [steep for steep in np.arange(1.0, 10.0) if answers(question, steep, OPEN)]
    kept = [steep for steep in told if not answers(question, steep, GUARDED)]
    assert kept
