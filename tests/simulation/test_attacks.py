"""Attacks recover nothing under the default policy; without the guard that stops each, each succeeds."""

import numpy as np
import pytest
from typer.testing import CliRunner

from algorithms.numerics import expressions
from cohortium.errors import UnknownName
from node.answer import CohortNode
from node.disclosure import Policy
from simulation import attacks
from simulation.console import app

# These are stopped by more than thresholds; below each has a test of its own, with its guard taken out.
OTHERWISE = {"averaging", "overflow_tells", "refusal_tells", "dominating_weight"}
BY_THRESHOLDS = [attack for attack in attacks.attacks() if attack.name not in OTHERWISE]
GUARDED = attacks.find(
    [
        "two_means",
        "through_another_analysis",
        "through_another_study",
        "dominating_weight",
        "one_in_a_group",
        "one_in_a_stratum",
        "quantile_of_three",
        "bisected_maximum",
        "exact_times",
        "single_exit",
        "overflow_tells",
        "averaging",
        "missing_cell",
        "table1_leftover",
        "groups_of_table1",
        "strata_leftover",
        "two_of_many",
        "leftover",
        "general_tracker",
        "differing_elsewhere",
        "complete_cases",
        "complete_groups",
        "moved_cut",
        "moved_dummy",
        "moved_edge",
        "moved_centre",
        "two_grids",
        "moved_end",
        "missing_over_time",
        "cohort_leftover",
    ]
)


@pytest.fixture
def guarded():
    return attacks.made_up(Policy())


@pytest.fixture(scope="module")
def unguarded():
    return attacks.made_up(Policy.none())


@pytest.mark.parametrize("attack", BY_THRESHOLDS, ids=lambda a: a.name)
def test_without_the_guard_the_attack_succeeds(attack, unguarded):
    outcome = attack.run(unguarded, attacks.VICTIM)
    assert outcome.recovered, (outcome.found, outcome.why)


@pytest.mark.parametrize("attack", GUARDED, ids=lambda a: a.name)
def test_the_default_policy_lets_nothing_be_recovered(attack, guarded):
    outcome = attack.run(guarded, attacks.VICTIM)
    assert not outcome.recovered, (outcome.found, outcome.why)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors_that_depend_on_the_largest_value_would_tell_it(unguarded, monkeypatch):
    monkeypatch.setattr(expressions, "_refuse_overflow", lambda *part: None)
    assert attacks.find(["overflow_tells"])[0].run(unguarded, attacks.VICTIM).recovered


def test_noise_that_is_drawn_anew_every_time_would_be_averaged_away(unguarded, monkeypatch):
    noise = np.random.default_rng(1)
    honest = CohortNode.compute

    def noisy(node, *question, **others):
        arrays = honest(node, *question, **others)
        if node.cohort == attacks.VICTIM.cohort and "powers" in arrays:
            arrays["powers"] = arrays["powers"] + noise.normal(0, 11, arrays["powers"].shape)
        return arrays

    monkeypatch.setattr(CohortNode, "compute", noisy)
    once = unguarded.study().describe(variables=["income"]).result()["income"].mean
    assert abs(once - attacks.VICTIM.truth["mean income"]) > 0.1
    assert attacks.find(["averaging"])[0].run(unguarded, attacks.VICTIM).recovered


def test_every_attack_says_what_it_tries_what_stops_it_and_where_it_is_described():
    for attack in attacks.attacks():
        assert attack.tries, attack.name
        assert attack.guard, attack.name
        assert attack.source, attack.name


def test_a_report_is_a_table_of_them_all(unguarded):
    report = attacks.run(lambda: unguarded, attacks.VICTIM, attacks.find(["two_means", "averaging"]))
    assert report.recovered == ("two_means",)
    assert "1 of 2 attacks recovered what they were after." in report.as_text()


def test_an_unknown_attack_is_named_with_what_was_probably_meant():
    with pytest.raises(UnknownName, match="Did you mean `two_means`"):
        attacks.find(["two_mean"])


def test_the_command_line_shows_what_was_recovered_and_ends_with_1():
    shown = CliRunner().invoke(app, ["attacks", "--unguarded", "--only", "two_means,averaging"])
    assert shown.exit_code == 1
    assert "two_means" in shown.output
    explained = CliRunner().invoke(app, ["attacks", "--explain", "--only", "two_means"])
    assert explained.exit_code == 0
    assert "Stopped by: ledger" in explained.output
