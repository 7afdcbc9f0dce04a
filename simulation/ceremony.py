"""Throw-away keys and documents for a network on this machine: what a real network's people sign at its ceremony.

For the demo, for end-to-end tests and for measuring. The keys of everybody are in one hand here, which is what a real
network must never have; docs/security.md has the real ceremony.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.documents import Job, Member, Options, Permit, Roster
from cohortium.identity import code_identity
from cohortium.keys import Keys, new_keys, public_text, write_key
from cohortium.messages import Papers
from cohortium.signing import Signed, new_nonce, sign

LONG = timedelta(days=30)


def _text(key: Ed25519PrivateKey) -> str:
    return public_text(key.public_key())


@dataclass
class Ceremony:
    """Everybody's keys, a roster, and permits for any question of one researcher."""

    network: str
    cohorts: tuple[str, ...]
    authority: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)
    committee: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)
    researcher: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __post_init__(self) -> None:
        self.nodes: dict[str, Keys] = {cohort: new_keys() for cohort in self.cohorts}
        self.roster = self._roster(1, None)

    @property
    def authority_key(self) -> str:
        """The authority's public key, which nodes and clients pin."""
        return _text(self.authority)

    def member(self, cohort: str) -> Member:
        """A cohort's public keys."""
        keys = self.nodes[cohort]
        identity, masking = _text(keys.identity), public_text(keys.masking.public_key())
        return Member(network=self.network, cohort=cohort, identity=identity, masking=masking)

    def renew(self, **changes: Any) -> Signed[Roster]:
        """The next version of the roster; `changes` are fields of it, such as `revoked`."""
        before = self.roster.document
        self.roster = self._roster(before.version + 1, before.digest(), **changes)
        return self.roster

    def _roster(self, version: int, previous: str | None, **changes: Any) -> Signed[Roster]:
        fields: dict[str, Any] = {
            "network": self.network,
            "version": version,
            "previous": previous,
            "members": tuple(self.member(cohort) for cohort in sorted(self.nodes)),
            "committees": (_text(self.committee),),
            "valid_from": self.now - LONG,
            "valid_until": self.now + LONG,
        }
        return sign(Roster(**fields | changes), self.authority)

    def permit(self, study: str, *, per_cohort: bool = True, **changes: Any) -> Signed[Permit]:
        """A permit for every analysis and variable; `changes` are fields of it that narrow it."""
        fields: dict[str, Any] = {
            "network": self.network,
            "study": study,
            "title": f"Study {study}",
            "purpose": "To show and to test; these data are public or made up.",
            "variables": "all",
            "analyses": "all",
            "cohorts": tuple(sorted(self.cohorts)),
            "researchers": (_text(self.researcher),),
            "options": Options(release_per_cohort=per_cohort),
            "valid_from": self.now - LONG,
            "valid_until": self.now + LONG,
        }
        return sign(Permit(**fields | changes), self.committee)

    def job(
        self,
        permit: Signed[Permit],
        analysis: str,
        params: Mapping[str, Any],
        dictionary: str,
        cohorts: Iterable[str] | None = None,
        **changes: Any,
    ) -> Signed[Job]:
        """A question under a permit, signed by the researcher."""
        fields: dict[str, Any] = {
            "network": self.network,
            "study": permit.document.study,
            "analysis": analysis,
            "version": code_identity(),
            "params": dict(params),
            "cohorts": tuple(sorted(cohorts if cohorts is not None else self.cohorts)),
            "roster": self.roster.document.digest(),
            "permit": permit.document.digest(),
            "dictionary": dictionary,
            "nonce": new_nonce(),
            "submitted": datetime.now(UTC),
        }
        return sign(Job(**fields | changes), self.researcher)

    def papers(self, permit: Signed[Permit], job: Signed[Job]) -> Papers:
        """The documents as they travel with a question."""
        return Papers(
            roster=self.roster.to_bytes().decode(), permit=permit.to_bytes().decode(), job=job.to_bytes().decode()
        )

    def write_node(self, cohort: str, folder: Path) -> None:
        """Keep a node's keys where its settings look for them."""
        write_key(self.nodes[cohort].identity, folder / "identity.key")
        write_key(self.nodes[cohort].masking, folder / "masking.key")
