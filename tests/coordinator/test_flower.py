"""The Flower seam, both sides of it, against the pinned flwr."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from seam import IDENTITY, Network, until

from cohortium.fab import fab
from coordinator.flower import BundleRefused, Cancelled, KeyConflict, Link, LinkStopped, NodeFailed
from node.app import NotEnrolled


@pytest.fixture
def network(tmp_path):
    with Network(tmp_path) as network:
        yield network


def ask(network, payloads, **options):
    with network.link.open("a job") as channel:
        return channel.ask(payloads, kind="echo", round=1, **options)


class InBackground:
    """A question asked in a thread, with what becomes of it."""

    def __init__(self, function, *arguments, **options):
        self._pool = ThreadPoolExecutor(1)
        self.future = self._pool.submit(function, *arguments, **options)
        self._pool.shutdown(wait=False)

    def result(self, seconds=20):
        return self.future.result(seconds)


def test_every_cohort_gets_its_own_question_and_every_answer_comes_back(network):
    network.nodes("north", "south", "west", answer=lambda kind, payload: kind.encode() + b":" + payload)
    assert ask(network, {"north": b"1", "south": b"2", "west": b""}) == {
        "north": b"echo:1",
        "south": b"echo:2",
        "west": b"echo:",
    }


def test_a_round_asks_only_those_that_are_asked(network):
    asked = []
    network.nodes("north", "south", answer=lambda kind, payload: asked.append(payload) or payload)
    with network.link.open("a job") as channel:
        for number in range(3):
            assert channel.ask({"north": b"only"}, kind="echo", round=number) == {"north": b"only"}
        assert channel.ask({}, kind="echo", round=4) == {}
    assert asked == [b"only"] * 3


def test_jobs_run_in_parallel(network):
    network.nodes("north", "south", answer=lambda kind, payload: time.sleep(0.3) or payload)

    def job(number):
        payloads = dict.fromkeys(("north", "south"), str(number).encode())
        return ask(network, payloads) == payloads

    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(job, range(4)))
    assert time.monotonic() - started < 4 * 0.3 + 0.9


def test_payloads_may_be_large(network):
    network.nodes("north", "south")
    payload = os.urandom(20 * 1024 * 1024)
    assert ask(network, dict.fromkeys(("north", "south"), payload)) == {"north": payload, "south": payload}


def test_a_question_waits_for_a_node_that_is_not_there_yet(network):
    network.nodes("north")
    network.enrol("south")
    waiting = []
    answers = InBackground(ask, network, {"north": b"1", "south": b"2"}, on_progress=waiting.append)
    until(lambda: waiting[-1:] == [{"south"}])
    network.node("south")
    assert answers.result() == {"north": b"1", "south": b"2"}
    assert waiting[0] == {"north", "south"}
    assert waiting[-1] == set()


def test_a_question_can_be_cancelled(network):
    network.enrol("north")
    cancelled = threading.Event()
    answers = InBackground(ask, network, {"north": b"1"}, cancelled=cancelled)
    cancelled.set()
    with pytest.raises(Cancelled):
        answers.result(1)


def test_a_link_that_stops_ends_its_questions(network):
    network.enrol("north")
    answers = InBackground(ask, network, {"north": b"1"})
    network.link.stop()
    with pytest.raises(LinkStopped):
        answers.result(2)


def test_what_an_answer_raises_stays_at_the_node(network):
    def answer(kind, payload):
        raise ValueError("participant 4711")

    network.nodes("north", answer=answer)
    with pytest.raises(NodeFailed) as failure:
        ask(network, {"north": b"1"})
    assert failure.value.cohort == "north"
    assert "4711" not in str(failure.value)


def test_another_bundle_is_refused(network):
    network.enrol("north")
    network.node("north", identity="test+1")
    until(network.link.online)
    with pytest.raises(BundleRefused, match="north"):
        ask(network, {"north": b"1"})


def test_a_key_that_is_not_enrolled_is_turned_away(network):
    stranger = network.node("stranger")
    until(lambda: stranger.failure)
    assert isinstance(stranger.failure, NotEnrolled)


def test_a_withdrawn_key_is_turned_away_and_can_be_enrolled_again(network):
    (north,) = network.nodes("north")
    network.link.withdraw("north")
    until(lambda: north.failure)
    assert isinstance(north.failure, NotEnrolled)
    assert network.link.online() == set()
    network.nodes("north")
    assert ask(network, {"north": b"1"}) == {"north": b"1"}


def test_a_key_is_pinned(network):
    network.enrol("north", "north")
    with pytest.raises(KeyConflict):
        network.link.enrol("north", network.public_key("other"))
    with pytest.raises(KeyConflict):
        network.link.enrol("south", network.public_key("north"))
    with pytest.raises(ValueError, match="key"):
        network.link.enrol("south", b"not a key")


def test_a_node_that_starts_again_at_once_takes_over(network):
    network.nodes("north", answer=lambda kind, payload: b"old")
    network.node("north", answer=lambda kind, payload: b"new", workers=1)
    assert ask(network, {"north": b"1"}) in ({"north": b"old"}, {"north": b"new"})


def test_a_lost_question_is_asked_again_when_its_time_is_over(tmp_path):
    asked = []

    def answer(kind, payload):
        asked.append(payload)
        time.sleep(1.5)  # longer than the message lives
        return payload

    with Network(tmp_path, message_ttl=0.7) as network:
        network.nodes("north", answer=answer)
        assert ask(network, {"north": b"1"}) == {"north": b"1"}
    assert len(asked) == 1  # the copies shared its answer


def test_nodes_come_back_to_a_coordinator_that_restarts(network):
    north, south = network.nodes("north", "south")
    port = network.link.port
    network.link.stop()
    until(lambda: "unreachable" in north.statuses and "unreachable" in south.statuses)
    network.link = network.new_link(port)
    network.enrol("north", "south")
    network.link.start()
    assert ask(network, {"north": b"1", "south": b"2"}) == {"north": b"1", "south": b"2"}
    assert north.failure is south.failure is None


def test_a_node_waits_for_a_coordinator_that_is_not_there_yet(tmp_path):
    network = Network(tmp_path)
    with network:
        port = network.link.port
    network.link = network.new_link(port)
    north = network.node("north")
    until(lambda: "unreachable" in north.statuses)
    network.enrol("north")
    with network:
        assert ask(network, {"north": b"1"}) == {"north": b"1"}


def test_stopping_leaves_nothing_behind(tmp_path):
    before = set(threading.enumerate())
    with Network(tmp_path) as network:
        (north,) = network.nodes("north")
        assert ask(network, {"north": b"1"}) == {"north": b"1"}
        started = time.monotonic()
        north.stop()
        assert time.monotonic() - started < 2
        assert network.link.online() == set()
        assert north.statuses[-1] == "stopped"
    ours = {thread for thread in threading.enumerate() if "AnyIO" not in thread.name} - before
    until(lambda: not any(thread.is_alive() for thread in ours), 5)


def test_a_node_that_stops_finishes_its_answer(network):
    computing = threading.Event()
    (north,) = network.nodes("north", answer=lambda kind, payload: computing.set() or time.sleep(0.4) or payload)
    answers = InBackground(ask, network, {"north": b"1"})
    assert computing.wait(10)
    north.stop()
    assert answers.result() == {"north": b"1"}


def test_a_finished_run_leaves_nothing_in_memory(network):
    network.nodes("north")
    ask(network, {"north": b"1"})
    state = network.link.superlink._state
    assert (state.num_message_ins(), state.num_message_res(), len(state.object_store)) == (0, 0, 0)
    assert not state._object_push_sessions


def test_no_tls_only_on_loopback():
    with pytest.raises(ValueError, match="loopback"):
        Link("0.0.0.0", 0, None, fab(IDENTITY))


@pytest.mark.e2e
def test_a_killed_node_is_asked_again_when_it_is_back(network, tmp_path):
    network.enrol("north")
    marker = tmp_path / "asked"
    first = network.process("north", str(marker))
    answers = InBackground(ask, network, {"north": b"1"})
    until(marker.exists)
    first.kill()
    first.wait(5)
    until(lambda: not network.link.online(), 2)
    network.process("north", str(marker))
    until(answers.future.done, 8)
    assert answers.result() == {"north": b"1"}


@pytest.mark.e2e
def test_a_node_process_ends_cleanly(network):
    network.enrol("north")
    node = network.process("north")
    until(network.link.online)
    started = time.monotonic()
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    assert time.monotonic() - started < 2


@pytest.mark.e2e
def test_a_node_process_without_enrolment_says_so(network):
    stranger = network.process("stranger")
    _, error = stranger.communicate(timeout=20)
    assert stranger.returncode == 1
    assert b"enrol" in error
    assert b"Traceback" not in error
