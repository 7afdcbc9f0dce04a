"""Approval by hand over real processes: a job waits through restarts on both sides, and the operator decides."""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cohortium import cli
from cohortium.dictionary import Dictionary
from cohortium.errors import Refused
from cohortium.messages import JobState
from node import console
from simulation import network as in_process
from simulation.processes import LocalNetwork

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("end-to-end"), pytest.mark.timeout(120)]

DICTIONARY = 'name = "t"\nversion = "1"\nvariables.x = {type = "number"}\nvariables.y = {type = "number"}\n'
COHORTS = ("north", "south", "west")
ASKED = {"formula": "y ~ x", "family": "gaussian"}


def people(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(seed, 1, 200)
    return pl.DataFrame({"x": x, "y": 2 * x + rng.normal(size=200)})


FRAMES = {name: people(seed) for seed, name in enumerate(COHORTS)}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """North approves by hand, the others at once."""
    folder = tmp_path_factory.mktemp("approval")
    (folder / "dictionary.toml").write_text(DICTIONARY)
    (folder / "auto.toml").write_text("")
    (folder / "manual.toml").write_text('approval = "manual"\n')
    sources = {name: folder / f"{name}.parquet" for name in COHORTS}
    for name, path in sources.items():
        FRAMES[name].write_parquet(path)
    network = LocalNetwork(folder / "run", folder / "dictionary.toml", sources, folder / "auto.toml", ["e2e"])
    settings = Path(network.folder / "north" / "node.toml")
    settings.write_text(settings.read_text().replace("auto.toml", "manual.toml"))
    with network:
        yield network


def researcher(local, *arguments):
    """Run a command and return what it printed. It talks to the processes of the network, not to this one."""
    done = CliRunner().invoke(cli.app, list(arguments), env=local.environment())
    assert done.exit_code == 0, done.output
    return done.stdout


def operator(local, *arguments):
    """The same for the operator of north."""
    done = CliRunner().invoke(console.app, [*arguments, "--config", str(local.folder / "north" / "node.toml")])
    assert done.exit_code == 0, done.output
    return done.stdout


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def awaits_north(job):
    view = job.refresh()
    return view.state is JobState.awaiting_approval and view.progress.waiting_for == ("north",)


def test_a_job_waits_through_restarts_until_the_operator_approves(local):
    job = local.connect().study("e2e").glm(**ASKED)
    wait_for(lambda: awaits_north(job))
    assert local.end("north") == 0
    local.end("coordinator", kill=True)
    local.start_coordinator()
    local.start_node("north")
    again = local.connect().job(job.id)
    assert awaits_north(again)
    (request,) = json.loads(operator(local, "requests", "--json"))
    assert request["job"].startswith(job.id)
    assert (request["state"], request["study"], request["variables"]) == ("waiting", "e2e", ["y", "x"])
    assert "approval of north" in researcher(local, "job", job.id)
    assert "numbers are shown in a terminal" in operator(local, "preview", job.id)
    assert "approved" in operator(local, "approve", job.id)
    decided = time.monotonic()
    result = again.result(timeout=30)
    assert time.monotonic() - decided < 10
    expected = in_process(FRAMES, Dictionary.from_toml(local.dictionary)).study().glm(**ASKED).result()
    assert result.model_dump_json() == expected.model_dump_json()
    journal = operator(local, "journal", "--verify")
    assert journal.index("approval asked") < journal.index("approval given") < journal.index("answered")


def test_a_refusal_ends_the_job_with_the_operators_reason(local):
    job = local.connect().study("e2e").glm(**ASKED)
    wait_for(lambda: awaits_north(job))
    operator(local, "refuse", job.id, "--reason", "Ask the steering group first.")
    with pytest.raises(Refused, match="Ask the steering group first") as refused:
        job.result(timeout=30)
    assert (refused.value.rule, refused.value.cohort) == ("approval", "north")
    assert job.state is JobState.refused
    assert "the operator of `north`" in researcher(local, "explain", job.id)
    assert "0 waiting" in operator(local, "requests")
