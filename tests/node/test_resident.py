"""The node's threads, with a coordinator made of Python lists."""

import threading
from collections import deque

import pytest

from node.resident import Copies, NotEnrolled, Resident, SessionLost, Undelivered, Unreachable


class Session:
    def __init__(self, script):
        self.script, self.handled, self.left = deque(script), [], threading.Event()

    def pull(self):
        if not self.script:
            self.left.wait(0.05)
            return None
        step = self.script.popleft()
        if isinstance(step, Exception):
            raise step
        return step

    def handle(self, question):
        if isinstance(question, type):
            raise question
        self.handled.append(question)

    def heartbeat(self):
        raise Unreachable

    def leave(self):
        self.left.set()


def run(connect, seconds=0.5, **options):
    statuses, stop = [], threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        Resident(connect, lambda status, detail: statuses.append(status), workers=2, **options).run(stop)
    finally:
        timer.cancel()
    return statuses


def test_questions_are_handled_and_leaving_is_announced():
    session = Session(["a", "b"])
    assert run(lambda: session) == ["connecting", "online", "stopped"]
    assert sorted(session.handled) == ["a", "b"]
    assert session.left.is_set()


def test_a_lost_session_is_replaced():
    sessions = [Session([SessionLost()]), Session(["a"])]
    remaining = iter(sessions)
    assert run(lambda: next(remaining)) == ["connecting", "online", "online", "stopped"]
    assert sessions[1].handled == ["a"]


def test_an_unreachable_coordinator_is_tried_again():
    session = Session([Unreachable("1"), Unreachable("2"), "a"])
    expected = ["connecting", "online", "unreachable", "online", "unreachable", "online", "stopped"]
    assert run(lambda: session, 1.0) == expected
    assert session.handled == ["a"]


def test_a_question_that_fails_does_not_end_the_node():
    session = Session([ValueError, Undelivered, "a", ZeroDivisionError, "b"])
    run(lambda: session)
    assert sorted(session.handled) == ["a", "b"]


def test_not_being_enrolled_ends_the_node():
    def connect():
        raise NotEnrolled

    with pytest.raises(NotEnrolled, match="enrol"):
        run(connect, 30)


def test_copies_of_a_question_share_the_answer_of_the_first():
    copies = Copies()
    assert copies.first("a", 1)
    assert not copies.first("a", 2)
    assert copies.first("b", 3)
    assert copies.done("a") == [1, 2]
    assert copies.first("a", 4)
