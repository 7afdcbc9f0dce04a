"""What the network can reach, and what it cannot."""

import http.client
import resource
import socket
import ssl
import time
from base64 import b64encode
from contextlib import suppress

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from seam import Network

from coordinator.gate import UNPROVEN_LIMIT
from node.keys import load_key

PROTOBUF = {"content-type": "application/protobuf"}
LIMIT = 5 * 1024 * 1024


@pytest.fixture
def network(tmp_path):
    with Network(tmp_path, hold=1.0, body_limit=LIMIT) as network:
        network.enrol("north")
        yield network


@pytest.fixture
def client(network):
    tls = ssl.create_default_context(cafile=str(network.ca))
    with httpx.Client(base_url=f"https://localhost:{network.link.port}", verify=tls, headers=PROTOBUF) as client:
        yield client


def signed(network, cohort="north", timestamp=None):
    timestamp = timestamp or now().isoformat()
    signature = load_key(network.key(cohort)).sign(timestamp.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "flwr-public-key": b64encode(network.public_key(cohort)).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": b64encode(signature).decode(),
    }


def node_id(network, cohort="north"):
    return network.link._nodes[cohort][0]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/health",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/v1/runtime/push-messages",
        "/v1/responses",
        "/v1/fleet",
        "/V1/fleet/pull-messages",
        "//v1/fleet/pull-messages",
    ],
)
def test_only_the_fleet_api_is_reachable(client, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        assert client.request(method, path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/fleet/../control/start-run", "/v1/fleet/%2e%2e/control/start-run"])
def test_no_path_leads_out_of_the_fleet_api(network, path):
    """Sent as it stands; other clients resolve the dots first."""
    connection = http.client.HTTPSConnection(
        "localhost", network.link.port, context=ssl.create_default_context(cafile=str(network.ca))
    )
    connection.request("POST", path, body=b"", headers=PROTOBUF)
    assert connection.getresponse().status == 404
    connection.close()


@pytest.mark.parametrize("action", ["pull-messages", "push-object", "activate-node", "register-node", "get-fab"])
def test_malformed_requests_are_the_callers_fault(client, network, action):
    path = f"/v1/fleet/{action}"
    for headers in ({}, signed(network)):
        for body in (b"\xff\xff\xff", b"\x0a\xff", b"{}"):
            assert 400 <= client.post(path, content=body, headers=headers).status_code < 500
        for content_type in ("application/json", "text/plain", ""):
            response = client.post(path, content=b"", headers=headers | {"content-type": content_type})
            assert response.status_code == 415
        assert client.get(path, headers=headers).status_code in {404, 405, 415}


def test_well_formed_nonsense_of_a_known_node_is_its_fault(client, network):
    node = Node(node_id=node_id(network))
    nonsense = {
        "push-messages": PushMessagesRequest(node=node),
        "pull-object": PullObjectRequest(node=node, run_id=1, object_id="x"),
        "push-object": PushObjectRequest(node=node, run_id=1, object_id="x", object_content=b"y"),
    }
    for action, request in nonsense.items():
        response = client.post(f"/v1/fleet/{action}", content=request.SerializeToString(), headers=signed(network))
        assert 400 <= response.status_code < 500


def test_a_known_node_is_held_until_there_is_a_message(client, network):
    request = PullMessagesRequest(node=Node(node_id=node_id(network))).SerializeToString()
    started = time.monotonic()
    response = client.post("/v1/fleet/pull-messages", content=request, headers=signed(network))
    assert (response.status_code, response.content) == (200, b"")
    assert time.monotonic() - started >= 0.95


@pytest.mark.parametrize("proof", ["none", "stranger", "old", "forged"])
def test_a_stranger_is_not_held(client, network, proof):
    headers = {
        "none": {},
        "stranger": signed(network, "stranger"),
        "old": signed(network, timestamp="2026-01-01T00:00:00+00:00"),
        "forged": signed(network) | {"flwr-signature": signed(network, "stranger")["flwr-signature"]},
    }[proof]
    request = PullMessagesRequest(node=Node(node_id=node_id(network))).SerializeToString()
    started = time.monotonic()
    assert client.post("/v1/fleet/pull-messages", content=request, headers=headers).status_code == 401
    assert time.monotonic() - started < 0.8


def test_a_node_cannot_speak_for_another(client, network):
    network.enrol("south")
    request = PullMessagesRequest(node=Node(node_id=node_id(network, "south"))).SerializeToString()
    started = time.monotonic()
    response = client.post("/v1/fleet/pull-messages", content=request, headers=signed(network, "north"))
    assert response.status_code == 401
    assert time.monotonic() - started < 0.8


def test_a_declared_size_over_the_limit_is_refused_before_anything_is_read(network):
    tls = ssl.create_default_context(cafile=str(network.ca))
    with (
        socket.create_connection(("localhost", network.link.port)) as plain,
        tls.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(
            b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/protobuf\r\n"
            b"content-length: 3221225472\r\n\r\n"
        )
        connection.settimeout(5)
        assert b" 413 " in connection.recv(1000)


def test_a_body_without_a_declared_size_is_refused_when_it_passes_the_limit_and_never_kept(client, network):
    headers, chunk = signed(network), bytes(UNPROVEN_LIMIT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(httpx.WriteError):  # the connection may be closed while we are still sending
        response = client.post("/v1/fleet/push-object", content=(chunk for _ in range(5000)), headers=headers)
        assert response.status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # of 313 MB, in kB


def test_a_strangers_body_is_not_even_read(client):
    response = client.post("/v1/fleet/push-object", content=bytes(UNPROVEN_LIMIT + 1))
    assert response.status_code == 401
