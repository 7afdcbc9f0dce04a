"""The line to the nodes as jobs see it (`coordinator.link.Link`), with a clock that moves when a job waits."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from coordinator.link import Channel, Link
from coordinator.question import Run
from node.resident import Answer
from simulation.faults.clock import Clock
from simulation.faults.schedule import MESSAGE, NODE, Fault, Schedule
from simulation.faults.site import Site
from simulation.faults.superlink import SuperLink

MESSAGE_TTL = 600.0


# Ends the thread of a job as a power cut would: jobs do not catch it, nothing is written down. No subclass: a thread
# that ends by exactly this one ends without a word.
KILLED = SystemExit


class Line:
    """Nodes behind a faulty network. The thread of the one job that runs moves the clock; nobody else does."""

    message_ttl = MESSAGE_TTL

    def __init__(self, answers: Mapping[str, Answer], others: Mapping[str, Answer], schedule: Schedule) -> None:
        """`answers` are the genuine nodes'; `others` those of the same cohorts with another dictionary."""
        self.clock = Clock()
        rng = random.Random(schedule.seed)  # noqa: S311 - replayable is what it must be
        self.sites = {c: Site(c, n, answer, self.clock, rng) for n, (c, answer) in enumerate(answers.items(), start=1)}
        self.superlink = SuperLink(self.sites, self.clock, rng, self.wake)
        self.gate = self  # announcing a message wakes a node that holds a request open: here nobody does
        self.stopped = threading.Event()
        self.labels: dict[int, str] = {}  # of runs
        self.request: str | None = None  # what the operator or the researcher is about to do; time stands still
        self.on_kill: Callable[[], None] = lambda: None
        self._others, self._rng = others, rng
        self._news, self._runs = 0, itertools.count(1)
        self._label = ""
        self._kill = threading.Event()
        for site in self.sites.values():
            site.changed = self.wake
        for fault in schedule.faults:
            self.clock.after(fault.at, partial(self._befall, fault))

    # What jobs use

    def open(self, label: str) -> Channel:
        """A channel for a job: the genuine one."""
        self._label = label
        return Channel(cast(Link, self), label)

    def start_run(self) -> Run:
        """A new run."""
        run = Run(next(self._runs), 0)
        self.labels[run.id] = self._label
        return run

    def finish_run(self, run: Run, *, failed: bool) -> None:
        """The end of a run."""

    def announce(self, node: int) -> None:
        """Nobody has to be woken."""

    def node(self, cohort: str) -> tuple[int, int] | None:
        """The node of a cohort and the number of its life; None while the coordinator takes it for gone."""
        site = self.sites[cohort]
        return (site.number, site.life) if site.online else None

    def wake(self) -> None:
        """There is news."""
        self._news += 1

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Let time pass until there is news. Raises KILLED when the coordinator dies meanwhile."""
        while timeout > 0 and self._news == seen and self.request is None and self.clock.step():
            self._die_if_killed()
        if timeout > 0 and self.request is not None:  # somebody acts now, in another thread (see `virtual`)
            time.sleep(0.0002)
        return self._news

    # What befalls them

    def plan(self, seconds: float, request: str) -> None:
        """At that time the clock stops until `request` has been seen to."""
        self.clock.after(seconds, lambda: self._ask_for(request))

    def restarted(self, downtime: float) -> None:
        """The coordinator is gone for so long, with all messages; then nodes find it again."""
        self.superlink.lose_everything()
        self.clock.run(downtime)
        self._kill.clear()
        for site in self.sites.values():
            if site.running:
                site.come_back()
            else:
                site.online = False

    def _ask_for(self, request: str) -> None:
        self.request = request

    def _die_if_killed(self) -> None:
        if self._kill.is_set():
            self.on_kill()
            raise KILLED

    def _befall(self, fault: Fault) -> None:
        if fault.kind in NODE:
            self._befall_node(self.sites[str(fault.cohort)], fault)
        elif fault.kind in MESSAGE:
            concerned = [fault.cohort] if fault.cohort else list(self.sites)
            for cohort in concerned:
                self.superlink.weather[cohort][fault.kind] = fault.share, fault.lasts
                self.clock.after(fault.lasts, partial(self._clear_up, cohort, fault.kind))
        elif fault.kind == "killed":
            self._kill.set()
        elif fault.kind == "stopped":
            self.request = "stop"

    def _clear_up(self, cohort: str, kind: str) -> None:
        self.superlink.weather[cohort].pop(kind, None)

    def _befall_node(self, site: Site, fault: Fault) -> None:
        happens: dict[str, Callable[[], None]] = {
            "slow": lambda: self._slow(site, fault.lasts),
            "frozen": lambda: site.freeze(fault.lasts),
            "clock-skewed": lambda: self._turn_away(site, fault.lasts),
            "restarting": lambda: self._restart(site, fault.lasts),
            "flapping": lambda: self._flap(site, fault.lasts),
            "dead": site.crash,
            "withdrawn": lambda: self._ask_for(f"withdraw {site.cohort}"),
            "failing": lambda: setattr(site, "fails", True),
            "wrong-version": lambda: setattr(site, "refuses", True),
            "wrong-dictionary": lambda: setattr(site, "answer", self._others[site.cohort]),
        }
        happens[fault.kind]()

    def _slow(self, site: Site, seconds: float) -> None:
        site.slow_until, site.slowness = self.clock.now + seconds, seconds

    def _turn_away(self, site: Site, seconds: float) -> None:
        site.freeze(seconds)
        site.online = False
        self.wake()

    def _restart(self, site: Site, seconds: float) -> None:
        site.crash()
        self.clock.after(seconds, site.come_back)

    def _flap(self, site: Site, seconds: float) -> None:
        """The line drops and comes back, and now and then the process with it."""
        until = self.clock.now + seconds

        def again() -> None:
            self._restart(site, 0.1) if self._rng.random() < 0.3 else site.drop_line()
            if self.clock.now < until:
                self.clock.after(self._rng.uniform(0.5, 5.0) * (1 + seconds / 100), again)

        again()
