"""The command line: generated commands, connection, errors as messages, programs that others bring."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from typing import Literal

import click
import pytest
from fake_coordinator import AVERAGE, RESULT, TOKEN, AverageResult, job_view, running
from pydantic import Field
from typer.testing import CliRunner

import cohortium
from cohortium import cli, connected, options, programs, settings
from cohortium.analysis import Params, registry
from cohortium.errors import FormulaError


@pytest.fixture
def run(average):
    def run(*arguments: str, text: str | None = None):
        return CliRunner().invoke(cli.app, arguments, input=text, prog_name="cohortium")

    return run


@pytest.fixture
def asked(run, logged_in, coordinator):
    """Run `average` without waiting, and return what reached the coordinator."""

    def asked(*arguments: str):
        outcome = run("run", "average", *arguments, "--no-wait")
        assert outcome.exit_code == 0, outcome.output
        return coordinator.bodies[-1]

    return asked


def test_options_become_parameters_of_the_declared_types(asked):
    line = ["--formula", "bmi ~ 1", "--kind", "trimmed", "--max-rounds", "7", "--confidence", "0.9", "--exact"]
    line += ["--groups", "sex, smoking", "--groups", "cut(age, [40, 60])", "--knots", "[1, 2.5]"]
    assert asked(*line)["params"] == {
        "formula": "bmi ~ 1",
        "kind": "trimmed",
        "max_rounds": 7,
        "confidence": 0.9,
        "exact": True,
        "groups": ["sex", "smoking", "cut(age, [40, 60])"],
        "knots": [1, 2.5],
    }


def test_what_is_not_given_is_not_sent(asked):
    assert asked("--formula", "bmi ~ 1", "--no-exact", "--max_rounds", "3") == {
        "study": "unnamed",
        "analysis": "average",
        "params": {"formula": "bmi ~ 1", "max_rounds": 3, "exact": False},
        "cohorts": ["north", "south"],
    }


def test_study_and_cohorts(asked):
    body = asked("--formula", "bmi ~ 1", "--study", "smoking", "--cohorts", "north,south")
    assert (body["study"], body["cohorts"]) == ("smoking", ["north", "south"])


def test_help_is_made_from_the_parameters(run):
    text = run("run", "average", "--help").output
    for words in ("Average of a variable.", "More words.", "--formula", "[required]", "[plain|trimmed]", "--no-exact"):
        assert words in text
    assert "Which average. [default: plain]" in " ".join(text.split())
    assert "[default: 25]" in text
    assert "average" in run("run", "--help").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--formula"),
        (["--formula", "y ~ x", "--kind", "odd"], "'odd' is not one of 'plain', 'trimmed'"),
        (["--formula", "y ~ x", "--max-rounds", "many"], "not a valid integer"),
        (["--formula", "y ~ x", "--colour", "red"], "No such option"),
        (["--formula", "y ~ x", "--save", "/no/such/folder/r.zip"], "There is no folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(run, logged_in, coordinator, arguments, words):
    outcome = run("run", "average", *arguments)
    assert outcome.exit_code == 2
    assert words in outcome.output
    assert coordinator.bodies == []


def test_an_unknown_analysis_comes_with_a_suggestion(run):
    outcome = run("run", "avrage")
    assert outcome.exit_code == 2
    assert "Did you mean `average`?" in outcome.output


def test_an_impossible_question_points_at_the_character(run, logged_in, coordinator):
    outcome = run("run", "average", "--formula", "bmi ~ age $ 2")
    assert outcome.exit_code == 1
    assert outcome.stderr == "Error: `$` has no meaning in a formula.\n  bmi ~ age $ 2\n            ^\n"
    coordinator.problem = FormulaError("There is no variable `agee`.", "bmi ~ agee", 6)
    assert run("run", "average", "--formula", "bmi ~ agee").stderr.endswith("  bmi ~ agee\n        ^\n")


def test_a_result_is_printed_saved_and_reported(run, logged_in, coordinator, tmp_path):
    coordinator.streams = [[running(1, "north"), job_view(state="finished")]]
    saved, page = tmp_path / "r.zip", tmp_path / "r.html"
    outcome = run("run", "average", "--formula", "bmi ~ 1", "--save", str(saved), "--report", str(page))
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout == f"{RESULT.summary()}\n"
    assert "Job j1" in outcome.stderr
    assert cohortium.load(saved) == RESULT
    assert "Average of a variable" in page.read_text()


def test_a_file_that_cannot_be_written_is_named(run, logged_in, coordinator, tmp_path):
    coordinator.job = job_view(state="finished")
    outcome = run("result", "j1", "--save", str(tmp_path))
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: ")
    assert tmp_path.name in outcome.stderr
    assert outcome.stdout == f"{RESULT.summary()}\n"


def test_json_is_exact_and_alone_on_stdout(run, logged_in, coordinator):
    coordinator.job = job_view(state="finished")
    outcome = run("result", "j1", "--json")
    assert AverageResult.model_validate_json(outcome.stdout) == RESULT


def test_no_wait_prints_the_id_alone(run, logged_in):
    assert run("run", "average", "--formula", "bmi ~ 1", "--no-wait").stdout == "j1\n"
    as_json = run("run", "average", "--formula", "bmi ~ 1", "--no-wait", "--json").stdout
    assert json.loads(as_json)["id"] == "j1"


def test_lists(run, logged_in, coordinator):
    assert "online" in run("cohorts").stdout
    assert "bmi" in run("variables", "bmi").stdout
    assert run("variables", "nothing").stdout == "No variables.\n"
    assert "average" in run("analyses").stdout
    assert "j1" in run("jobs").stdout
    assert [c["name"] for c in json.loads(run("cohorts", "--json").stdout)] == ["north", "south"]
    assert json.loads(run("jobs", "--json").stdout)[0]["state"] == "submitted"
    assert run("cancel", "j1").stdout == "Job j1: cancelled\n"


def test_a_job_that_does_not_exist(run, logged_in):
    outcome = run("result", "j9")
    assert (outcome.exit_code, outcome.stderr) == (1, "Error: There is no job `j9`. Known: j1.\n")


@pytest.mark.parametrize("before", [True, False])
def test_connection_options_go_before_or_after_the_command(run, url, before):
    connection = ["--url", url, "--token", TOKEN]
    arguments = [*connection, "cohorts"] if before else ["cohorts", *connection]
    assert "north" in run(*arguments).stdout


def test_without_an_address_the_error_says_how_to_give_one(run):
    outcome = run("cohorts")
    assert outcome.exit_code == 1
    assert "cohortium login" in outcome.stderr
    assert "Traceback" not in outcome.output


def test_login_is_remembered_and_private(run, url):
    outcome = run("login", url, text=f"{TOKEN}\n")
    assert outcome.exit_code == 0, outcome.output
    assert TOKEN not in outcome.output
    assert settings.path().stat().st_mode & 0o777 == 0o600
    assert "north" in run("cohorts").stdout


def test_a_login_that_does_not_work_is_not_remembered(run, url):
    assert "valid token" in run("login", url, text="wrong\n").stderr
    assert not settings.path().exists()


def test_version(run):
    assert run("version").stdout.strip() == cohortium.__version__


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """Programs on the path: one that works, one that raises on import, one that is not there."""
    (tmp_path / "good_program.py").write_text(
        '"""Greets.\n\nMore."""\nimport typer\napp = typer.Typer()\n@app.command()\ndef hello():\n'
        "    print('hello')\n@app.command()\ndef fail():\n"
        "    from cohortium.errors import Refused\n    raise Refused('no', rule='r')\n"
    )
    (tmp_path / "broken_program.py").write_text('"""Breaks."""\nraise RuntimeError("it is broken")\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = [
        EntryPoint(name, f"{name}_program:app", "cohortium.commands") for name in ("good", "broken", "missing", "run")
    ]
    monkeypatch.setattr(programs, "entry_points", lambda group: found if group == "cohortium.commands" else [])
    programs.programs.cache_clear()
    yield
    programs.programs.cache_clear()
    for name in ("good_program", "broken_program"):
        sys.modules.pop(name, None)


def test_programs_are_outlined_without_being_imported(run, brought):
    lines = {line.strip().partition(" ")[0]: line for line in run("--help").stdout.splitlines()}
    assert "Greets." in lines["good"]
    assert "Breaks." in lines["broken"]
    assert "cannot be loaded" in lines["missing"]
    assert not {"good_program", "broken_program"} & set(sys.modules)


def test_a_broken_program_leaves_the_others_alone(run, brought, logged_in):
    assert run("good", "hello").stdout == "hello\n"
    for name, words in (("broken", "it is broken"), ("missing", "No module named")):
        outcome = run(name, "--help")
        assert outcome.exit_code == 1
        assert words in outcome.stderr
    assert "north" in run("cohorts").stdout
    assert run("good", "fail").stderr == "Error: no\n"
    assert "average" in run("run", "--help").stdout


def test_an_unknown_command_is_wrong_usage(run, brought):
    outcome = run("cohort")
    assert outcome.exit_code == 2
    assert "cohorts" in outcome.output


@pytest.mark.parametrize(
    ("text", "items"),
    [("a,b", ["a", "b"]), (" a , ", ["a"]), ("cut(x, [1,2]),y", ["cut(x, [1,2])", "y"]), ("rcs(x, 4)", ["rcs(x, 4)"])],
)
def test_commas_inside_brackets_do_not_separate(text, items):
    assert options.split(text) == items


class OddParams(Params):
    either: int | str | None = Field(None, description="A number or a word.")
    level: Literal[1, 2] = Field(1, description="Only numbers to choose from.")
    table: dict[str, float] = Field(default_factory=dict, description="Anything else is JSON.")


def test_values_of_several_types_are_json_or_text():
    line = ["--either", "many", "--level", "2", "--table", '{"a": 1}']
    command = click.Command("odd", params=options.options(OddParams), callback=lambda **given: given)
    given = {name: value for name, value in command.main(line, standalone_mode=False).items() if value is not None}
    assert given == {"either": "many", "level": 2, "table": {"a": 1}}
    assert OddParams.parse(given).level == 2


def test_every_analysis_can_be_asked_of_a_subgroup_and_says_so_last():
    command = click.Command("odd", params=options.options(OddParams), callback=lambda **given: given)
    assert [option.name for option in command.params] == ["either", "level", "table", "where", "complete"]
    given = command.main(["--where", "age >= 40", "--complete", "bmi, age"], standalone_mode=False)
    assert (given["where"], given["complete"]) == ("age >= 40", ["bmi", "age"])


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_analysis_has_a_command_that_explains_itself(name):
    outcome = CliRunner().invoke(cli.app, ["run", name, "--help"], prog_name="cohortium")
    assert outcome.exit_code == 0, outcome.output
    for field in registry()[name].params.model_fields:
        assert f"--{field.replace('_', '-')}" in outcome.stdout


@pytest.mark.parametrize("name", [*sorted(registry()), "average"])
def test_no_parameter_hides_an_option_that_every_command_has(name):
    params = (registry().get(name) or AVERAGE).params
    own = {flag for option in options.options(params) for flag in [*option.opts, *option.secondary_opts]}
    general = [*cli._asking_options(), *connected.connection_options()]
    assert not own & {flag for option in general for flag in [*option.opts, *option.secondary_opts]}
    assert all(isinstance(option, click.Option) for option in options.options(params))


def program(*arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "cohortium", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_ctrl_c_leaves_the_job_running_and_says_how_to_pick_it_up(logged_in, coordinator):
    coordinator.streams = [[running(1, "north")]]
    process = program("result", "j1")
    deadline = time.monotonic() + 30
    while not any(path.endswith("events") for _, path in coordinator.requests) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "cohortium result j1" in err
    assert "Traceback" not in out + err
    assert not any(path.endswith("cancel") for _, path in coordinator.requests)


def test_the_program_says_errors_plainly():
    process = program("cohorts", COHORTIUM_URL="http://127.0.0.1:1", COHORTIUM_TOKEN="t")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("Error: http://127.0.0.1:1 cannot be reached")
    assert len(err.splitlines()) == 1


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "cohortium", "--help"]
    process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in process.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"numpy", "scipy", "flwr", "fastapi", "httpx", "rich", "algorithms", "altair"}
    assert "run" in process.stdout
