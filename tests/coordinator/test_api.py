"""The REST API: what it answers, to whom, and that nothing sent to it makes it fail."""

import json
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient
from tally import DICTIONARY, node_of, signed_job

from cohortium.dictionary import Dictionary
from cohortium.errors import Problem
from cohortium.messages import AnalysisView, CohortView, Introduction, JobView, NetworkView, VariableView
from coordinator.app import create_app
from coordinator.auth import issue


@pytest.fixture
def clients(coordinator):
    """Clients of the API: anonymous, two researchers, and an operator."""

    app = create_app(coordinator)

    def client(**headers):
        return TestClient(app, base_url="https://test/api/v1", headers=headers)

    def with_token(name, role):
        return client(Authorization=f"Bearer {issue(coordinator.store, name, role)}")

    return {
        "nobody": client(),
        "ada": with_token("ada", "researcher"),
        "bea": with_token("bea", "researcher"),
        "operator": with_token("olga", "operator"),
    }


@pytest.fixture
def ada(clients):
    return clients["ada"]


@pytest.fixture
def operator(clients):
    return clients["operator"]


def job(**changes):
    return {"document": signed_job(**{"study": "heights", "params": {"rounds": 2}} | changes)}


def submitted(client, **changes):
    response = client.post("/jobs", json=job(**changes))
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/api/v1/jobs/{response.json()['id']}"
    return response.json()["id"]


def events(client, job_id):
    with client.stream("GET", f"/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = "".join(response.iter_text())
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(block["event"], JobView.model_validate_json(block["data"])) for block in blocks if "event" in block]


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return Problem.model_validate(response.json())


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_what_the_network_is(ada):
    network = NetworkView.model_validate(ada.get("/network").json())
    assert (network.name, network.dictionary_digest) == ("test", DICTIONARY.digest)
    assert Dictionary.model_validate(ada.get("/dictionary").json()).digest == DICTIONARY.digest


def test_cohorts_with_what_they_collected(ada, coordinator):
    coordinator.link.leave("south")
    cohorts = {c["name"]: CohortView.model_validate(c) for c in ada.get("/cohorts").json()}
    assert list(cohorts) == ["north", "south", "west"]
    assert (cohorts["north"].online, cohorts["south"].online) == (True, False)
    assert cohorts["north"].title == "North"
    assert cohorts["south"].variables == ("x", "y"), "what a cohort collected is known while it is away"


@pytest.mark.parametrize(("search", "found"), [("", ["x", "y"]), ("LENG", ["x"]), ("height", ["x"]), ("none", [])])
def test_variables_are_found_by_name_and_label(ada, search, found):
    views = [VariableView.model_validate(v) for v in ada.get("/variables", params={"search": search}).json()]
    assert [view.name for view in views] == found
    assert all(view.cohorts == ("north", "south", "west") for view in views)


def test_analyses_come_with_their_schemas(ada):
    (listed,) = ada.get("/analyses").json()
    view = AnalysisView.model_validate(ada.get("/analyses/tally").json())
    assert listed == ada.get("/analyses/tally").json()
    assert view.params["properties"]["rounds"]["description"] == "How often."
    assert "Did you mean `tally`" in problem(ada.get("/analyses/taly"), 404).message


def test_a_job_from_submission_to_result(ada, wait_until):
    job_id = submitted(ada)
    view = wait_until(lambda: (v := ada.get(f"/jobs/{job_id}").json())["state"] == "finished" and v)
    assert view["cohorts"] == ["north", "south", "west"]
    own = {"variable": "x", "rounds": 2, "trouble": "", "formula": None}
    assert view["params"] == own | {"where": None, "complete": []}
    result = ada.get(f"/jobs/{job_id}/result")
    assert result.headers["content-type"] == "application/json"
    assert result.json()["totals"] == [21.0, 147.0]


