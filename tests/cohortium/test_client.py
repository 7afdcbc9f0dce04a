"""What a researcher holds, against a small coordinator over real HTTP."""

import inspect
import io
import itertools
import subprocess
import sys
import time

import httpx
import pytest
from fake_coordinator import RESULT, TOKEN, FakeCoordinator, job_view, running, serving

import cohortium
from cohortium import rest, settings
from cohortium.client import Network
from cohortium.errors import (
    CohortiumError,
    Collinear,
    FormulaError,
    InvalidQuestion,
    JobCancelled,
    Refused,
    ServiceError,
    UnknownName,
)
from cohortium.rest import HttpService
from cohortium.settings import Connection
from simulation.certificates import make_certificates


@pytest.fixture
def net(url, average, signing):
    return cohortium.connect(url, TOKEN)


@pytest.fixture
def quick(monkeypatch):
    """Reconnect without waiting much."""
    monkeypatch.setattr(rest, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(rest, "LONGEST_PAUSE", 0.05)


def test_a_network_lists_itself_in_terminal_and_notebook(net):
    assert "Test network" in repr(net)
    cohorts = net.cohorts()
    assert [c.name for c in cohorts] == ["north", "south"]
    assert "north" in repr(cohorts)
    assert "online" in repr(cohorts)
    assert "<table" in cohorts._repr_html_()
    assert net.variables("bmi")[0].label.nl == "Queteletindex"
    assert repr(net.variables("nothing")) == "No variables."
    assert "average" in repr(net.analyses())
    assert list(net.cohorts().to_frame("pandas")["cohort"]) == ["north", "south"]


def test_an_analysis_is_a_method_with_its_own_signature_and_help(net):
    study = net.study("s")
    assert "average" in dir(study)
    signature = inspect.signature(study.average)
    assert [*signature.parameters][:2] == ["formula", "kind"]
    assert signature.parameters["kind"].default == "plain"
    assert "cohorts" in signature.parameters
    assert "Average of a variable" in study.average.__doc__
    assert "Which average." in study.average.__doc__


def test_a_question_travels_as_asked(net, coordinator):
    job = net.study("smoking", cohorts=["north"]).average(formula="bmi ~ 1", groups=["sex"])
    assert job.id == "j1"
    expected = {"formula": "bmi ~ 1", "groups": ["sex"]}
    assert coordinator.bodies == [
        {"study": "smoking", "analysis": "average", "params": expected, "cohorts": ["north"]},
    ]
    net.study("smoking", cohorts=["north"]).run("average", formula="bmi ~ 1", cohorts=["south"])
    assert coordinator.bodies[1]["cohorts"] == ["south"]


@pytest.mark.parametrize(
    ("name", "params", "error", "words"),
    [
        ("avrage", {"formula": "bmi ~ 1"}, UnknownName, "Did you mean `average`"),
        ("average", {"formla": "bmi ~ 1"}, UnknownName, "Did you mean `formula`"),
        ("average", {"formula": "bmi ~ 1", "kind": "odd"}, InvalidQuestion, "'plain' or 'trimmed'"),
        ("average", {}, InvalidQuestion, "formula"),
        ("average", {"formula": "bmi ~ age $ 2"}, FormulaError, "            ^"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(net, coordinator, name, params, error, words):  # noqa: PLR0917
    with pytest.raises(error) as caught:
        net.study("s").run(name, **params)
    assert words in str(caught.value)
    assert coordinator.bodies == []


def test_an_attribute_that_is_no_analysis(net):
    study = net.study("s")
    assert not hasattr(study, "avrage")
    with pytest.raises(UnknownName, match="Did you mean `average`"):
        study.avrage(formula="bmi ~ 1")
    assert repr(study) == "<Study s, all cohorts>"


def test_a_study_name_that_cannot_be_one_is_a_question_that_cannot_be_asked(net):
    with pytest.raises(InvalidQuestion, match="study"):
        net.study("Not A Name").average(formula="bmi ~ 1")


def test_what_the_coordinator_finds_wrong_keeps_its_kind_and_place(net, coordinator):
    coordinator.problem = FormulaError("There is no variable `agee`.", "bmi ~ agee", 6)
    with pytest.raises(FormulaError) as caught:
        net.study("s").average(formula="bmi ~ agee")
    assert str(caught.value).endswith("  bmi ~ agee\n        ^")


def test_a_result_comes_back_typed_and_exact(net, coordinator):
    coordinator.streams = [[job_view(), running(1, "north", "south"), running(2), job_view(state="finished")]]
    job = net.study("s").average(formula="bmi ~ 1")
    assert job.result() == RESULT
    assert job.state == "finished"
    assert job.result().mean == 0.1 + 0.2
    assert sum(path.endswith("events") for _, path in coordinator.requests) == 1


def test_a_stream_that_breaks_is_opened_again(net, coordinator, quick):
    final = job_view(state="finished")
    coordinator.streams = [[running(1, "north")], [": still here\n\n"], 503, [running(1, "north"), running(2)], [final]]
    seen = list(net.service.events("j1"))
    assert [(view.state, view.progress.round) for view in seen] == [("running", 1), ("running", 2), ("finished", 0)]
    assert net.job("j1").result() == RESULT


def test_events_of_another_version_are_not_half_understood(net, coordinator):
    coordinator.streams = [['data: {"state": "odd"}\n\n']]
    with pytest.raises(ServiceError, match="does not understand"):
        list(net.service.events("j1"))


def test_a_token_that_expires_while_waiting_is_told_at_once(net, coordinator):
    coordinator.streams = [401]
    with pytest.raises(ServiceError, match="valid token"):
        net.job("j1").result()


def test_pauses_between_attempts_grow(net, coordinator, monkeypatch):
    pauses = []
    monkeypatch.setattr(rest.time, "sleep", pauses.append)
    coordinator.streams = [*[503] * 8, [job_view(state="finished")]]
    list(net.service.events("j1"))
    assert pauses[0] == rest.FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert max(pauses) <= rest.LONGEST_PAUSE


def test_an_event_may_span_lines_and_comments_are_not_events():
    lines = [":ping", "", "event: state", "data: {", "data: }", "", "id: 3", ""]
    assert [e for e in rest._events(iter(lines)) if e is not None] == ["{\n}"]


def test_a_coordinator_that_stays_away_is_an_error_that_says_the_job_goes_on(net, coordinator, quick, monkeypatch):
    monkeypatch.setattr(rest, "GIVE_UP_SECONDS", 0.1)
    coordinator.streams = [503] * 100
    with pytest.raises(ServiceError, match="The job goes on"):
        net.job("j1").result()


def test_waiting_ends_when_the_time_is_up_and_can_be_resumed(net, coordinator):
    coordinator.streams = [[running(1, "north")]]
    job = net.job("j1")
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="j1"):
        job.result(timeout=0.5)
    assert 0.4 < time.monotonic() - start < 10
    assert job.state == "running"
    coordinator.hold.set()
    coordinator.streams = [[job_view(state="finished")]]
    assert job.result(timeout=10) == RESULT


def test_comments_that_keep_the_stream_alive_do_not_stretch_the_timeout(net, coordinator):
    def chatty():
        for _ in range(200):
            time.sleep(0.05)
            yield ": still here\n\n"

    coordinator.streams = [itertools.chain([running(1)], chatty()) for _ in range(50)]
    start = time.monotonic()
    assert len(list(net.service.events("j1", timeout=1))) == 1
    assert time.monotonic() - start < 6


@pytest.mark.parametrize(
    ("state", "error", "kind"),
    [
        ("refused", Refused("`n` counts 3 people; Noord requires 10.", rule="min_people", cohort="north"), Refused),
        ("failed", Collinear("`a` is `b` + `c`."), Collinear),
        ("failed", FormulaError("No such variable.", "y ~ x", 4), FormulaError),
        ("cancelled", None, JobCancelled),
        ("failed", None, CohortiumError),
    ],
)
def test_a_job_without_a_result_raises_why(net, coordinator, state, error, kind):
    coordinator.job = job_view(state=state, problem=error.problem() if error else None)
    with pytest.raises(kind) as caught:
        net.job("j1").result()
    assert type(caught.value) is kind
    assert error is None or str(caught.value) == str(error)


def test_a_job_can_be_watched_cancelled_and_found_again(net, coordinator):
    coordinator.job = running(3, "south")
    job = net.jobs()[0]
    assert job.progress().waiting_for == ("south",)
    assert "j1" in repr(net.jobs())
    assert job.cancel() == "cancelled"
    assert repr(net.job("j1")) == "<Job j1: average, cancelled>"
    with pytest.raises(UnknownName, match="no job `j9`"):
        net.job("j9")


def test_progress_says_whom_the_job_waits_for(net, coordinator, capsys):
    coordinator.streams = [[job_view(), running(2, "south"), job_view(state="finished")]]
    net.job("j1").result(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["average: submitted", "average: round 2, average_sum, waiting for south", "average: finished"]


def test_a_terminal_gets_a_bar_that_is_gone_afterwards(net, coordinator, monkeypatch):
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    coordinator.streams = [[running(2, "south"), job_view(state="finished")]]
    assert net.job("j1").result() == RESULT
    assert "average: " in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[2K")


def test_nothing_is_shown_where_nobody_watches(net, coordinator, capsys):
    coordinator.streams = [[running(2, "south"), job_view(state="finished")]]
    net.job("j1").result()
    assert capsys.readouterr() == ("", "")


def test_a_result_that_this_version_does_not_know_is_named(net, coordinator):
    coordinator.job = job_view(state="finished")
    coordinator.result = b'{"n": "secret"}'
    with pytest.raises(CohortiumError, match="not a result of `average`") as caught:
        net.job("j1").result()
    assert "secret" not in str(caught.value)


def test_a_wrong_token_is_told_at_once(url):
    with pytest.raises(ServiceError, match="valid token"):
        cohortium.connect(url, "wrong")


def test_proxies_of_the_environment_are_used(monkeypatch):
    # Hospitals reach the world through one.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ServiceError, match="cannot be reached"):
        cohortium.connect("https://localhost", "t")
    service = HttpService(Connection("https://coordinator.example"))
    assert any(type(t._pool).__name__ == "HTTPProxy" for t in service._http._mounts.values() if t)


def test_nobody_there():
    with pytest.raises(ServiceError, match="cannot be reached"):
        cohortium.connect("http://127.0.0.1:1", "t")


def test_somebody_else_is_there(url):
    with pytest.raises(ServiceError, match="address of a Cohortium coordinator"):
        cohortium.connect(f"{url}/elsewhere", TOKEN)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [(500, "Traceback: boom", "problem of its own"), (302, "", "Is this the address"), (403, "", "does not allow")],
)
def test_answers_that_are_no_answer(status, body, words):
    answer = httpx.MockTransport(lambda request: httpx.Response(status, text=body, headers={"location": "http://x/"}))
    with pytest.raises(ServiceError, match=words) as caught:
        HttpService(Connection("http://localhost"), transport=answer).network()
    assert "boom" not in str(caught.value)


def test_an_answer_of_another_version_is_not_half_understood():
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"surprise": 1}))
    with pytest.raises(ServiceError, match="does not understand"):
        HttpService(Connection("http://localhost"), transport=answer).network()


def test_a_job_id_stays_within_its_place_in_the_address():
    paths = []

    def answer(request):
        paths.append(request.url.raw_path.decode())
        return httpx.Response(404)

    with pytest.raises(ServiceError):
        HttpService(Connection("http://localhost"), transport=httpx.MockTransport(answer)).job("../cohorts?x=1")
    assert paths == ["/api/v1/jobs/..%2Fcohorts%3Fx%3D1"]


def test_tls_is_verified_against_the_authority_that_is_named(tmp_path, average):
    make_certificates(tmp_path)
    server = {"ssl_certfile": str(tmp_path / "server.crt"), "ssl_keyfile": str(tmp_path / "server.key")}
    with serving(FakeCoordinator(), **server) as address:
        assert cohortium.connect(address, TOKEN, str(tmp_path / "ca.crt")).view.name == "Test network"
        with pytest.raises(ServiceError, match="is not trusted"):
            cohortium.connect(address, TOKEN)
    with pytest.raises(ServiceError, match="PEM"):
        cohortium.connect("https://localhost:1", TOKEN, str(tmp_path / "missing.crt"))


def test_settings_come_from_arguments_then_environment_then_file(monkeypatch, tmp_path):
    with pytest.raises(ServiceError, match="Which coordinator"):
        settings.resolve()
    file = settings.save(Connection("https://a.example", "token-a"))
    settings.save(Connection("https://b.example", 'odd "quoted" \\ token', "/ca.pem"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert settings.resolve() == Connection("https://b.example", 'odd "quoted" \\ token', "/ca.pem")
    assert settings.resolve("https://a.example/") == Connection("https://a.example", "token-a")
    monkeypatch.setenv("COHORTIUM_TOKEN", "from-env")
    monkeypatch.setenv("COHORTIUM_URL", "https://a.example")
    assert settings.resolve() == Connection("https://a.example", "from-env")
    assert settings.resolve(token="given").token == "given"
    assert "given" not in repr(settings.resolve(token="given"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.nl", "in the clear"),
        ("example.nl", "is no address"),
        ("https://me:pw@example.nl", "no address"),
    ],
)
def test_addresses_that_are_not_used(url, words):
    with pytest.raises(ServiceError, match=words) as caught:
        settings.resolve(url)
    assert "pw" not in str(caught.value)


def test_a_broken_settings_file_is_named(tmp_path):
    file = settings.path()
    file.parent.mkdir(parents=True)
    file.write_text('[networks."https://a.example"]\ntoken = "secret"\ncolour = "red"\n')
    with pytest.raises(ServiceError, match="colour") as caught:
        settings.resolve("https://a.example")
    assert "secret" not in str(caught.value)
    file.write_text("not toml")
    with pytest.raises(ServiceError, match="cannot be read"):
        settings.resolve("https://a.example")


def test_a_token_that_cannot_be_one():
    with pytest.raises(ServiceError, match="token"):
        settings.resolve("https://a.example", "két\n\nlines")


def test_a_network_needs_no_http(average):
    class Service:
        def cohorts(self):
            return []

    assert repr(Network(Service()).cohorts()) == "No cohorts."


def test_importing_cohortium_is_light():
    heavy = "{'numpy', 'httpx', 'rich', 'scipy', 'altair', 'pandas'}"
    code = f"import sys, cohortium; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


def test_connecting_loads_no_plotting_and_no_statistics():
    heavy = "{'scipy.stats', 'altair', 'pandas', 'polars', 'pyarrow', 'narwhals', 'jinja2'}"
    code = f"import sys, cohortium.client, cohortium.rest; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
