"""The whole path over real processes: coordinator and nodes as an operator starts them, over TLS."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import cohortium
from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError, Refused, Revoked, Superseded, UnknownName
from cohortium.keys import public_text
from cohortium.messages import AnswerMessage, JobState
from cohortium.proof import unpack
from cohortium.verification import verify
from node.keys import new_key
from simulation import network as in_process
from simulation.processes import LocalNetwork

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("end-to-end"), pytest.mark.timeout(180)]

DICTIONARY = """
name = "test"
version = "1"
variables.x = {type = "number", minimum = -10, maximum = 10}
variables.sex = {type = "category", categories = [{value = "f"}, {value = "m"}]}
variables.sick = {type = "boolean"}
variables.days = {type = "integer", minimum = 0, maximum = 60}
"""
# One study asks everything, of 1,200 values of whom a few have each day: what that would tell is judged elsewhere.
POLICY = """
min_people = 10
min_cell = 5
min_interval = 1
min_difference = 1
min_carriers = 1
max_share_of_one = 1.0
max_share_of_two = 1.0
max_leverage = 1.0
budget_warn = 50.0
budget_refuse = 100.0
"""
COHORTS = ("north", "south", "west")


def people(seed: int, rows: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x, sex = rng.normal(seed % 3, 1, rows), rng.choice(["f", "m"], rows)
    sick = rng.random(rows) < 1 / (1 + np.exp(-(0.5 * x - 0.7 * (sex == "m"))))
    frame = pl.DataFrame({"x": x, "sex": sex, "sick": sick, "days": rng.integers(0, 61, rows)})
    return frame.with_columns(pl.when(pl.int_range(pl.len()) % 20 == 0).then(None).otherwise(pl.col("x")).alias("x"))


# More parameters than a third of the people in a cohort.
WIDE = f"sick ~ x * cut(days, {[k + 0.5 for k in range(1, 50)]}) + x:sex"
FRAMES = {name: people(seed) for seed, name in enumerate(COHORTS)}


def build(folder: Path) -> LocalNetwork:
    (folder / "dictionary.toml").write_text(DICTIONARY)
    (folder / "policy.toml").write_text(POLICY)
    sources = {name: folder / f"{name}.parquet" for name in COHORTS}
    for name, path in sources.items():
        FRAMES[name].write_parquet(path)
    return LocalNetwork(folder / "run", folder / "dictionary.toml", sources, folder / "policy.toml", ["e2e", "unnamed"])


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with build(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest.fixture
def study(local):
    return local.connect().study("e2e")


def command(*arguments, **environment):
    """Run the command line and return what became of it."""
    return subprocess.run(
        [sys.executable, "-m", "cohortium", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def simulated(local):
    """The same cohorts in this process."""
    return in_process(FRAMES, Dictionary.from_toml(local.folder.parent / "dictionary.toml")).study()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("effect", ["common", "stratified"])
@pytest.mark.parametrize(("formula", "family"), [("x ~ sex + days", "gaussian"), ("sick ~ x + sex", "binomial")])
def test_the_real_network_and_the_simulation_give_the_same_bits(local, study, formula, family, effect):
    asked = {"formula": formula, "family": family, "cohort_effect": effect}
    real = study.glm(**asked).result()
    simulated = (
        in_process(FRAMES, Dictionary.from_toml(local.folder.parent / "dictionary.toml")).study().glm(**asked).result()
    )
    assert real.model_dump_json() == simulated.model_dump_json()
    assert real.cohorts == COHORTS


def test_equals_the_pooled_fit(study):
    fitted = study.glm(formula="sick ~ x*sex", family="binomial", cohort_effect="common").result()
    pooled = pl.concat(FRAMES.values()).drop_nulls("x")
    x, male = pooled["x"].to_numpy(), (pooled["sex"] == "m").to_numpy().astype(float)
    design = np.column_stack([np.ones(len(x)), x, male, x * male])
    expected = sm.GLM(pooled["sick"].to_numpy().astype(float), design, sm.families.Binomial()).fit(tol=1e-14)
    assert list(fitted.coefficients) == ["(Intercept)", "x", "sex[m]", "x:sex[m]"]
    np.testing.assert_allclose([c.estimate for c in fitted.coefficients.values()], expected.params, rtol=1e-9)
    np.testing.assert_allclose([c.std_error for c in fitted.coefficients.values()], expected.bse, rtol=1e-9)
    assert (fitted.n, fitted.n_excluded) == (855, 45)


def test_what_a_policy_forbids_beside_a_pooled_fit_is_said_and_verified(local, study):
    plain = study.glm(formula="sick ~ x + sex", family="binomial").result()
    result = study.glm(formula="sick ~ x + sex", family="binomial", by_cohort=True).result()
    assert result.by_cohort == {}
    assert result.coefficients == plain.coefficients
    assert result.rounds == plain.rounds + 1
    assert "the policy of north (`release_per_cohort`) forbids them" in result.warnings[-1]
    assert verify(result, unpack(result.proof()), local.ceremony.authority_key).identical


def test_jobs_run_in_parallel(study):
    jobs = [study.glm(formula=f"days ~ x^{k}", family="gaussian") for k in (1, 2, 3, 4)]
    results = [job.result(timeout=60) for job in jobs]
    assert [list(r.coefficients) for r in results] == [[f"x^{k}" if k > 1 else "x^1"] for k in (1, 2, 3, 4)]


def test_survival_and_description(study):
    assert study.kaplan_meier(formula="Surv(days, sick) ~ sex").result().n == 900
    described = study.describe(variables=["x", "sex"]).result()
    assert described.variables["x"].n == 855


def test_errors_reach_the_researcher_as_themselves(study):
    with pytest.raises(FormulaError) as caught:
        study.glm(formula="sick ~ x + smokes", family="binomial")
    assert caught.value.position == 11
    with pytest.raises(UnknownName, match="no cohort `east`"):
        study.describe(variables=["x"], cohorts=["east"])
    with pytest.raises(Refused) as refused:
        study.glm(formula=WIDE, family="gaussian").result()
    assert (refused.value.rule, refused.value.cohort) == ("max_parameters_per_person", None)
    assert "one or more cohorts" in str(refused.value.explain())


def test_a_refused_job_says_so(study):
    job = study.glm(formula=WIDE, family="gaussian")
    wait_for(lambda: job.state.is_final)
    assert job.state is JobState.refused


def test_the_command_line(local):
    reach = local.environment()
    asked = ("run", "glm", "--family", "binomial", "--study", "e2e", "--formula")
    done = command(*asked, "sick ~ x + sex", **reach)
    assert done.returncode == 0, done.stderr
    assert "sex[m]" in done.stdout
    wrong = command(*asked, "sick ~ x + smokes", **reach)
    assert wrong.returncode == 1
    assert "smokes" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    listed = command("cohorts", **reach)
    assert all(name in listed.stdout for name in COHORTS)


def test_strangers_are_turned_away(local):
    with httpx.Client(verify=ssl.create_default_context(cafile=str(local.ca)), base_url=local.url) as client:
        assert client.get("/api/v1/jobs").status_code == 401
        assert client.get("/api/v1/jobs", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    fleet = f"https://localhost:{local.fleet_port}"
    with httpx.Client(verify=ssl.create_default_context(cafile=str(local.ca)), base_url=fleet) as client:
        for path in ("/v1/control/start-run", "/v1/runtime/acquire-task", "/docs", "/openapi.json"):
            assert client.post(path, content=b"").status_code == 404


def test_an_endless_body_is_cut_off(local):
    def endless():
        for _ in range(3 * 1024):
            yield b" " * 2**20

    headers = {"Authorization": f"Bearer {local.token}", "Content-Type": "application/json"}
    with httpx.Client(
        verify=ssl.create_default_context(cafile=str(local.ca)), base_url=local.url, timeout=60
    ) as client:
        # The connection may be closed while we are still sending; then the answer is lost on the way.
        with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
            assert client.post("/api/v1/jobs", content=endless(), headers=headers).status_code == 413
        assert client.get("/api/v1/health").status_code == 200


def test_a_body_that_announces_three_gigabytes_is_not_waited_for(local):
    trusted = ssl.create_default_context(cafile=str(local.ca))
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {local.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {3 * 2**30}\r\n\r\n"
    with (
        socket.create_connection(("localhost", local.api_port), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def with_keys_of(local, cohort, config):
    """Settings in another folder that use a cohort's identity and masking keys."""
    keys = "".join(f"{name} = '{local.folder / cohort / name}.key'\n" for name in ("identity", "masking"))
    return config.replace("[trust]\n", f"[trust]\n{keys}")