def test_a_job_can_be_followed_to_its_end(ada, coordinator, wait_until):
    coordinator.link.leave_after = {"south": 1}
    job_id = submitted(ada)
    wait_until(lambda: coordinator.jobs.look(job_id).progress.round == 2)
    threading.Timer(0.3, coordinator.link.come_back, ["south"]).start()
    followed = events(ada, job_id)
    assert followed[0][0] == "state"
    assert followed[0][1].progress.waiting_for == ("south",)
    assert followed[-1][0] == "state"
    assert followed[-1][1].state == "finished"
    assert [event for event, _ in events(ada, job_id)] == ["state"], "one that has ended is told once"


def test_followers_are_sent_home_when_the_coordinator_stops(ada, coordinator):
    coordinator.link.leave("south")
    job_id = submitted(ada)
    threading.Timer(0.3, coordinator.jobs.board.close).start()
    assert events(ada, job_id)[-1][1].state in ("submitted", "running")


def test_no_result_before_the_end_nor_after_a_failure(ada, coordinator, wait_until):
    coordinator.link.leave("south")
    job_id = submitted(ada)
    assert "has no result" in problem(ada.get(f"/jobs/{job_id}/result"), 409).message
    assert ada.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert "cancelled" in problem(ada.get(f"/jobs/{job_id}/result"), 409).message
    assert ada.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"


def test_jobs_are_listed_newest_first_and_filtered(ada, wait_until):
    first, second, third = submitted(ada), submitted(ada, study="weights"), submitted(ada)
    assert [j["id"] for j in ada.get("/jobs").json()] == [third, second, first]
    assert [j["id"] for j in ada.get("/jobs?study=weights").json()] == [second]
    assert [j["id"] for j in ada.get("/jobs?limit=1&offset=1").json()] == [second]
    wait_until(lambda: len(ada.get("/jobs?state=finished&state=failed").json()) == 3)
    assert ada.get("/jobs?state=running").json() == []
    problem(ada.get("/jobs?state=wandering"), 422)
    problem(ada.get("/jobs?limit=0"), 422)


def test_a_researcher_sees_own_jobs_and_an_operator_all_but_no_result(clients, wait_until):
    job_id = submitted(clients["ada"])
    wait_until(lambda: clients["ada"].get(f"/jobs/{job_id}").json()["state"] == "finished")
    assert clients["bea"].get("/jobs").json() == []
    for path in ("", "/events", "/result"):
        problem(clients["bea"].get(f"/jobs/{job_id}{path}"), 404)
    problem(clients["bea"].post(f"/jobs/{job_id}/cancel"), 404)
    assert [j["id"] for j in clients["operator"].get("/jobs").json()] == [job_id]
    assert clients["operator"].get(f"/jobs/{job_id}").status_code == 200
    problem(clients["operator"].get(f"/jobs/{job_id}/result"), 403)
    problem(clients["operator"].post("/jobs", json=job()), 403)


PRIVATE = [
    ("GET", "/network"),
    ("GET", "/cohorts"),
    ("GET", "/variables"),
    ("GET", "/dictionary"),
    ("GET", "/twins"),
    ("GET", "/analyses"),
    ("GET", "/analyses/tally"),
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", "/jobs/0123456789abcdef"),
    ("POST", "/jobs/0123456789abcdef/cancel"),
    ("GET", "/jobs/0123456789abcdef/events"),
    ("GET", "/jobs/0123456789abcdef/result"),
    ("GET", "/jobs/0123456789abcdef/proof"),
    ("GET", "/roster"),
    ("PUT", "/roster"),
    ("GET", "/permits"),
    ("POST", "/permits"),
    ("GET", "/audit"),
    ("POST", "/cohorts"),
    ("DELETE", "/cohorts/north"),
]


def test_the_list_of_private_operations_is_complete(clients):
    paths = clients["nobody"].get("/openapi.json").json()["paths"]
    operations = {
        (method.upper(), path.removeprefix("/api/v1").format(job_id="0123456789abcdef", name=name))
        for path, methods in paths.items()
        for method in methods
        for name in [{"/api/v1/analyses/{name}": "tally"}.get(path, "north")]
    }
    assert operations == {*PRIVATE, ("GET", "/health")}


