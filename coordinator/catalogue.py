"""Who is in the network: the cohorts, whether their nodes are connected, and what those told of themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

import cohortium
from cohortium.analysis import Params
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, InvalidQuestion, UnknownName
from cohortium.mentioned import variables_of
from cohortium.messages import CohortView, Introduction, MalformedMessage, VariableView
from cohortium.twin import Twin
from coordinator.ask import Channel, ask
from coordinator.greeting import Greeter
from coordinator.store import Store

log = structlog.get_logger()


# A node that could not introduce itself is asked again after so long, even if it stayed connected.
RETRY_SECONDS = 30.0
# One that did is asked again after so long, since what it may still tell a study changes.
NEWS_SECONDS = 60.0


class Presence(Protocol):
    """Whose node is connected. See `coordinator.link.Link`."""

    def open(self, label: str) -> AbstractContextManager[Channel]:
        """A channel to the nodes."""

    def online(self) -> set[str]:
        """The cohorts whose nodes are connected."""

    def node(self, cohort: str) -> tuple[int, int] | None:
        """A cohort's node and the number of its present life, which changes when it reconnects; None while away."""

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Wait until a node comes or goes, or the time is over."""


class Catalogue:
    """The cohorts as they are now. Every node that connects is asked to introduce itself."""

    def __init__(self, dictionary: Dictionary, store: Store, link: Presence, greeter: Greeter) -> None:
        self.dictionary, self._greeter = dictionary, greeter
        self._store, self._link = store, link
        self._introductions: dict[str, Introduction | str] = {}  # of each cohort: its own words, or what is wrong
        self._greeted: dict[str, tuple[tuple[int, int], float]] = {}  # in which life of the node, until when that holds
        self._greeting: dict[str, threading.Event] = {}  # set to give up
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin to greet nodes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop greeting."""
        self._stopping.set()
        with self._lock:
            for given_up in self._greeting.values():
                given_up.set()

    def cohorts(self) -> list[CohortView]:
        """Every enrolled cohort, by name."""
        online = self._link.online()
        return [self._view(c.name, c.title, c.name in online) for c in self._store.cohorts()]

    def variables(self, search: str = "") -> list[VariableView]:
        """The dictionary's variables whose name or label contains `search`, with the cohorts known to have them."""
        told = [(c.name, c.variables) for c in self.cohorts() if c.variables is not None]
        return [
            VariableView(
                name=name,
                cohorts=tuple(cohort for cohort, collected in told if name in collected) if told else None,
                **self.dictionary[name].model_dump(),
            )
            for name in self.dictionary.search(search)
        ]

    def twins(self) -> list[Twin]:
        """The synthetic twins of the enrolled cohorts that publish one; a node may publish its own only."""
        told = [(c.name, self._introductions.get(c.name)) for c in self._store.cohorts()]
        found = [(name, words.twin) for name, words in told if isinstance(words, Introduction)]
        return [twin for name, twin in found if twin is not None and twin.cohort == name]

    def check(self, chosen: Iterable[str], params: Params) -> None:
        """Whether these cohorts can be asked this. Raises UnknownName or InvalidQuestion."""
        views = {view.name: view for view in self.cohorts()}
        chosen = list(chosen)
        for name in chosen:
            if name not in views:
                raise UnknownName.of("cohort", name, views)
        faults = [fault for name in chosen for fault in _faults(views[name], params)]
        if faults:
            raise InvalidQuestion(" ".join(faults) + " Ask without them: `cohorts` names those to ask.")

    def greet_again(self) -> None:
        """Greet every node anew, because there is something to tell them."""
        with self._lock:
            self._greeted.clear()

    def forget(self, cohort: str) -> None:
        """Forget what a withdrawn cohort's node told."""
        with self._lock:
            if given_up := self._greeting.get(cohort):
                given_up.set()
            self._introductions.pop(cohort, None)
            self._greeted.pop(cohort, None)

    def _view(self, name: str, title: str, online: bool) -> CohortView:
        told = self._introductions.get(name)
        if told is None or isinstance(told, str):
            return CohortView(name=name, title=title, online=online, problem=told)
        problem = self._problem(told)
        return CohortView(
            name=name, title=title, online=online, variables=told.variables, problem=problem, budgets=told.budgets
        )

    def _problem(self, told: Introduction) -> str | None:
        if told.dictionary != self.dictionary.digest:
            known = self.dictionary
            return f"Its node has another dictionary than this network's `{known.name}` {known.version}."
        if told.version != cohortium.__version__:
            return f"Its node runs Cohortium {told.version}, this network {cohortium.__version__}."
        return None

    def _watch(self) -> None:
        seen = -1
        while not self._stopping.is_set():
            try:
                seen = self._link.wait_for_news(seen, 1.0)
                for cohort in self._store.cohorts():
                    self._greet_if_new(cohort.name)
            except Exception as error:  # the watch goes on
                log.error("catalogue", error=type(error).__name__)
                self._stopping.wait(1.0)

    def _greet_if_new(self, cohort: str) -> None:
        life = self._link.node(cohort)
        with self._lock:
            greeted, until = self._greeted.get(cohort, (None, 0.0))
            if life is None or cohort in self._greeting or (greeted == life and time.monotonic() < until):
                return
            self._greeting[cohort] = given_up = threading.Event()
        threading.Thread(target=self._greet, args=(cohort, life, given_up), name=f"greet-{cohort}", daemon=True).start()

    def _greet(self, cohort: str, life: tuple[int, int], given_up: threading.Event) -> None:
        told = self._ask_to_introduce(cohort, given_up)
        with self._lock:
            del self._greeting[cohort]
            if given_up.is_set():
                return
            until = time.monotonic() + (RETRY_SECONDS if isinstance(told, str) else NEWS_SECONDS)
            again = self._greeted.get(cohort, (None, 0.0))[0] == life
            self._greeted[cohort] = (life, until)
            if again and isinstance(told, _NotReached):
                return  # it is busy: what it said before, in this very life, still holds
            self._introductions[cohort] = told
        view = self._view(cohort, "", online=True)
        log.info("node introduced itself", cohort=cohort, problem=view.problem)

    def _ask_to_introduce(self, cohort: str, given_up: threading.Event) -> Introduction | str:
        try:
            greeting = self._greeter.greeting(cohort)
            with self._link.open(f"introduction of {cohort}") as channel:
                words = {cohort: greeting.to_bytes()}
                reply = ask(channel, words, kind="introduction", round_=0, cancelled=given_up)[cohort]
            told = Introduction.from_bytes(reply)[0]
            if self._problem(told) is not None:
                return told
            return self._greeter.problem(cohort, greeting, told) or told
        except MalformedMessage:
            return "Its node introduces itself in words of another version of Cohortium."
        except CohortiumError as error:
            return _NotReached(error.message)
        except Exception as error:
            log.error("introduction", cohort=cohort, error=type(error).__name__)
            return _NotReached("Its node could not be asked to introduce itself.")


class _NotReached(str):
    """Why a node could not be asked, which says nothing of the node itself."""

    __slots__ = ()


def _faults(cohort: CohortView, params: Params) -> Iterator[str]:
    if cohort.problem is not None:
        yield f"`{cohort.name}` cannot answer: {cohort.problem}"
    elif cohort.variables is not None:
        lacking = [name for name in variables_of(params) if name not in cohort.variables]
        if lacking:
            yield f"`{cohort.name}` did not collect {', '.join(f'`{name}`' for name in lacking)}."
