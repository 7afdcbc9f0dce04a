"""The coordinator as an operator runs it: a process of its own, its commands, its signals, its two ports over TLS."""

import json
import os
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from itertools import product

import httpx
import pytest

from cohortium.dictionary import Dictionary
from coordinator.config import render
from node.keys import new_key
from simulation.ceremony import Ceremony
from simulation.certificates import make_certificates

DICTIONARY = """
name = "people"
version = "1"
variables.age = {type = "integer", minimum = 0, maximum = 120}
variables.bmi = {type = "number"}
"""
LOOPBACK = {"api_host": "127.0.0.1", "api_port": 0, "fleet_host": "127.0.0.1", "fleet_port": 0}


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "cohortium", "coordinator", *map(str, arguments)],
        env=os.environ | {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Running:
    """A coordinator's process; `api` is its address."""

    def __init__(self, folder):
        self.config = folder / "coordinator.toml"
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cohortium", "coordinator", "start", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.ready = self.process.stdout.readline()
        assert self.ready.startswith("ready:"), self.log.read_text()
        self.url = self.ready.split()[3].removesuffix("/api/v1,")
        self.ports = [int(port) for port in re.findall(r":(\d+)", self.ready)]
        assert len(self.ports) == 2

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(20)


@contextmanager
def running(folder):
    coordinator = Running(folder)
    try:
        yield coordinator
    finally:
        if coordinator.process.poll() is None:
            coordinator.process.kill()
            coordinator.process.wait()
        coordinator.process.stdout.close()


@pytest.fixture
def folder(tmp_path):
    make_certificates(tmp_path)
    (tmp_path / "dictionary.toml").write_text(DICTIONARY)
    settings = {"name": "test", "dictionary": "dictionary.toml", "log_format": "json", **LOOPBACK}
    tls = {"certificate": "server.crt", "key": "server.key", "ca": "ca.crt"}
    (tmp_path / "coordinator.toml").write_text(render(settings | tls))
    return tmp_path


def token(folder, name, role):
    made = command("token", "new", name, "--role", role, "--config", folder / "coordinator.toml")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def client(coordinator, folder, token):
    trust = ssl.create_default_context(cafile=folder / "ca.crt")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"{coordinator.url}/api/v1", verify=trust, headers=headers, timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_answers_over_tls_and_stops_cleanly(folder, number):
    with running(folder) as coordinator:
        assert coordinator.url.startswith("https://127.0.0.1:")
        with client(coordinator, folder, "") as http:
            assert http.get("/health").json()["status"] == "ok"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
            httpx.get(f"{coordinator.url}/api/v1/health")
        started = time.monotonic()
        assert coordinator.stop(number) == 0
        assert time.monotonic() - started < 5
    for line in coordinator.log.read_text().splitlines():
        assert json.loads(line)["level"] == "info"


def test_cohorts_are_enrolled_and_withdrawn_while_it_runs(folder):
    public_key = new_key(folder / "node.key")
    operator = token(folder, "olga", "operator")
    with running(folder) as coordinator, client(coordinator, folder, operator) as http:
        reach = {"COHORTIUM_URL": coordinator.url, "COHORTIUM_CA": str(folder / "ca.crt")}
        done = command("enrol", "north", public_key, "--title", "North", **reach, COHORTIUM_TOKEN=operator)
        assert (done.returncode, done.stdout) == (0, "`north` is enrolled.\n"), done.stderr
        assert [c["title"] for c in http.get("/cohorts").json()] == ["North"]
        researcher = token(folder, "ada", "researcher")
        refused = command("withdraw", "north", "--token", researcher, **reach)
        assert (refused.returncode, "role `operator`" in refused.stderr) == (1, True)
        assert command("withdraw", "north", **reach, COHORTIUM_TOKEN=operator).returncode == 0
        assert http.get("/cohorts").json() == []
        wrong = command("enrol", "north", folder / "node.key", **reach, COHORTIUM_TOKEN=operator)
        assert (wrong.returncode, "public_key" in wrong.stderr) == (1, True)


def test_a_job_survives_a_kill(folder):
    public_key = new_key(folder / "node.key").read_text()
    operator, researcher = token(folder, "olga", "operator"), token(folder, "ada", "researcher")
    ceremony = Ceremony("test", ("north",))
    permit = ceremony.permit("s")
    with (folder / "coordinator.toml").open("a") as settings:
        settings.write(f'authority = "{ceremony.authority_key}"\n')
    dictionary = Dictionary.from_toml(folder / "dictionary.toml").digest
    job = ceremony.job(permit, "glm", {"formula": "bmi ~ age", "family": "gaussian"}, dictionary)
    roster, permit, job = ({"document": d.to_bytes().decode()} for d in (ceremony.roster, permit, job))
    with running(folder) as coordinator, client(coordinator, folder, operator) as http:
        assert http.post("/cohorts", json={"name": "north", "public_key": public_key}).status_code == 201
        asking = {"Authorization": f"Bearer {researcher}"}
        assert http.put("/roster", json=roster).status_code == 200
        assert http.post("/permits", json=permit).status_code == 201
        job = http.post("/jobs", json=job, headers=asking).json()["id"]
        wait_for(lambda: http.get(f"/jobs/{job}").json()["progress"]["waiting_for"] == ["north"])
        assert coordinator.stop(signal.SIGKILL) == -signal.SIGKILL
    with running(folder) as coordinator, client(coordinator, folder, researcher) as http:
        wait_for(lambda: http.get(f"/jobs/{job}").json()["progress"]["waiting_for"] == ["north"])
        assert http.get(f"/jobs/{job}").json()["state"] == "running"
        with http.stream("GET", f"/jobs/{job}/events") as followed:
            lines = followed.iter_lines()
            assert next(lines) == "event: state"
            started = time.monotonic()
            assert coordinator.stop() == 0
            assert time.monotonic() - started < 5
            assert "north" in "".join(lines), "a follower is sent home, not cut off"
    with sqlite3.connect(folder / "coordinator.db") as connection:
        assert connection.execute("SELECT state FROM jobs").fetchall() == [("running",)]


@pytest.mark.parametrize("declared", [True, False])
def test_three_gigabytes_are_turned_down_at_once(folder, declared):
    researcher = token(folder, "ada", "researcher")
    size = 3 * 2**30
    piece = b" " * 2**20

    def body():
        for _ in range(size // len(piece)):
            yield piece

    headers = {"Content-Type": "application/json"} | ({"Content-Length": str(size)} if declared else {})
    with running(folder) as coordinator, client(coordinator, folder, researcher) as http:
        started = time.monotonic()
        response = http.post("/jobs", content=body(), headers=headers)
        assert response.status_code == 413
        assert "at most" in response.json()["message"]
        assert time.monotonic() - started < 15
        assert http.get("/health").status_code == 200
        assert peak_memory(coordinator.process.pid) < 500 * 2**20


def test_an_endless_head_is_cut_off_on_both_ports(folder):
    with running(folder) as coordinator, client(coordinator, folder, "") as http:
        for port, piece in product(coordinator.ports, (2**17, 2**22)):
            # It may be cut off while it is being sent; then the answer is lost on the way.
            with suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
                assert http.get(f"https://localhost:{port}/api/v1/health", headers={"X": "a" * piece}).status_code in (
                    400,
                    431,
                )
        assert http.get("/health").status_code == 200


def test_both_ports_ask_to_be_reached_over_tls_only(folder):
    with running(folder) as coordinator, client(coordinator, folder, "") as http:
        for port in coordinator.ports:
            assert "max-age" in http.get(f"https://localhost:{port}/api/v1/health").headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "name"),
        ({"dictionary": "coordinator.toml"}, "not a dictionary"),
        ({"certificate": "dictionary.toml"}, "`certificate` and `key`"),
        ({"ca": "dictionary.toml"}, "`ca`"),
        ({"store": "sqlite:////no/such/folder/x.db"}, "`store`"),
        ({"api_host": "192.0.2.1"}, "`api_host`"),
        ({"fleet_host": "192.0.2.1"}, "`fleet_host`"),
    ],
)
def test_what_keeps_it_from_starting_is_told_without_a_traceback(folder, changes, words):
    settings = {"name": "t", "dictionary": "dictionary.toml", **LOOPBACK}
    tls = {"certificate": "server.crt", "key": "server.key", "ca": "ca.crt"}
    (folder / "coordinator.toml").write_text(render(settings | tls | changes))
    started = command("start", "--config", folder / "coordinator.toml")
    assert started.returncode == 1
    assert words in started.stderr
    assert "Traceback" not in started.stderr