@pytest.mark.parametrize("token", [None, "", "cohortium_wrong", "é", "a" * 5000])
def test_nothing_without_a_valid_token(clients, token):
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    for method, path in PRIVATE:
        body = {"json": {}} if method == "POST" and "cancel" not in path else {}
        response = clients["nobody"].request(method, path, headers=headers, **body)
        assert "token" in problem(response, 401).message, path
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_token_is_worth_nothing(ada, coordinator):
    assert coordinator.store.revoke("ada") == 1
    problem(ada.get("/network"), 401)


def test_health_needs_no_token(clients):
    assert clients["nobody"].get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("name", ["ada", "bea"])
def test_only_an_operator_enrols_and_withdraws(clients, name):
    body = {"name": "east", "public_key": pem(ec.generate_private_key(ec.SECP256R1()))}
    problem(clients[name].post("/cohorts", json=body), 403)
    problem(clients[name].delete("/cohorts/north"), 403)


def test_a_cohort_is_enrolled_withdrawn_and_enrolled_anew(operator, coordinator):
    key, other = (pem(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    response = operator.post("/cohorts", json={"name": "east", "title": "East", "public_key": key})
    assert response.status_code == 201
    assert response.json()["title"] == "East"
    assert operator.post("/cohorts", json={"name": "east", "title": "Far East", "public_key": key}).status_code == 201
    assert "east" in problem(operator.post("/cohorts", json={"name": "east", "public_key": other}), 409).message
    assert operator.delete("/cohorts/east").status_code == 204
    assert "east" not in coordinator.link.keys
    problem(operator.delete("/cohorts/east"), 404)
    assert operator.post("/cohorts", json={"name": "east", "public_key": other}).status_code == 201
    assert [c["name"] for c in operator.get("/cohorts").json()] == ["east", "north", "south", "west"]


@pytest.mark.parametrize("key", ["", "gibberish", pem(rsa.generate_private_key(65537, 2048))])
def test_only_elliptic_curve_keys_are_pinned(operator, coordinator, monkeypatch, key):
    from coordinator.link import Link

    monkeypatch.setattr(coordinator.link, "enrol", lambda name, key: Link.enrol(coordinator.link, name, key))
    assert "public_key" in problem(operator.post("/cohorts", json={"name": "east", "public_key": key}), 422).message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"analysis": "taly"}, "Did you mean `tally`"),
        ({"cohorts": ["nort"]}, "does not name the cohorts nort"),
        ({"params": {"rounds": "many"}}, "rounds"),
        ({"params": {"round": 1}}, "round"),
    ],
)
def test_what_cannot_be_asked_is_turned_down_in_words(ada, changes, words):
    assert words in problem(ada.post("/jobs", json=job(**changes)), 422).message


def test_a_formula_error_points_at_the_character(ada):
    told = problem(ada.post("/jobs", json=job(params={"formula": "y ~ x + height"})), 422)
    assert (told.kind, told.formula, told.position) == ("FormulaError", "y ~ x + height", 8)


def test_a_cohort_that_lacks_a_variable_or_has_another_dictionary_is_named(ada, coordinator, wait_until):
    link = coordinator.link
    link.nodes["south"] = node_of("south", [4], variables=["x"])
    other = Introduction(dictionary="0" * 64, version="0.1.0", variables=("x", "y")).to_bytes()
    west = node_of("west", [1])
    west.answer = lambda kind, payload: other
    link.nodes["west"] = west
    link.come_back("south")
    link.come_back("west")
    wait_until(lambda: ada.get("/cohorts").json()[1]["variables"] == ["x"])
    wait_until(lambda: ada.get("/cohorts").json()[2]["problem"])
    told = problem(ada.post("/jobs", json=job(params={"formula": "y ~ x"})), 422).message
    assert "`south` did not collect `y`." in told
    assert "`west` cannot answer: Its node has another dictionary" in told
    assert ada.post("/jobs", json=job(cohorts=["north"], params={"formula": "y ~ x"})).status_code == 201


