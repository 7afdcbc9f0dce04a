"""What every command that needs the cohort's rows reads first: settings, policy, dictionary and data."""

# ruff: noqa: PLC0415 - data engines take a moment to load, and most commands do without

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.config import NodeSettings
    from node.disclosure import Policy
    from node.sources import Loaded


def load(config: Path) -> tuple[NodeSettings, Policy, Loaded]:
    """All of it, checked. Raises InvalidNodeSettings, InvalidPolicy, InvalidData and the like."""
    from cohortium.dictionary import Dictionary
    from node.config import NodeSettings
    from node.disclosure import Policy
    from node.sources import Source, read

    settings = NodeSettings.from_toml(config)
    _check_credentials(settings)
    policy = Policy.from_toml(settings.policy_file) if settings.policy_file else Policy()
    dictionary = Dictionary.from_toml(settings.path(settings.dictionary))
    given = settings.data
    source = Source(settings.source, given.columns, given.missing, given.decimal)
    return settings, policy, read(source, dictionary, given.absent)


def _check_credentials(settings: NodeSettings) -> None:
    """Before data are read, which may take a while. Raises InvalidNodeSettings."""
    import ssl

    from node.config import InvalidNodeSettings
    from node.keys import load_key

    key = settings.path(settings.key)
    try:
        load_key(key)
    except ValueError:
        raise InvalidNodeSettings(
            f"`key`: {key} is no private key of a node; `cohortium node init` makes one"
        ) from None
    try:
        ssl.create_default_context(cafile=settings.path(settings.ca) if settings.ca else None)
    except ssl.SSLError:
        raise InvalidNodeSettings(f"`ca`: {settings.ca} is no certificate (PEM)") from None
