"""Who follows which job: job threads announce a change, the event loop wakes those who wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from cohortium.messages import JobView

# A new state is told at once, progress within one at most this often: rounds may take no longer than that, and every
# telling costs this process and the follower a few milliseconds of theirs.
PROGRESS_SECONDS = 0.1

Waker = Callable[[bool], None]


class Board:
    """Announcements of jobs. A follower may miss steps in between, never the last one."""

    def __init__(self) -> None:
        self._wakers: dict[str, set[Waker]] = defaultdict(set)
        self._lock = threading.Lock()
        self._closed = False

    def announce(self, job_id: str, *, state: bool = True) -> None:
        """Something about this job has changed: its state, or else how far it is."""
        with self._lock:
            wakers = list(self._wakers.get(job_id, ()))
        for wake in wakers:
            wake(state)

    def close(self) -> None:
        """Send every follower home: the coordinator is stopping."""
        self._closed = True
        for job_id in list(self._wakers):
            self.announce(job_id)

    async def follow(self, job_id: str, look: Callable[[], JobView]) -> AsyncIterator[JobView]:
        """The job as `look` shows it, now and after each announcement, until it has ended."""
        changed, state_changed = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake(state: bool) -> None:
            with suppress(RuntimeError):  # the loop is gone, and the follower with it
                loop.call_soon_threadsafe(changed.set)
                if state:
                    loop.call_soon_threadsafe(state_changed.set)

        self._add(job_id, wake)
        try:
            while not self._closed:
                changed.clear()
                state_changed.clear()
                view = look()
                yield view
                if view.state.is_final:
                    return
                await _first(state_changed, PROGRESS_SECONDS)
                await changed.wait()
        finally:
            self._remove(job_id, wake)

    def _add(self, job_id: str, wake: Waker) -> None:
        with self._lock:
            self._wakers[job_id].add(wake)

    def _remove(self, job_id: str, wake: Waker) -> None:
        with self._lock:
            self._wakers[job_id].discard(wake)
            if not self._wakers[job_id]:
                del self._wakers[job_id]


async def _first(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
