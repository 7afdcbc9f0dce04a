"""One question to several cohorts, in flight: asked, asked again when lost, and complete when all have answered."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from cohortium.parcel import split

if TYPE_CHECKING:
    from coordinator.link import Link


class LinkError(Exception):
    """Base of what can go wrong between coordinator and nodes."""


class Cancelled(LinkError):
    """The caller no longer wants the answers."""


class LinkStopped(LinkError):
    """The coordinator is shutting down; the question can be asked again after a restart."""


class KeyConflict(LinkError):
    """The cohort has another key pinned, or another cohort has this key."""


class NodeFailed(LinkError):
    """A node answered that it cannot answer. `reason` is a constant wording, never a value."""

    def __init__(self, cohort: str, reason: str) -> None:
        super().__init__(f"Cohort {cohort!r}: {reason}.")
        self.cohort, self.reason = cohort, reason


class BundleRefused(NodeFailed):
    """A node's installed analyses are not those that this coordinator's bundle stands for."""


class Outcome(Enum):
    """What became of a message."""

    ANSWERED = auto()  # its reply has come, or is on its way
    LOST = auto()  # nobody will answer it any more: ask again
    REFUSED = auto()  # the node does not know this bundle
    FAILED = auto()  # the node could not answer


@dataclass(frozen=True)
class Reply:
    """The reply to message `to`; with a failure, `detail` is the node's constant wording."""

    to: str
    id: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Run:
    """A Flower run and its task, which is this process."""

    id: int
    task: int


class Question:
    """One question to several cohorts, in flight."""

    def __init__(self, link: "Link", run: Run, payloads: Mapping[str, bytes], kind: str, group: str) -> None:
        self._link, self._superlink, self._run = link, link.superlink, run
        self._payloads, self._kind, self._group = dict(payloads), kind, group
        self._records: dict[bytes, Any] = {}
        self._asked: dict[str, tuple[int, int]] = {}  # cohort -> its node and that node's life when it was asked
        self._messages: dict[str, str] = {}  # id of a message -> cohort
        self._replies: dict[str, str] = {}  # id of a reply whose parts are still coming in -> cohort
        self.answers: dict[str, bytes] = {}

    @property
    def waiting(self) -> set[str]:
        """The cohorts that have not answered yet."""
        return self._payloads.keys() - self.answers.keys()

    def send(self) -> None:
        """Ask whoever is online and was not asked yet in this life of its node."""
        for cohort in sorted(self.waiting):
            node = self._link.node(cohort)
            if node is not None and self._asked.get(cohort) != node:
                self.forget([cohort])
                self._post(cohort, node[0])
                self._asked[cohort] = node

    def collect(self) -> None:
        """Take in what has arrived."""
        if self._messages:
            for reply in self._superlink.replies(self._run, self._messages):
                self._take(self._messages[reply.to], reply.id, reply.outcome, reply.detail)
        for reply_id, cohort in list(self._replies.items()):
            self._complete(reply_id, cohort)

    def forget(self, cohorts: Collection[str]) -> None:
        """Delete what SuperLink stores for these cohorts; they are asked again if there is no answer yet."""
        messages = {message for message, cohort in self._messages.items() if cohort in cohorts}
        replies = {reply for reply, cohort in self._replies.items() if cohort in cohorts}
        self._superlink.discard(messages, replies)
        for message in messages:
            del self._messages[message]
        for reply in replies:
            del self._replies[reply]
        for cohort in cohorts:
            self._asked.pop(cohort, None)

    def _post(self, cohort: str, node: int) -> None:
        payload = self._payloads[cohort]
        if payload not in self._records:  # cohorts that are asked the same share its parts in SuperLink's memory
            self._records[payload] = self._superlink.records(
                split(self._kind, payload, f"{self._run.id}/{self._group}")
            )
        message = self._superlink.post(
            self._run, node, self._records[payload], group=self._group, ttl=self._link.message_ttl
        )
        if message is not None:
            self._messages[message] = cohort
            self._link.gate.announce(node)

    def _take(self, cohort: str, reply: str, outcome: Outcome, detail: str) -> None:
        match outcome:
            case Outcome.ANSWERED:
                self._replies[reply] = cohort
            case Outcome.LOST:
                self.forget([cohort])
            case Outcome.REFUSED:
                raise BundleRefused(cohort, detail)
            case Outcome.FAILED:
                raise NodeFailed(cohort, detail)

    def _complete(self, reply: str, cohort: str) -> None:
        try:
            payload = self._superlink.payload(self._run, reply)
        except LookupError:
            self.forget([cohort])
        except ValueError:
            raise NodeFailed(cohort, "its answer is malformed") from None
        else:
            if payload is not None:
                self.forget([cohort])
                self.answers[cohort] = payload
