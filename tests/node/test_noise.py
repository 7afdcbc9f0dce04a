"""Noise at the node: its size, its account, and what it refuses to hide."""

from typing import Annotated

import numpy as np
import pytest

from cohortium.errors import Refused
from cohortium.quantities import Array, Flag, NoisyKind, Sums
from node.noise import Grant, PrivacyAccount, add_noise, is_noisy


class Released(Sums):
    people: Annotated[Array, NoisyKind(most=1.0)]
    total: Annotated[Array, NoisyKind(most=100.0)]
    asked: Flag


def released(people=0.0, total=0.0, size=4_000):
    return Released(people=np.full((1, size), people), total=np.full((1, size), total), asked=1.0)


@pytest.mark.parametrize("cohorts", [1, 4, 25])
def test_the_shares_of_all_cohorts_make_the_noise_that_the_budget_asks_for(cohorts):
    rho = 0.005
    noisy = [add_noise(released(people=7.0, total=-30.0), rho, cohorts) for _ in range(cohorts)]
    people, total = sum(n.people for n in noisy), sum(n.total for n in noisy)
    # Half the budget each: variance = most^2 / (2 rho / 2). A deviation from 4,000 draws is good to 6 %.
    assert np.std(people) == pytest.approx(np.sqrt(1 / rho), rel=0.06)
    assert np.std(total) == pytest.approx(100 * np.sqrt(1 / rho), rel=0.06)
    assert np.mean(people) == pytest.approx(7.0 * cohorts, abs=5 * np.sqrt(1 / rho / 4_000))
    assert np.all(people == np.rint(people))
    assert sum(n.asked for n in noisy) == cohorts


def test_noise_differs_from_draw_to_draw():
    assert np.any(add_noise(released(), 0.1, 3).people != add_noise(released(), 0.1, 3).people)


def test_what_is_no_whole_number_is_not_released():
    with pytest.raises(Refused) as refused:
        add_noise(released(total=0.5), 0.1, 3)
    assert refused.value.rule == "declared_kinds"


def test_only_records_with_noisy_fields_are_noisy():
    class Plain(Sums):
        asked: Flag

    assert (is_noisy(Released), is_noisy(Plain)) == (True, False)


@pytest.fixture
def account(tmp_path):
    account = PrivacyAccount("people", tmp_path / "privacy.db")
    yield account
    account.close()


def test_a_study_spends_until_its_budget_is_gone(account):
    for job in range(4):
        account.spend(Grant("bmi", f"job {job}", 1.0, 3), 0.25)
    assert account.spent("bmi") == pytest.approx(1.0)
    with pytest.raises(Refused) as refused:
        account.spend(Grant("bmi", "one more", 1.0, 3), 0.01)
    assert refused.value.rule == "privacy_budget"
    assert account.spent("bmi") == pytest.approx(1.0)
    account.spend(Grant("another study", "job", 1.0, 3), 1.0)
    account.spend(Grant("bmi", "one more", 1.5, 3), 0.01)  # granted more


def test_every_answer_of_a_job_is_charged(account):
    account.spend(Grant("bmi", "job", 1.0, 3), 0.6)
    with pytest.raises(Refused):
        account.spend(Grant("bmi", "job", 1.0, 3), 0.6)
    account.spend(Grant("bmi", "job", 1.0, 3), 0.4)
    assert account.spent("bmi") == pytest.approx(1.0)


def test_what_was_spent_is_remembered_by_dataset(account, tmp_path):
    account.spend(Grant("bmi", "job", 1.0, 3), 0.6)
    again = PrivacyAccount("people", tmp_path / "privacy.db")
    other = PrivacyAccount("other people", tmp_path / "privacy.db")
    assert (again.spent("bmi"), other.spent("bmi")) == (pytest.approx(0.6), 0.0)
    again.close()
    other.close()
