"""What every command of the node shares: its settings file, and errors as a message and an exit code."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cohortium.errors import CohortiumError

EXIT_CONTRADICTION, EXIT_INVALID, EXIT_NOT_ENROLLED = 1, 2, 3

ConfigFile = Annotated[Path, typer.Option("--config", help="The node's settings file.", dir_okay=False)]
DEFAULT_CONFIG = Path("node.toml")


@contextmanager
def said_plainly(contradiction: int) -> Iterator[None]:
    """Errors as a message and an exit code; `contradiction` is the one for data that contradict the dictionary."""
    from node.data import InvalidData

    try:
        yield
    except CohortiumError as error:
        stop(str(error), contradiction if isinstance(error, InvalidData) else EXIT_INVALID)
    except OSError as error:
        stop(f"{error.filename or 'A file'}: {error.strerror or type(error).__name__}", EXIT_INVALID)


def stop(message: str, code: int) -> NoReturn:
    """End the program with a message on standard error."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)
