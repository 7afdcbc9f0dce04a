"""Attacks recover nothing under the default policy; without the guard that stops each, each succeeds."""

import pytest
from typer.testing import CliRunner

from cohortium.errors import UnknownName
from node.disclosure import Policy
from simulation import attacks
from simulation.console import app

# What works on the present code without a policy, and what the default policy stops.
WORKING = [a for a in attacks.attacks() if a.name not in {"averaging", "overflow_tells", "refusal_tells", "steep_step", "steep_scale", "dominating_weight", "steep_transformation"}]


@pytest.fixture(scope="module")
def guarded():
    return attacks.made_up(Policy())


@pytest.fixture(scope="module")
def unguarded():
    return attacks.made_up(Policy.none())


@pytest.mark.parametrize("attack", WORKING, ids=lambda a: a.name)
def test_without_the_guard_the_attack_succeeds(attack, unguarded):
    outcome = attack.run(unguarded, attacks.VICTIM)
    assert outcome.recovered, (outcome.found, outcome.why)


@pytest.mark.parametrize("attack", attacks.attacks(), ids=lambda a: a.name)
def test_the_default_policy_lets_nothing_be_recovered(attack, guarded):
    outcome = attack.run(guarded, attacks.VICTIM)
    assert not outcome.recovered, (outcome.found, outcome.why)


def test_every_attack_says_what_it_tries_what_stops_it_and_where_it_is_described():
    for attack in attacks.attacks():
        assert attack.tries, attack.name
        assert attack.guard, attack.name
        assert attack.source, attack.name


def test_a_report_is_a_table_of_them_all(unguarded):
    report = attacks.run(unguarded, attacks.VICTIM, attacks.find(["two_means", "averaging"]))
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
