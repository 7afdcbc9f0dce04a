"""Faults over whole jobs, in virtual time: a sample of the campaign, and that the campaign would notice."""

import time

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from node.answer import CohortNode
from simulation.console import app
from simulation.faults import Fault, Schedule, draw, trial
from simulation.faults.campaign import carry_out, real_verdicts
from simulation.faults.clock import Clock
from simulation.faults.schedule import COORDINATOR, EXCUSES, MESSAGE, NODE, WRITES
from simulation.faults.subject import COHORTS, Subject, standard

# A coordinator that dies ends its threads by SystemExit.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

GLM = (2,)  # a binomial model of eight rounds


def under(*faults, seed=1, subject=None, questions=GLM):
    return trial(schedule=Schedule(seed=seed, faults=faults), subject=subject, questions=questions)


def test_a_sample_of_the_campaign():
    found = carry_out(map(trial, range(5000, 5015)), tell=lambda text: None)
    assert found.failures == []
    assert found.schedules == 15
    assert found.right + sum(found.reasons.values()) == found.jobs
    assert found.right > found.jobs / 2


def test_nothing_goes_wrong_without_faults():
    verdict = under(questions=range(len(standard().questions)))
    assert verdict.passed, verdict.sentence
    assert verdict.right == len(standard().questions)
    assert verdict.restarts == 0


@pytest.mark.parametrize("seed", [5003, 5011])
def test_a_seed_replays_exactly(seed):
    first, second = trial(seed), trial(seed)
    assert first.sentence == second.sentence
    assert (first.seconds, first.asked, first.restarts) == (second.seconds, second.asked, second.restarts)
    assert [e.result for e in first.endings] == [e.result for e in second.endings]


@pytest.mark.parametrize("kind", [k for k in (*NODE, *MESSAGE) if k not in EXCUSES])
def test_what_heals_ends_with_the_right_result(kind):
    verdict = under(Fault(kind=kind, cohort="twins", at=2, lasts=700, share=0.5))
    assert verdict.passed, verdict.sentence
    assert verdict.right == 1
    assert verdict.seconds > 10


@pytest.mark.parametrize("kind", COORDINATOR)
@pytest.mark.parametrize("moment", [1, 4, 9])
def test_a_coordinator_that_restarts_ends_with_the_right_result(kind, moment):
    verdict = under(Fault(kind=kind, at=2.0 * moment, write=moment))
    assert verdict.passed, verdict.sentence
    assert verdict.right == 1
    assert verdict.restarts == (0 if kind == "full-disk" else 1)


@pytest.mark.parametrize(("kind", "problem"), EXCUSES.items())
def test_what_does_not_heal_ends_with_a_reason(kind, problem):
    verdict = under(Fault(kind=kind, cohort="seniors", at=1))
    assert verdict.passed, verdict.sentence
    (ending,) = verdict.endings
    assert ending.view.problem.kind == problem
    assert ending.view.problem.message
    if kind not in ("dead",):
        assert "seniors" in (ending.view.problem.cohort, ending.view.problem.message)


def test_answered_rounds_are_replayed_not_asked_again():
    calm, restarted = under(), under(Fault(kind="killed-after-write", write=6))
    assert restarted.restarts == 1
    assert restarted.asked == calm.asked


def test_another_dictionary_is_another_one_whatever_was_worked_out_before():
    subject = standard()
    assert subject.dictionary.digest  # remembered from here on
    fresh = Subject(subject.plain, subject.dictionary, subject.questions)
    assert all(stranger.node.dictionary.digest != subject.dictionary.digest for stranger in fresh.strangers.values())


class Forgetful:
    """A node that lost its memory and has other data the second time it is asked: what must never go unnoticed."""

    def __init__(self, subject, cohort):
        data = subject.plain["seniors"].data
        changed = subject._trusted({cohort: CohortNode(cohort, data, subject.plain[cohort].policy)})
        self.before, self.after, self.asked = subject.nodes[cohort], changed[cohort], set()

    def answer(self, kind, payload):
        if payload in self.asked:
            return self.after.answer(kind, payload)
        self.asked.add(payload)
        return self.before.answer(kind, payload)


