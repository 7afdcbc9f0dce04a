"""`cohortium node …` as an operator types it: set up, check, start, stop; no data shown, clean exit codes."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tomllib

import numpy as np
import polars as pl
import pytest
import structlog
from click.testing import Result
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from cohortium.data import Data
from cohortium.dictionary import Dictionary
from node.config import NodeSettings, render
from node.console import app, summary
from node.disclosure import Policy
from node.keys import load_key, new_key
from node.logs import configure
from simulation.certificates import make_certificates

SENTINEL = "S3NTINEL"
DICTIONARY = """
name = "test"
version = "3"
[variables.age]
type = "integer"
unit = "a"
minimum = 0
maximum = 120
[variables.sex]
type = "category"
categories = [{value = "female"}, {value = "male"}]
[variables.bmi]
type = "number"
[variables.income]
type = "number"
"""


def run(*arguments) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path):
    """A node of 100 people, 30 of them without a bmi, that would dial a port where nobody listens."""
    ages = [*range(20, 60)] * 2 + [33] * 20
    bmi = [None] * 30 + [24.5] * 70
    frame = pl.DataFrame({"age": ages, "sex": ["male", "female"] * 50, "bmi": bmi, "note": [SENTINEL] * 100})
    frame.write_parquet(tmp_path / "people.parquet")
    (tmp_path / "dictionary.toml").write_text(DICTIONARY)
    new_key(tmp_path / "node.key")
    configure_node(tmp_path)
    return tmp_path


def configure_node(folder, **changed):
    values = {
        "cohort": "north",
        "coordinator": "127.0.0.1:9",
        "dictionary": "dictionary.toml",
        "data": {"source": "people.parquet", "absent": ["income"]},
    }
    (folder / "node.toml").write_text(render(values | changed), encoding="utf-8")


class TestInit:
    def test_it_writes_what_a_node_needs(self, tmp_path):
        done = run("init", tmp_path / "new", "--cohort", "north", "--coordinator", "c.example.nl:9443")
        assert done.exit_code == 0, done.output
        made = tmp_path / "new"
        assert sorted(p.name for p in made.iterdir()) == ["node.key", "node.key.pub", "node.toml", "policy.toml"]
        assert stat.S_IMODE((made / "node.key").stat().st_mode) == 0o600
        public = (made / "node.key.pub").read_text()
        assert load_pem_public_key(public.encode()) == load_key(made / "node.key").public_key()
        assert public in done.output
        assert str(made / "node.key.pub") in done.output
        assert "PRIVATE" not in done.output
        assert Policy.from_toml(made / "policy.toml") == Policy()
        settings = NodeSettings.of(tomllib.loads((made / "node.toml").read_text()), "node.toml")
        assert (settings.cohort, settings.coordinator) == ("north", "c.example.nl:9443")

    @pytest.mark.parametrize("name", ["node.toml", "policy.toml", "node.key", "node.key.pub"])
    def test_nothing_is_overwritten(self, tmp_path, name):
        (tmp_path / name).write_text("mine")
        done = run("init", tmp_path)
        assert done.exit_code == 2
        assert name in done.output
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_text() == "mine"

    def test_a_name_that_is_none(self, tmp_path):
        done = run("init", tmp_path / "new", "--cohort", "North Pole")
        assert done.exit_code == 2
        assert "cohort:" in done.output
        assert not (tmp_path / "new").exists()

    def test_it_leads_to_a_node_that_checks(self, folder, tmp_path):
        run("init", tmp_path / "new", "--cohort", "north")
        made = tmp_path / "new"
        (made / "data").mkdir()
        make_certificates(made)
        (made / "dictionary.toml").write_text(DICTIONARY)
        frame = pl.read_parquet(folder / "people.parquet").with_columns(income=pl.lit(1.0))
        frame.write_parquet(made / "data" / "x.parquet")
        done = run("check", "--config", made / "node.toml")
        assert done.exit_code == 0, done.output


class TestCheck:
    def test_it_tells_the_variables_and_no_data(self, folder):
        done = run("check", "--config", folder / "node.toml")
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines() == [
            "north: 1 file(s), dictionary test 3",
            "",
            "age     integer (a); none missing",
            "sex     category: female, male; none missing",
            "bmi     number; 30% missing",
            "income  number; not collected",
            "",
            "The data agree with the dictionary.",
        ]
        assert "not read: note" in done.stderr
        assert SENTINEL not in done.output

    def test_contradictions_are_listed(self, folder):
        frame = pl.DataFrame({"age": [130, 131, 3], "sex": [SENTINEL, "male", "x"], "bmi": [SENTINEL, "1", "2"]})
        frame.write_csv(folder / "people.csv")
        configure_node(folder, data={"source": "people.csv", "absent": ["income"]})
        done = run("check", "--config", folder / "node.toml")
        assert done.exit_code == 1
        assert "  age: 2 rows above the maximum 120 (unit a)\n" in done.stderr
        assert "  sex: 2 rows with a category that the dictionary does not declare\n" in done.stderr
        assert "  bmi: 1 row not a number\n" in done.stderr
        assert SENTINEL not in done.output
        assert "130" not in done.output

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"policy": "lost.toml"}, "policy: there is no file"),
            ({"key": "dictionary.toml"}, "is no private key"),
            ({"key": "people.parquet"}, "is no private key"),
            ({"ca": "node.key"}, "is no certificate"),
            ({"coordinator": "coordinator.example.nl:9443"}, "`ca` is missing"),
            ({"dictionary": "node.key"}, "is not TOML"),
            ({"dictionary": "people.parquet"}, "is not TOML"),
            ({"data": {"source": "lost.csv"}}, "there is no file"),
            ({"data": {"source": "people.parquet", "absent": ["incme"]}}, "Did you mean `income`"),
            ({"policy": "bad.toml"}, "min_peple"),
        ],
    )
    def test_what_else_may_be_wrong(self, folder, changed, said):
        (folder / "bad.toml").write_text("min_peple = 3")
        configure_node(folder, **changed)
        done = run("check", "--config", folder / "node.toml")
        assert done.exit_code == 2, done.output
        assert said in done.stderr
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (0, "none missing"),
        (9, "missing share withheld (`min_people`)"),
        (10, "10% missing"),
        (90, "90% missing"),
        (91, "missing share withheld (`min_people`)"),
        (100, "missing share withheld (`min_people`)"),
    ],
)
def test_a_share_of_few_people_is_withheld(missing, said):
    known = Dictionary.model_validate({"name": "t", "version": "1", "variables": {"x": {"type": "number"}}})
    values = np.where(np.arange(100) < missing, np.nan, 1.0)
    assert summary(Data(known, {"x": values}, 100), Policy()) == [f"x  number; {said}"]


class TestStart:
    def start(self, folder, **kwargs):
        command = [sys.executable, "-m", "cohortium", "node", "start", "--config", str(folder / "node.toml")]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **kwargs
        )

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_keeps_trying_and_stops_when_told(self, folder, number):
        configure_node(folder, log="json")
        process = self.start(folder)
        try:
            events = []
            for line in process.stderr:
                if line.startswith("{"):
                    events.append(json.loads(line))
                    if events[-1]["event"] == "unreachable":
                        break
            assert events[0]["event"] == "connecting"
            assert {e["cohort"] for e in events} == {"north"}
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0
        assert "ready" not in out
        assert "Traceback" not in err
        assert SENTINEL not in err

    def test_data_that_contradict_the_dictionary(self, folder):
        pl.DataFrame({"age": [130], "sex": ["male"], "bmi": [1.0]}).write_parquet(folder / "people.parquet")
        process = self.start(folder)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "age: 1 row above the maximum 120" in err
        assert out == ""

    @pytest.mark.parametrize(
        "changed", [{"coordinator": "coordinator.example.nl:9443"}, {"workers": 0}, {"ca": "node.key"}]
    )
    def test_settings_that_cannot_work(self, folder, changed):
        configure_node(folder, **changed)
        process = self.start(folder)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2, err
        assert "Error: " in err
        assert "Traceback" not in err


def test_help_loads_nothing_heavy():
    code = "import sys, node.console; print(*(m for m in ('duckdb', 'pyarrow', 'flwr', 'numpy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == ""


class TestLog:
    @pytest.fixture(autouse=True)
    def restored(self):
        """Other tests of this process keep their own logging."""
        root = logging.getLogger()
        before = root.handlers[:], root.level, structlog.get_config()
        yield
        root.handlers[:], root.level = before[0], before[1]
        structlog.configure(**before[2])

    @pytest.mark.parametrize("style", ["json", "console"])
    def test_an_exception_is_logged_by_its_place_and_not_in_its_words(self, capsys, style):
        log = configure(style, "north")
        try:
            raise ValueError(SENTINEL)
        except ValueError:
            log.exception("failed")
            log.error("again", exc_info=True)
            logging.getLogger("cohortium.node").exception("failed elsewhere")
            logging.getLogger("some.library").exception("failed there")
        said = capsys.readouterr().err
        assert SENTINEL not in said
        assert said.count("ValueError") == said.count("test_node_console.py:") == said.count("north") == 4

    def test_libraries_are_heard_only_when_something_is_wrong(self, capsys):
        configure("json", "north")
        logging.getLogger("httpx").info("a request")
        logging.getLogger("cohortium.node").info("a question")
        assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["a question"]