def test_a_node_with_an_unknown_key_is_turned_away(local, tmp_path):
    config = (local.folder / "north" / "node.toml").read_text()
    new_key(tmp_path / "node.key")
    (tmp_path / "node.toml").write_text(with_keys_of(local, "north", config))
    stranger = command("node", "start", "--config", tmp_path / "node.toml")
    assert stranger.returncode == 3
    assert "enrol" in stranger.stdout + stranger.stderr
    assert "Traceback" not in stranger.stdout + stranger.stderr


def test_data_that_contradict_the_dictionary_stop_the_node(local, tmp_path):
    bad = FRAMES["north"].with_columns(pl.lit("x").alias("sex"), (pl.col("days") + 1000).alias("days"))
    bad.write_parquet(tmp_path / "bad.parquet")
    config = (local.folder / "north" / "node.toml").read_text()
    config = config.replace(str((local.folder.parent / "north.parquet").resolve()), str(tmp_path / "bad.parquet"))
    config = with_keys_of(local, "north", config)
    (tmp_path / "node.toml").write_text(config.replace('"node.key"', f'"{local.folder / "north" / "node.key"}"'))
    done = command("node", "start", "--config", tmp_path / "node.toml")
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "days: 300 rows" in said
    assert "sex: 300 rows" in said


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    with build(tmp_path_factory.mktemp("disturbed")) as running:
        yield running


