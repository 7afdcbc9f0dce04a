"""A stand-in for SuperLink whose messages get lost, late, doubled and out of order; all else is genuine.

`coordinator.link.Channel` and `coordinator.question.Question` work on it as they do on Flower's: they ask, ask again
what may have been lost, and read answers whose parts are still coming in.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cohortium.parcel import join
from coordinator.question import Outcome, Reply, Run
from simulation.faults.clock import Clock
from simulation.faults.site import Reply as SiteReply
from simulation.faults.site import Site

Parts = list[dict[str, Any]]


@dataclass
class Message:
    """A question on its way to a node."""

    id: str
    run: int
    group: str
    cohort: str
    parts: Parts
    expires: float

    @property
    def key(self) -> tuple[int, str, str]:
        """What copies of the same question have in common."""
        content = hashlib.sha256(b"".join(part["data"] for part in self.parts)).hexdigest()
        return self.run, self.group, content


@dataclass
class Returned:
    """A reply that has arrived, or begun to."""

    id: str
    to: str
    outcome: Outcome
    detail: str
    parts: Parts
    whole_at: float
    broken: bool = False
    told: bool = False


class SuperLink:
    """Questions and replies in transit, and what befalls them."""

    def __init__(self, sites: Mapping[str, Site], clock: Clock, rng: random.Random, news: Callable[[], None]) -> None:
        self.sites, self.clock, self.rng, self.news = sites, clock, rng, news
        # What befalls the messages of a cohort: per kind of fault, which share of them, and for how long.
        self.weather: dict[str, dict[str, tuple[float, float]]] = {cohort: {} for cohort in sites}
        self.messages: dict[str, Message] = {}
        self.returned: dict[str, Returned] = {}
        self.on_post: Callable[[Message], None] = lambda _message: None
        self._numbers = itertools.count(1)
        for site in sites.values():
            site.send = self._send_back

    # What the coordinator calls (see `coordinator.flower.SuperLink`)

    def records(self, parts: Iterable[Mapping[str, Any]]) -> Parts:
        """The parts of a payload."""
        return [dict(part) for part in parts]

    def post(self, run: Run, node: int, records: Parts, *, group: str, ttl: float) -> str | None:
        """Send a message to a node."""
        cohort = next(site.cohort for site in self.sites.values() if site.number == node)
        message = Message(f"m{next(self._numbers)}", run.id, group, cohort, records, self.clock.now + ttl)
        self.messages[message.id] = message
        self.on_post(message)
        self.clock.after(ttl, self.news)
        for delay in self._fate(cohort):
            self.clock.after(delay, lambda: self._arrive(message))
        return message.id

    def replies(self, run: Run, messages: Iterable[str]) -> list[Reply]:  # noqa: ARG002 - ids are of this stand-in
        """What is new about these messages: each reply is told once, an expired message as lost."""
        asked = list(messages)
        new = [r for r in self.returned.values() if r.to in asked and not r.told]
        for reply in new:
            reply.told = True
        found = [Reply(r.to, r.id, r.outcome, r.detail) for r in new]
        answered = {r.to for r in self.returned.values()}
        lost = [m for m in asked if m not in answered and self._is_lost(m)]
        return found + [Reply(m, f"lost-{m}", Outcome.LOST, "") for m in lost]

    def payload(self, run: Run, reply: str) -> bytes | None:  # noqa: ARG002
        """The payload of a reply; None while parts are coming in. Raises LookupError if they no longer do."""
        found = self.returned.get(reply)
        if found is None or (found.broken and self.clock.now >= found.whole_at):
            raise LookupError(reply)
        return join(found.parts)[1] if self.clock.now >= found.whole_at else None

    def discard(self, messages: set[str], replies: set[str]) -> None:
        """Forget messages and replies."""
        for message in messages:
            self.messages.pop(message, None)
        for reply in replies:
            self.returned.pop(reply, None)

    def lose_everything(self) -> None:
        """What a coordinator that dies takes with it."""
        self.messages.clear()
        self.returned.clear()

    # What happens on the way

    def _is_lost(self, message: str) -> bool:
        return message not in self.messages or self.clock.now >= self.messages[message].expires

    def _arrive(self, message: Message) -> None:
        if message.id in self.messages:
            self.sites[message.cohort].deliver(message)

    def _send_back(self, message: Message, reply: SiteReply) -> None:
        for number, delay in enumerate(self._fate(message.cohort)):
            self.clock.after(delay, partial(self._return, message, reply, again=bool(number)))

    def _return(self, message: Message, reply: SiteReply, again: bool) -> None:
        if message.id not in self.messages:  # nobody waits for it any more
            return
        outcome, detail, parts = reply
        # Its parts follow the reply itself, and sometimes never do.
        broken = not again and self._befalls("cut", message.cohort)
        whole_at = self.clock.now + (0.0 if not parts else self.rng.choice((0.0, 0.05, 2.0)))
        self.returned[f"r-{message.id}"] = Returned(
            f"r-{message.id}", message.id, outcome, detail, parts, whole_at, broken
        )
        self.clock.after(whole_at - self.clock.now, self.news)
        self.news()

    def _fate(self, cohort: str) -> list[float]:
        """After how many seconds a message arrives: not at all, once, or several times."""
        if self._befalls("cut", cohort):
            if self.rng.random() < 0.5:  # the node notices that its line is cut, and connects anew
                self.clock.after(self.rng.uniform(0.1, 5.0), self.sites[cohort].drop_line)
            return []
        delay = self.rng.uniform(0.01, 0.2)
        if self._befalls("delayed", cohort):
            delay += self.rng.uniform(0, self.weather[cohort]["delayed"][1])
        if self._befalls("reordered", cohort):  # overtaken by what was sent after it
            delay += self.rng.uniform(0, 10)
        copies = [delay + self.rng.uniform(0, 5)] if self._befalls("duplicated", cohort) else []
        return [delay, *copies]

    def _befalls(self, kind: str, cohort: str) -> bool:
        share, _ = self.weather[cohort].get(kind, (0.0, 0.0))
        return share > 0 and self.rng.random() < share
