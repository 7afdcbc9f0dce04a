"""No sequence of allowed questions that is found isolates anybody; without the rules many do."""

import os

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.disclosure import Policy
from simulation.attacks import search

# More with `COHORTIUM_SEARCHES=10000 pytest tests/simulation/test_attack_search.py`.
SEARCHES = int(os.environ.get("COHORTIUM_SEARCHES", "200"))
SIZES = st.tuples(*[st.integers(40, 160)] * 3)
SEEDS = st.integers(0, 2**32 - 1)


def isolated(seed, sizes, policy, least=10):
    rng = np.random.default_rng(seed)
    people = search.People.drawn(seed, sizes)
    questions = search.draw(rng, people)
    found = search.ask(people, questions, policy)
    return search.isolated(found.matrix, least), found, questions


@settings(max_examples=SEARCHES, suppress_health_check=[HealthCheck.too_slow])
@given(SEEDS, SIZES)
def test_allowed_questions_isolate_nobody(seed, sizes):
    who, _, questions = isolated(seed, sizes, Policy())
    assert who is None, [(q.analysis, q.params) for q in questions]


def test_the_search_isolates_people_as_soon_as_everything_is_allowed():
    caught = sum(isolated(seed, (45, 50, 55), Policy.none())[0] is not None for seed in range(30))
    assert caught >= 12


def test_enough_questions_are_answered_for_the_search_to_say_something():
    found = [isolated(seed, (140, 150, 160), Policy())[1] for seed in range(20)]
    assert sum(f.answered for f in found) >= 40
    assert sum(f.refused for f in found) >= 10


class TestWhoIsIsolated:
    def test_by_three_sets_of_which_no_two_are_close(self):
        x, y = np.zeros(60), np.zeros(60)
        x[:31], y[31:] = 1, 1
        both = x + y
        both[30] = 0
        assert search.isolated(np.array([x, y, both]), 10).tolist() == [30]

    def test_by_a_general_tracker(self):
        tracker, own = np.arange(60) % 2 == 0, np.arange(60) == 7
        sets = np.array([own | tracker, own | ~tracker, tracker, ~tracker], dtype=float)
        assert search.isolated(sets, 10).tolist() == [7]

    def test_by_weighted_sums(self):
        weights = np.random.default_rng(1).normal(size=(30, 30))
        assert search.isolated(weights, 10) is not None, "as many equations as people"
        assert search.isolated(weights[:20], 10) is None

    def test_a_few_who_are_the_difference_of_two(self):
        whole, part = np.ones(60), np.ones(60)
        part[:4] = 0
        assert search.isolated(np.array([whole, part]), 10).tolist() == [0, 1, 2, 3]
        assert search.isolated(np.array([whole, part]), 4) is None

    def test_nobody_by_sets_that_differ_by_many(self):
        half = (np.arange(60) < 30).astype(float)
        assert search.isolated(np.array([np.ones(60), half, 1 - half]), 10) is None
        assert search.isolated(np.zeros((0, 0)), 10) is None


def test_what_the_judge_takes_for_told_is_what_nodes_add_up():
    """The coefficients of a question, applied to the incomes, are the totals that come back."""
    people = search.People.drawn(3, (60, 60, 60))
    incomes = people.columns["income"]
    where = (search.Clause("age", ">", 30.0), search.Clause("sex", "==", "f", negated=True))
    for any_of in (False, True):
        described = search.Asking("describe", where, any_of)
        seen = people.attempt(Policy.none()).watch("describe", **described.params)
        (told,) = described.told("totals", people, 1)
        np.testing.assert_allclose(seen["totals"].sums, [told @ incomes])
    grouped = search.Asking("anova", where, terms=("sex",), cuts=(("bmi", 28.0),), complete=("lab",))
    totals = people.attempt(Policy.none()).watch("anova", **grouped.params)["totals"].totals
    expected = [told @ incomes for told in grouped.told("totals", people, 1) if told.any()]
    np.testing.assert_allclose(sorted(totals[totals != 0]), sorted(expected))
    model = search.Asking("linear_regression", where, terms=("lab",))
    preparation = people.attempt(Policy.none()).watch("linear_regression", **model.params)["preparation"]
    np.testing.assert_allclose(preparation.outcome, next(model.told("preparation", people, 1)) @ incomes)