class TestDisturbed:
    """A network of its own, because these tests stop and kill its parts."""

    def ask(self, local):
        return local.connect().study("e2e").glm(formula="sick ~ x + sex", family="binomial")

    def expected(self, local):
        return simulated(local).glm(formula="sick ~ x + sex", family="binomial").result()

    def test_a_node_killed_in_the_middle(self, disturbed):
        frozen = disturbed.processes["south"]
        frozen.send_signal(signal.SIGSTOP)
        job = self.ask(disturbed)
        wait_for(lambda: job.progress().waiting_for == ("south",))
        assert disturbed.end("south", kill=True) == -signal.SIGKILL
        time.sleep(0.5)
        assert job.state is JobState.running
        assert job.progress().waiting_for == ("south",)
        disturbed.start_node("south")
        assert job.result(timeout=60).model_dump_json() == self.expected(disturbed).model_dump_json()

    def test_a_coordinator_killed_in_the_middle(self, disturbed):
        frozen = disturbed.processes["west"]
        frozen.send_signal(signal.SIGSTOP)
        job = self.ask(disturbed)
        wait_for(lambda: job.progress().waiting_for == ("west",))
        disturbed.end("coordinator", kill=True)
        frozen.send_signal(signal.SIGCONT)
        disturbed.start_coordinator()
        again = disturbed.connect().job(job.id)
        assert again.result(timeout=60).model_dump_json() == self.expected(disturbed).model_dump_json()

    def test_a_clean_stop_and_restart(self, disturbed):
        assert disturbed.end("north") == 0
        wait_for(lambda: not {c.name: c.online for c in disturbed.connect().cohorts()}["north"])
        disturbed.start_node("north")
        disturbed.wait_until_online(COHORTS)
        assert self.ask(disturbed).result(timeout=60).n == 855
        assert disturbed.end("coordinator") == 0
        disturbed.start_coordinator()
        disturbed.wait_until_online(COHORTS)

    def test_a_waiting_job_can_be_cancelled(self, disturbed):
        disturbed.end("north")
        job = self.ask(disturbed)
        wait_for(lambda: "north" in job.progress().waiting_for)
        assert job.cancel() is JobState.cancelled
        disturbed.start_node("north")
        disturbed.wait_until_online(COHORTS)