def test_init_writes_what_start_needs_and_shows_the_token_once(tmp_path):
    made = command("init", tmp_path / "new")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.splitlines()[-1]
    assert secret.startswith("cohortium_")
    folder = tmp_path / "new"
    assert secret.encode() not in b"".join(file.read_bytes() for file in folder.iterdir())
    make_certificates(folder)
    text = (folder / "coordinator.toml").read_text()
    for name in ("api", "fleet"):
        text = text.replace(f'# {name}_host = "0.0.0.0"', f'{name}_host = "127.0.0.1"')
        text = text.replace(f"# {name}_port = {8443 if name == 'api' else 9443}", f"{name}_port = 0")
    (folder / "coordinator.toml").write_text(text)
    with running(folder) as coordinator, client(coordinator, folder, secret) as http:
        assert http.get("/variables").status_code == 200
    again = command("init", folder)
    assert (again.returncode, "already there" in again.stderr) == (1, True)


def test_tokens_are_listed_and_revoked(folder):
    config = ("--config", folder / "coordinator.toml")
    secret = token(folder, "ada", "researcher")
    listed = command("token", "list", *config).stdout
    assert "ada\tresearcher" in listed
    assert "valid" in listed
    assert secret not in listed
    assert command("token", "revoke", "ada", *config).stdout == "Revoked 1.\n"
    assert "revoked" in command("token", "list", *config).stdout
    assert command("token", "revoke", "ada", *config).returncode == 1
    assert "no role `king`" in command("token", "new", "x", "--role", "king", *config).stderr


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def peak_memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def test_a_renewed_certificate_is_taken_up_on_both_ports_and_a_broken_one_is_not(folder):
    with running(folder) as coordinator:

        def served():
            return [ssl.get_server_certificate(("localhost", port)) for port in coordinator.ports]

        before = served()
        assert len(set(before)) == 1
        key = (folder / "server.key").read_text()
        (folder / "server.key").write_text("half a key")
        coordinator.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "certificate not renewed" in coordinator.log.read_text())
        assert served() == before
        (folder / "server.key").write_text(key)
        make_certificates(folder)
        coordinator.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "certificate renewed" in coordinator.log.read_text())
        after = served()
        assert len(set(after)) == 1
        assert after != before
        assert after[0].strip() == (folder / "server.crt").read_text().strip()
