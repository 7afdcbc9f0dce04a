"""What coordinator and node say when they meet: the roster, and how far the journal of each was seen to go.

A node answers by signing a fresh nonce with the identity key that the roster lists for its cohort, which proves that it
has that key. Each remembers where the other's journal was, so neither can later cut off or rewrite its own unnoticed.
"""

from __future__ import annotations

import structlog

from cohortium.chain import Head, verify_head
from cohortium.errors import Untrusted
from cohortium.messages import Greeting, Introduction
from cohortium.signing import Signed, new_nonce
from coordinator.audit import Audit
from coordinator.registry import Registry

log = structlog.get_logger()


class Greeter:
    """Greets nodes, and judges how they introduce themselves."""

    def __init__(self, registry: Registry, audit: Audit) -> None:
        self._registry, self._audit = registry, audit

    def greeting(self, cohort: str) -> Greeting:
        """What to say to a cohort's node."""
        roster = self._registry.roster()
        return Greeting(
            nonce=new_nonce(),
            roster=roster.to_bytes().decode() if roster else None,
            head=self._audit.position(),
            seen=self._audit.witnessed(cohort),
        )

    def problem(self, cohort: str, greeting: Greeting, told: Introduction) -> str | None:
        """Why the node cannot answer for its cohort, if so."""
        roster = self._registry.roster()
        if roster is None:
            return None
        member = roster.document.member(cohort)
        if member is None:
            return f"It is not in version {roster.document.version} of the network's roster."
        if told.head is None:
            return "Its node did not accept the roster; its journal says why."
        try:
            signed = Signed.from_bytes(Head, told.head.encode())
            position = verify_head(signed, member.identity, owner=cohort, nonce=greeting.nonce)
        except Untrusted:
            return "Its node did not prove that it has the identity key that the roster lists for it."
        if position.number < greeting.seen.number:
            log.error("journal", cohort=cohort, problem="shorter than it was")
            self._audit.note("a node's journal was cut off", cohort=cohort, seen=greeting.seen.number)
        if not self._audit.holds(told.seen):
            log.error("audit", cohort=cohort, problem="a node has seen an entry that this audit does not have")
            self._audit.note("audit differs from what was witnessed", cohort=cohort, number=told.seen.number)
        self._audit.witness(cohort, position)
        return None