class TestTrust:
    """Masked, signed, journalled, and verified by anybody."""

    def test_a_saved_result_is_verified_on_the_command_line(self, local, study, tmp_path):
        result = study.glm(formula="sick ~ x + sex", family="binomial").result()
        bundle = result.save(tmp_path / "result.zip")
        done = command("verify", bundle, COHORTIUM_AUTHORITY=local.ceremony.authority_key)
        assert done.returncode == 0, done.stderr
        assert "identical" in done.stdout
        assert done.stdout.endswith("verified\n")
        stranger = public_text(Ed25519PrivateKey.generate().public_key())
        wrong = command("verify", bundle, "--authority", stranger)
        assert wrong.returncode == 1
        assert "roster is signed by a key that may not sign it" in wrong.stderr
        assert cohortium.load(bundle).proof() == result.proof()

    def test_no_node_sends_what_can_be_read(self, study):
        first, second = (study.describe(variables=["x"]).result() for _ in range(2))
        assert first == second
        rounds = [unpack(result.proof()).rounds[0].answers["north"] for result in (first, second)]
        vectors = [AnswerMessage.from_bytes(reply)[1]["vector"] for reply in rounds]
        assert len(vectors[0]) == len(vectors[1])
        equal = np.mean(vectors[0] == vectors[1])
        assert equal < 0.05, "the same numbers under another job have another mask"

    def test_the_journal_and_the_audit_verify_and_witness_each_other(self, local, study):
        study.describe(variables=["x"]).result()
        done = command("node", "journal", "--verify", "--config", local.folder / "north" / "node.toml")
        assert done.returncode == 0, done.stderr
        assert "none missing" in done.stdout
        assert "answered" in done.stdout
        settings = local.folder / "coordinator.toml"
        audit = command("coordinator", "audit", "--verify", "--last", 1000, "--config", settings)
        assert audit.returncode == 0, audit.stderr
        seen = re.search(r"journal seen  cohort=north entry=([0-9a-f]{64}) number=(\d+)", audit.stdout)
        witness = f"{seen[2]}:{seen[1]}"
        checked = ("node", "journal", "--verify", "--config", local.folder / "north" / "node.toml", "--witness")
        assert command(*checked, witness).returncode == 0
        assert command(*checked, f"{seen[2]}:{'0' * 64}").returncode == 1

    def test_a_new_roster_ends_the_keys_that_it_no_longer_lists(self, tmp_path):
        with build(tmp_path) as network:
            study = network.connect().study("e2e")
            assert study.describe(variables=["x"]).result().n == 900
            frozen = network.processes["west"]
            frozen.send_signal(signal.SIGSTOP)
            open_job = study.describe(variables=["x"])
            wait_for(lambda: open_job.progress().waiting_for == ("west",))
            revoked = public_text(network.ceremony.researcher.public_key())
            roster = network.folder / "roster.json"
            roster.write_bytes(network.ceremony.renew(revoked=(revoked,)).to_bytes())
            reach = network.environment() | {"COHORTIUM_TOKEN": network.operator_token}
            brought = command("coordinator", "roster", roster, **reach)
            assert brought.returncode == 0, brought.stderr
            with pytest.raises(Superseded):
                open_job.result(timeout=30)
            frozen.send_signal(signal.SIGCONT)
            with pytest.raises(Revoked):
                study.describe(variables=["x"])
            wait_for(
                lambda: (
                    "version=2" in command("node", "journal", "--config", network.folder / "north" / "node.toml").stdout
                )
            )
