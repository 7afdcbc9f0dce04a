"""What every command that talks to a coordinator shares: which one, as whom, and how a list is printed."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs, so that help and completion are instant

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cohortium.client import Network
    from cohortium.listing import Listing

_CONNECTION = "cohortium.connection"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def connection_options() -> list[click.Parameter]:
    """The options that say which coordinator is meant, and who asks."""

    def remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        # Shared by a command and the groups around it: the innermost that says something wins.
        if value is not None:
            ctx.meta.setdefault(_CONNECTION, {})[param.name] = value

    words = {
        "url": "Address of the coordinator. [env: COHORTIUM_URL, else what `login` saved]",
        "token": "Your token; better kept out of the shell's history. [env: COHORTIUM_TOKEN, else what `login` saved]",
        "ca": "PEM file of the network's certificate authority. [env: COHORTIUM_CA, else what `login` saved]",
        "key": "File of your private key, which signs your jobs. [env: COHORTIUM_KEY, else what `login` saved]",
        "authority": "Public key of the network's authority. [env: COHORTIUM_AUTHORITY, else what `login` saved]",
    }
    return [
        click.Option([f"--{name}"], help=text, expose_value=False, callback=remember) for name, text in words.items()
    ]


class Connected(TyperCommand):
    """A command that talks to a coordinator."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += connection_options()


def network() -> Network:
    """The network that the options of the running command, the environment or `login` name."""
    from cohortium.client import connect

    return connect(**click.get_current_context().meta.get(_CONNECTION, {}))


def show(listing: Listing[Any], as_json: bool, view: Callable[[Any], BaseModel] = lambda item: item) -> None:
    """Print a listing as a table, or `view` of its items as JSON."""
    if as_json:
        typer.echo(json.dumps([view(item).model_dump(mode="json") for item in listing], indent=2))
    else:
        typer.echo(repr(listing))
