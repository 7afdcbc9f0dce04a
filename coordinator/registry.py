"""The network's documents as the coordinator relays them: the roster as it is now, and the permits.

It checks them before it takes them in, so that mistakes are told early and to whoever made them. Nobody relies on that:
nodes and researchers verify the very same documents themselves.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy import insert, select

from cohortium.documents import Job, Permit, Roster
from cohortium.errors import InvalidQuestion, NotPermitted
from cohortium.messages import Papers
from cohortium.signing import Mandate, Signed, verify_mandate, verify_permit, verify_roster
from coordinator.problems import Declined
from coordinator.schema import permits, rosters
from coordinator.store import Store, now


@dataclass(frozen=True)
class Taken:
    """A job that may run, with the documents that it rests on."""

    mandate: Mandate
    papers: Papers


class Registry:
    """Roster and permits. `authority` is the public key that signs rosters; without one, none is taken."""

    def __init__(self, store: Store, network: str, authority: str) -> None:
        self._store, self._network, self._authority = store, network, authority
        self._lock = threading.Lock()
        self._roster = self._newest()

    def roster(self) -> Signed[Roster] | None:
        """The roster as it is now."""
        return self._roster

    def put_roster(self, text: str) -> Signed[Roster]:
        """Take in a new version of the roster. Raises InvalidQuestion or an Untrusted error."""
        if not self._authority:
            raise InvalidQuestion("This coordinator knows no authority: set `authority` in its settings first.")
        signed = Signed.from_bytes(Roster, text.encode())
        with self._lock:
            known = self._roster.document if self._roster else None
            roster = verify_roster(signed, authority=self._authority, network=self._network, now=now(), known=known)
            if known is None or roster.version > known.version:
                self._store.change(insert(rosters).values(version=roster.version, content=text, taken=now()))
                self._roster = signed
        return signed

    def add_permit(self, text: str) -> Signed[Permit]:
        """Take in a permit. Raises InvalidQuestion or an Untrusted error."""
        signed = Signed.from_bytes(Permit, text.encode())
        permit = verify_permit(signed, self._required().document, now=now())
        with self._lock:
            if self.permit(permit.digest()) is None:
                values = {"digest": permit.digest(), "study": permit.study, "content": text, "taken": now()}
                self._store.change(insert(permits).values(values))
        return signed

    def permits(self, study: str | None = None) -> list[Signed[Permit]]:
        """The permits, newest first, those that are over included."""
        query = select(permits.c.content).order_by(permits.c.taken.desc())
        if study is not None:
            query = query.where(permits.c.study == study)
        return [Signed.from_bytes(Permit, row.content.encode()) for row in self._store.rows(query)]

    def permit(self, digest: str) -> Signed[Permit] | None:
        """A permit by its hash."""
        found = self._store.rows(select(permits.c.content).where(permits.c.digest == digest))
        return Signed.from_bytes(Permit, found[0].content.encode()) if found else None

    def take(self, text: str) -> Taken:
        """A signed job, verified as every node will do it. Raises InvalidQuestion or an Untrusted error."""
        signed, roster = Signed.from_bytes(Job, text.encode()), self._required()
        permit = self.permit(signed.document.permit)
        if permit is None:
            raise NotPermitted("This network does not have the permit that the job was made under.")
        mandate = verify_mandate(roster, permit, signed, authority=self._authority, network=self._network, now=now())
        texts = {"roster": roster.to_bytes(), "permit": permit.to_bytes(), "job": signed.to_bytes()}
        return Taken(mandate, Papers(**{name: content.decode() for name, content in texts.items()}))

    def _required(self) -> Signed[Roster]:
        if self._roster is None:
            raise Declined(HTTPStatus.CONFLICT, "This network has no roster yet: its operator must put one in place.")
        return self._roster

    def _newest(self) -> Signed[Roster] | None:
        found = self._store.rows(select(rosters.c.content).order_by(rosters.c.version.desc()).limit(1))
        return Signed.from_bytes(Roster, found[0].content.encode()) if found else None
