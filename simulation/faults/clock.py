"""A clock that moves when somebody waits: hours of faults in a moment, and every run of a seed the same."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Event = Callable[[], None]


class Clock:
    """Virtual seconds, and what is going to happen when. Events of one moment happen in the order they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, event: Event) -> None:
        """Plan an event."""
        heapq.heappush(self._events, (self.now + max(seconds, 0.0), next(self._numbers), event))

    def step(self) -> bool:
        """Move on to the next event and let it happen; False if there is none."""
        if not self._events:
            return False
        self.now, _, event = heapq.heappop(self._events)
        event()
        return True

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.step()
        self.now = until