def test_a_wrong_number_is_noticed():
    honest = standard()
    subject = Subject(honest.plain, honest.dictionary, honest.questions)
    subject.nodes["twins"] = Forgetful(subject, "twins")
    verdict = under(Fault(kind="cut", cohort="twins", lasts=100, share=0.6), seed=4, subject=subject)
    assert not verdict.passed
    assert any("WRONG NUMBER" in c or "without need" in c for c in verdict.complaints)
    assert "cohortium simulate fault --seed 4" in verdict.sentence


def test_a_job_that_ends_without_need_is_noticed(monkeypatch):
    monkeypatch.setitem(EXCUSES, "withdrawn", "Refused")
    verdict = under(Fault(kind="withdrawn", cohort="twins", at=1))
    assert "without need" in verdict.sentence


def test_a_job_that_hangs_is_noticed(monkeypatch):
    monkeypatch.setattr("simulation.faults.virtual.PATIENCE", 0.5)
    monkeypatch.setattr("coordinator.jobs.Jobs._run", lambda jobs, job: None)
    verdict = under()
    assert "hangs" in verdict.sentence


def test_schedules_are_drawn_from_their_seed():
    assert draw(7, COHORTS) == draw(7, COHORTS)
    assert len({str(draw(seed, COHORTS)) for seed in range(50)}) == 50
    drawn = {fault.kind for seed in range(300) for fault in draw(seed, COHORTS).faults}
    assert drawn == {*NODE, *MESSAGE, *COORDINATOR}


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "slow"},
        {"kind": "killed", "cohort": "twins"},
        {"kind": "tired", "cohort": "twins"},
        {"kind": "cut", "share": 2},
        {"kind": "cut", "shares": 0.5},
    ],
)
def test_a_fault_that_makes_no_sense_is_turned_down(fault):
    with pytest.raises(ValidationError):
        Fault(**fault)


def test_faults_read_like_a_sentence():
    assert str(Fault(kind="slow", cohort="twins", at=1.25, lasts=3)) == "slow twins at 1.2 s for 3.0 s"
    assert all("at write 3" in str(Fault(kind=kind, write=3)) for kind in WRITES)
    assert str(Schedule(seed=1, faults=())) == "nothing goes wrong"


def test_the_clock_moves_from_event_to_event():
    clock, seen = Clock(), []
    clock.after(2, lambda: seen.append("second"))
    clock.after(1, lambda: seen.append("first"))
    clock.after(2, lambda: seen.append("third"))
    assert clock.step()
    assert clock.now == 1
    clock.run(5)
    assert (seen, clock.now, clock.step()) == (["first", "second", "third"], 6, False)


def test_virtual_hours_take_a_moment():
    started = time.monotonic()
    verdict = under(Fault(kind="dead", cohort="twins", at=1))
    assert verdict.seconds > 3 * 3600
    assert time.monotonic() - started < 60


def test_the_command():
    done = CliRunner().invoke(app, ["fault", "--seed", "5001"])
    assert done.exit_code == 0, done.output
    assert "seed 5001: passed" in done.output
    done = CliRunner().invoke(app, ["campaign", "--schedules", "2", "--first", "5001", "--processes", "1"])
    assert done.exit_code == 0, done.output
    assert "0 schedules FAILED" in done.output


@pytest.mark.e2e
@pytest.mark.xdist_group("end-to-end")
@pytest.mark.timeout(240)
def test_real_processes_that_are_killed_and_given_another_dictionary():
    """Seed 0 restarts nodes, freezes one, and starts one with another version of the dictionary."""
    (verdict,) = real_verdicts([0])
    assert verdict.passed, verdict.sentence
    assert {fault.kind for fault in verdict.schedule.faults} == {"wrong-dictionary", "restarting", "frozen"}
