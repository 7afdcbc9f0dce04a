"""`cohortium node member` and `cohortium node journal`: what others need to trust this node, and what it wrote down."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.errors import CohortiumError
from node.plainly import DEFAULT_CONFIG, EXIT_CONTRADICTION, EXIT_INVALID, ConfigFile, said_plainly, stop


def member(
    config: ConfigFile = DEFAULT_CONFIG,
    out: Annotated[Path, typer.Option(help="Where to write it.", dir_okay=False)] = Path("member.json"),
) -> None:
    """Write what the network's authority needs to know of this node: its public keys, signed with its identity key."""
    from cohortium.documents import Member
    from cohortium.keys import public_text
    from cohortium.signing import sign
    from node.config import NodeSettings
    from node.credentials import keys_of

    with said_plainly(EXIT_INVALID):
        settings = NodeSettings.from_toml(config)
        keys = keys_of(settings)
        statement = Member(
            network=settings.trust.network,
            cohort=settings.cohort,
            identity=public_text(keys.identity.public_key()),
            masking=public_text(keys.masking.public_key()),
        )
        out.write_bytes(sign(statement, keys.identity).to_bytes())
    typer.echo(f"{out}: {statement.cohort} of {statement.network}")
    typer.echo(f"identity  {statement.identity}\nmasking   {statement.masking}")
    typer.echo("Hand it to the network's authority, and read the identity key out to a person there.")


def journal(
    config: ConfigFile = DEFAULT_CONFIG,
    verify: Annotated[bool, typer.Option("--verify", help="Check every signature, the chain and its end.")] = False,
    last: Annotated[int, typer.Option(help="Show so many of the latest entries.", min=0)] = 20,
    witness: Annotated[
        str, typer.Option(help="`number:hash` of an entry that somebody else kept, such as the coordinator's audit.")
    ] = "",
) -> None:
    """Show what this node was asked and what it answered; with --verify, also whether anybody changed it since.

    Exit code 1: the journal was changed, cut off or written anew.
    """
    from cohortium.errors import BrokenChain
    from node.config import NodeSettings
    from node.credentials import keys_of
    from node.journal import described, read

    with said_plainly(EXIT_INVALID):
        settings = NodeSettings.from_toml(config)
        path, identity = settings.path(settings.trust.memory), keys_of(settings).identity
    try:
        entries = read(path, identity.public_key(), settings.cohort, verify=verify, witness=witness)
    except BrokenChain as error:
        stop(error.message, EXIT_CONTRADICTION)
    except CohortiumError as error:
        stop(error.message, EXIT_INVALID)
    for entry in entries[len(entries) - min(last, len(entries)) :]:
        typer.echo(described(entry))
    if verify:
        end = f"{entries[-1].number}:{entries[-1].digest()}" if entries else "0"
        typer.echo(f"{len(entries)} entries, none changed, none missing. The last one is {end}")
