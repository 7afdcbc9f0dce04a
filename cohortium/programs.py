"""`cohortium node`, `cohortium coordinator` …: commands that other installed packages bring (`cohortium.commands`).

A program is imported only when it is asked for: help stays fast, and one that is broken or not there leaves the
others alone.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import click
import typer

from cohortium.errors import CohortiumError


@cache
def programs() -> dict[str, EntryPoint]:
    """The installed programs by the name of their command."""
    return {entry.name: entry for entry in sorted(entry_points(group="cohortium.commands"), key=lambda e: e.name)}


def load(name: str) -> click.Command:
    """The commands of a program. Raises CohortiumError if it cannot be imported."""
    try:
        command = typer.main.get_command(programs()[name].load())
    except Exception as error:  # whatever is wrong with it, the other commands go on working
        what = f"{type(error).__name__}: {error}"
        raise CohortiumError(f"`cohortium {name}` cannot be loaded on this machine ({what}).") from error
    command.name = name
    return command


def outline(name: str) -> click.Command:
    """A stand-in that can say what the program is for, without importing it."""
    return click.Command(name, help=_first_line(programs()[name].module))


def _first_line(module: str) -> str:
    try:
        found = importlib.util.find_spec(module)
        source = found.loader.get_source(module) if found and found.loader else None  # type: ignore[attr-defined]
        words = ast.get_docstring(ast.parse(source)) if source else None
    except Exception:
        words = None
    return words.splitlines()[0] if words else "(cannot be loaded on this machine)"