def test_a_node_of_another_version_has_a_problem(ada, coordinator, wait_until):
    words = Introduction(dictionary=DICTIONARY.digest, version="0.0.0", variables=("x",)).to_bytes()
    west = node_of("west", [1])
    west.answer = lambda kind, payload: words
    coordinator.link.nodes["west"] = west
    coordinator.link.come_back("west")
    told = wait_until(lambda: ada.get("/cohorts").json()[2]["problem"])
    assert "0.0.0" in told


def test_a_node_that_could_not_introduce_itself_is_asked_again(ada, coordinator, monkeypatch, wait_until):
    monkeypatch.setattr("coordinator.catalogue.RETRY_SECONDS", 0.2)
    west = coordinator.link.nodes["west"]
    answer = west.answer
    west.answer = lambda kind, payload: b"gibberish"
    coordinator.link.come_back("west")
    wait_until(lambda: ada.get("/cohorts").json()[2]["problem"])
    west.answer = answer
    wait_until(lambda: ada.get("/cohorts").json()[2]["problem"] is None)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'{"study": "\xff"}', {"Content-Type": "application/json"}, 400),
        (rb'{"study": "\ud800"}', {"Content-Type": "application/json"}, 400),
        (rb'{"study": "\u0000"}', {"Content-Type": "application/json"}, 400),
        (b'{"study": NaN}', {"Content-Type": "application/json"}, 400),
        (b"[" * 100_000, {"Content-Type": "application/json"}, 400),
        (b'{"study": ' + b"9" * 5000 + b"}", {"Content-Type": "application/json"}, 400),
        (b"", {"Content-Type": "application/json"}, 422),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {}, 415),
        (b"null", {"Content-Type": "application/json; charset=utf-8"}, 422),
    ],
)
def test_a_body_that_is_no_question_is_turned_down(ada, body, headers, status):
    problem(ada.post("/jobs", content=body, headers=headers), status)


def test_a_body_that_is_too_large_is_turned_down_unread(ada, coordinator):
    limit = coordinator.settings.max_body_bytes
    json_type = {"Content-Type": "application/json"}
    declared = ada.post("/jobs", content=b" " * (limit + 1), headers=json_type)
    assert str(limit) in problem(declared, 413).message
    streamed = ada.post("/jobs", content=(b" " * 65536 for _ in range(limit // 65536 + 2)), headers=json_type)
    problem(streamed, 413)


def test_unknown_addresses_and_methods(clients, ada):
    problem(ada.get("/nothing"), 404)
    problem(ada.get("https://test/"), 404)
    problem(ada.get("/jobs/%00"), 404)
    response = ada.put("/jobs", json={})
    assert "PUT" in problem(response, 405).message
    assert response.headers["allow"]


def test_security_headers_on_every_answer(ada, clients):
    for response in (ada.get("/network"), clients["nobody"].get("/network"), ada.get("/nothing")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "max-age" in response.headers["strict-transport-security"]


def test_an_unexpected_error_is_a_problem_in_constant_words(ada, coordinator, monkeypatch):
    def broken():
        raise ValueError("a secret value")

    monkeypatch.setattr(coordinator, "network", broken)
    told = problem(ada.get("/network"), 500)
    assert "secret" not in told.message
    assert "number" in told.message


def test_every_operation_is_documented(clients):
    schema = clients["nobody"].get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            assert all(p.get("description") for p in operation.get("parameters", [])), where
            assert path.endswith("/health") or "401" in operation["responses"], where
    assert json.dumps(schema).count("#/components/schemas/Problem") > 10
    assert "Problem" in schema["components"]["schemas"]
