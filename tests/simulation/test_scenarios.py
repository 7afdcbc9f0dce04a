"""Scenarios: what a file may say, and that what is played is the same in this process and on real processes."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cohortium.errors import CohortiumError, InvalidQuestion, Refused
from simulation import cohorts, network
from simulation.console import app
from simulation.faults.schedule import COORDINATOR, MESSAGE, NODE
from simulation.scenarios import Asked, InvalidScenario, People, Problems, Scenario, play
from simulation.scenarios.outcome import beside_truth
from simulation.scenarios.preparing import prepare

EXAMPLES = sorted((Path(__file__).parents[2] / "configs" / "scenarios").glob("*.toml"))
SMALL = """
title = "Small"
people = {seed = 4, holders = {nutrition = 400, seniors = 300, twins = 500, workers = 350}}
[problems.seniors]
missing = {bmi = 0.25}
coding = "columns"
[problems.nutrition]
absent = ["alcohol"]
[[ask]]
analysis = "glm"
params = {formula = "hdl ~ sex + bmi + smoking", family = "gaussian"}
truth = "hdl"
[[ask]]
analysis = "glm"
params = {formula = "hypertension ~ age + sex", family = "binomial", cohort_effect = "common"}
[[ask]]
analysis = "describe"
params = {variables = ["alcohol", "smoking"]}
"""


def scenario(text=SMALL, more="", folder=None):
    path = folder / "scenario.toml"
    path.write_text(text + more)
    return Scenario.from_toml(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return scenario(folder=tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def played(small):
    return play(small)


# A coordinator that dies ends its threads by SystemExit.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_on_flowers_engine_it_is_the_same_to_the_last_bit(small, played):
    found = play(small, where="engine")
    assert len(found.outcomes) == len(played.outcomes) == 3
    assert [o.bits for o in found.outcomes] == [o.bits for o in played.outcomes]


def test_the_engine_plays_no_faults(tmp_path):
    dead = '[[faults]]\nkind = "dead"\ncohort = "workers"\n'
    with pytest.raises(InvalidQuestion, match="Faults"):
        play(scenario(more=dead, folder=tmp_path), where="engine")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_are_scenarios(path):
    assert Scenario.from_toml(path).ask


@pytest.mark.parametrize(
    ("changed", "into", "said"),
    [
        ('title = "Small"', 'titel = "Small"', "titel"),
        ("nutrition = 400", "nutritoin = 400", "Did you mean `nutrition`"),
        ("nutrition = 400", "nutrition = 0", "at least one"),
        ("seed = 4,", "seed = 4, total = 10,", "either `total` or `holders`"),
        ("bmi = 0.25", "bmi = 25", "share"),
        ("bmi = 0.25", "bmj = 0.25", "Did you mean `bmi`"),
        ("[problems.seniors]", "[problems.north]", "no cohort `north`"),
        ('"glm"', '"glmm"', "Did you mean `glm`"),
        ("sex + bmi", "sex + bmj", "bmj"),
        ('truth = "hdl"', 'truth = "ldh"', "no true effect `ldh`"),
        ('coding = "columns"', 'coding = "secret"', "problems.seniors.coding"),
        ("[[ask]]", "[policy]\nmin_peopel = 3\n[[ask]]", "policy.min_peopel"),
        ("[[ask]]", '[[faults]]\nkind = "slow"\ncohort = "north"\n[[ask]]', "no cohort `north`"),
        ("[[ask]]", '[[faults]]\nkind = "sleepy"\ncohort = "north"\n[[ask]]', "faults.0.kind"),
    ],
)
def test_what_means_nothing_stops_it(changed, into, said, tmp_path):
    with pytest.raises(InvalidScenario) as stopped:
        scenario(SMALL.replace(changed, into, 1), folder=tmp_path)
    assert said in stopped.value.message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidScenario, match="cannot be read"):
        Scenario.from_toml(tmp_path / "none.toml")
    with pytest.raises(InvalidScenario, match="not TOML"):
        scenario("title = ", folder=tmp_path)


def test_problems_of_the_data_are_in_the_files(small, tmp_path):
    prepared = prepare(small, tmp_path)
    plain = cohorts.people("seniors", 300, seed=4).to_pandas()
    got = prepared.data["seniors"]
    assert got.missing("bmi").sum() > plain["bmi"].isna().sum() + 40
    kept = ~got.missing("bmi")
    np.testing.assert_array_equal(got["bmi"][kept], plain["bmi"][kept])
    assert "alcohol" not in prepared.data["nutrition"].columns
    assert "-99" in prepared.sources["seniors"].missing
    again = prepare(small, tmp_path / "again")
    np.testing.assert_array_equal(again.data["seniors"].missing("bmi"), got.missing("bmi"))


def test_it_is_the_analysis_of_those_people(small, played, tmp_path):
    net = network(prepare(small, tmp_path).data, policy=small.policy)
    for outcome in played.outcomes[:2]:
        expected = net.study().run(
            outcome.asked.analysis, cohorts=["nutrition", "seniors", "twins", "workers"], **outcome.asked.params
        )
        assert outcome.bits == expected.result().model_dump_json()


def test_only_those_are_asked_who_collected_it(played):
    assert [o.result.cohorts for o in played.outcomes] == [
        ("nutrition", "seniors", "twins", "workers"),
        ("nutrition", "seniors", "twins", "workers"),
        ("seniors", "twins", "workers"),
    ]


def test_the_truth_is_beside_the_result(played):
    table = beside_truth(played.outcomes[0].result, "hdl")
    assert [row[:2] for row in table.rows] == [
        ("sex[male]", -0.28), ("bmi", -0.022), ("smoking[former]", 0.0), ("smoking[current]", -0.1)
    ]  # fmt: skip
    assert all(abs(row[4]) < 4.5 for row in table.rows)
    assert all((row[5] == "yes") == (abs(row[4]) < 1.97) for row in table.rows)
    assert "Beside the truth: hdl" in played.as_text()


def test_own_codes_keep_a_holder_out_and_it_says_why(tmp_path):
    with_own = SMALL.replace('coding = "columns"', 'coding = "own"')
    found = play(scenario(with_own, folder=tmp_path))
    assert list(found.left_out) == ["seniors"]
    assert "contradict the dictionary" in found.as_text()
    assert found.outcomes[0].result.cohorts == ("nutrition", "twins", "workers")
    alone = 'title = "x"\npeople = {holders = {seniors = 50}}\n[problems.seniors]\ncoding = "own"\n'
    alone += '[[ask]]\nanalysis = "describe"\n'
    with pytest.raises(CohortiumError, match="No holder's data can be read"):
        play(scenario(alone, folder=tmp_path))


def test_a_policy_refuses_and_the_next_question_goes_on(tmp_path):
    strict = SMALL.replace("[[ask]]", "[policy]\nmin_people = 320\n[[ask]]", 1)
    first, second, _ = play(scenario(strict, folder=tmp_path)).outcomes
    assert isinstance(first.problem, Refused)
    assert first.bits.startswith("Refused")
    assert "Refused" in first.as_text()
    assert isinstance(second.problem, Refused)


def test_faults_change_nothing_but_the_time(played, tmp_path):
    faults = """
