"""The keys of a node, and what its operator pinned, from its settings."""

from __future__ import annotations

import os

from cohortium.keys import Keys, read_masking_key, read_signing_key
from node.config import InvalidNodeSettings, NodeSettings
from node.trusted import Trust

PASSPHRASE_FROM = "COHORTIUM_NODE_PASSPHRASE"  # noqa: S105 - where it is, not what it is
"""Environment variable with the passphrase of the node's keys, if they have one."""


def keys_of(settings: NodeSettings) -> Keys:
    """The node's own keys. Raises InvalidKey."""
    passphrase = os.environ.get(PASSPHRASE_FROM)
    identity = read_signing_key(settings.path(settings.trust.identity), passphrase)
    return Keys(identity, read_masking_key(settings.path(settings.trust.masking), passphrase))


def trust_of(settings: NodeSettings) -> Trust:
    """What the node relies on. Raises InvalidNodeSettings without a pinned authority, InvalidKey."""
    if not settings.trust.authority:
        raise InvalidNodeSettings(
            "`authority` in [trust]: put the public key of the network's authority there, as a person you know told "
            "you. Without it this node would have to believe the coordinator, so it does not start."
        )
    return Trust(settings.trust.network, settings.trust.authority, keys_of(settings))
