"""A node as the coordinator gets to know it: a process that comes, goes, freezes and answers in its own time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cohortium.parcel import join, split
from coordinator.question import Outcome
from node.app import FAILED, REFUSED
from node.resident import Answer, Copies
from simulation.faults.clock import Clock

if TYPE_CHECKING:
    from simulation.faults.superlink import Message

NOTICED = 20.0
"""Seconds after which the coordinator takes a silent node for gone: two heartbeats."""
Reply = tuple[Outcome, str, list[dict[str, Any]]]
Send = Callable[["Message", Reply], None]


class Site:
    """The node of one cohort. `answer` is the genuine node's; everything else here is what happens to it."""

    def __init__(self, cohort: str, number: int, answer: Answer, clock: Clock, rng: random.Random) -> None:
        self.cohort, self.number, self.answer = cohort, number, answer
        self.clock, self.rng = clock, rng
        self.life = 1  # as the coordinator counts them
        self.online = True  # as far as the coordinator knows
        self.running = True
        self.slow_until, self.slowness = 0.0, 0.0
        self.refuses = self.fails = False
        self.inbox: list[Message] = []
        self.changed: Callable[[], None] = lambda: None
        self.send: Send = lambda _message, _reply: None
        self._process = 0  # what an earlier process had begun, no later one finishes
        self._copies = Copies()

    # What happens to it

    def crash(self) -> None:
        """Lose everything that is in memory; the coordinator notices later."""
        self.running = False
        self._process += 1
        self._copies = Copies()
        process = self._process
        self.clock.after(NOTICED, lambda: self._noticed(process))

    def come_back(self) -> None:
        """Connect anew, and fetch what is waiting."""
        self.running = self.online = True
        self.life += 1
        self.changed()
        self._fetch()

    def drop_line(self) -> None:
        """Lose the connection, not the memory: what was being computed is still delivered."""
        if self.running:
            self.come_back()

    def freeze(self, seconds: float) -> None:
        """Stand still; time goes on."""
        self.running, process = False, self._process
        self.clock.after(NOTICED, lambda: self._noticed(process))
        self.clock.after(seconds, lambda: self._thaw(process))

    def _thaw(self, process: int) -> None:
        if process == self._process and not self.running:
            self.come_back()

    def _noticed(self, process: int) -> None:
        if process == self._process and not self.running and self.online:
            self.online = False
            self.life += 1
            self.changed()

    # What it does

    def deliver(self, message: Message) -> None:
        """A question has arrived, or waits for the node to come and fetch it."""
        self.inbox.append(message)
        self._fetch()

    def _fetch(self) -> None:
        while self.running and self.inbox:
            self._begin(self.inbox.pop(0))

    def _begin(self, message: Message) -> None:
        if self.refuses:
            self.clock.after(0.1, lambda: self.send(message, (Outcome.REFUSED, REFUSED, [])))
        elif self._copies.first(message.key, message):
            process, slow = self._process, self.slowness if self.clock.now < self.slow_until else 0.0
            self.clock.after(self.rng.uniform(0.2, 3.0) + slow, lambda: self._finish(message, process))

    def _finish(self, message: Message, process: int) -> None:
        if process != self._process:
            return
        if not self.running:  # frozen in the middle of it
            self.clock.after(1.0, lambda: self._finish(message, process))
            return
        if self.fails:
            reply: Reply = Outcome.FAILED, FAILED, []
        else:
            kind, payload = join(message.parts)
            reply = Outcome.ANSWERED, "", split(kind, self.answer(kind, payload), message.id)
        for copy in self._copies.done(message.key):
            self.send(copy, reply)