[[faults]]
kind = "restarting"
cohort = "workers"
at = 2
[[faults]]
kind = "killed"
at = 6
[[faults]]
kind = "cut"
lasts = 100
"""
    disturbed = play(scenario(more=faults, folder=tmp_path))
    assert [o.bits for o in disturbed.outcomes] == [o.bits for o in played.outcomes]
    assert "passed" in disturbed.notes[0]
    assert "1 restarts of the coordinator" in disturbed.notes[0]


def test_a_fault_that_ends_a_job_is_told(tmp_path):
    dead = '[[faults]]\nkind = "dead"\ncohort = "workers"\n'
    found = play(scenario(more=dead, folder=tmp_path))
    assert {o.bits.partition(":")[0] for o in found.outcomes} == {"JobCancelled"}


@pytest.mark.e2e
@pytest.mark.xdist_group("end-to-end")
@pytest.mark.timeout(240)
def test_real_processes_give_the_same_bits(played, tmp_path):
    faults = """
[[faults]]
kind = "frozen"
cohort = "seniors"
at = 0.3
lasts = 1
[[faults]]
kind = "restarting"
cohort = "workers"
at = 0.5
lasts = 0.5
[[faults]]
kind = "reordered"
"""
    real = play(scenario(more=faults, folder=tmp_path), where="processes", folder=tmp_path / "kept")
    assert [o.bits for o in real.outcomes] == [o.bits for o in played.outcomes]
    assert real.notes[0].startswith("Left out")
    assert (tmp_path / "kept" / "run" / "coordinator.log").is_file()


def test_the_command(tmp_path):
    scenario(folder=tmp_path)
    done = CliRunner().invoke(app, ["run", str(tmp_path / "scenario.toml")])
    assert done.exit_code == 0, done.output
    assert "Beside the truth" in done.output


def settings(model, prefix=""):
    """Every key that a scenario file may have, with its description."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field.description
        part = {"people": People, "problems": Problems, "ask": Asked}.get(name) if not prefix else None
        if part:
            yield from settings(part, f"{name}.{'*.' if name == 'problems' else ''}")


def test_every_setting_is_documented():
    page = (EXAMPLES[0].parents[2] / "docs" / "scenarios.md").read_text()
    documented = re.findall(r"^\| `([\w.*]+)` \| (.+) \|$", page.split("<!-- settings -->")[1], re.MULTILINE)
    assert documented == [(name, said) for name, said in settings(Scenario) if said]


def test_every_fault_is_documented():
    page = (EXAMPLES[0].parents[2] / "docs" / "faults.md").read_text()
    assert {kind for kind in (*NODE, *MESSAGE, *COORDINATOR) if f"`{kind}`" not in page} == set()
