"""Make synthetic cohorts to rehearse, test and measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cohortium.errors import InvalidQuestion
from simulation.cohorts import HOLDERS, NETHERLANDS, Holder, find, sizes, write
from simulation.cohorts.coding import NETWORK
from simulation.cohorts.writing import Format, write_dictionaries

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)
console = Console(highlight=False, soft_wrap=True)


@app.callback()
def simulate() -> None:
    """Make synthetic cohorts to rehearse, test and measure with."""


@app.command()
def people(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to: a folder per holder, and the dictionaries.")],
    holder: Annotated[
        str | None, typer.Option(help=f"Which holder: {', '.join(HOLDERS)}; or {NETHERLANDS.name}, a random sample.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All eleven holders, in proportion to their sizes.")] = False,
    number: Annotated[
        int | None,
        typer.Option("--people", min=1, help="How many people, together; else 500,000, or the holder's size."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same people.")] = 1,
    form: Annotated[Format, typer.Option("--format", help="Parquet is smaller and faster to read.")] = "parquet",
    local: Annotated[
        bool, typer.Option("--local-codes", help="Write columns and codes as the holder has them, not the network.")
    ] = False,
    visits: Annotated[bool, typer.Option(help="Also write repeated visits, a row for each.")] = True,
) -> None:
    """Write synthetic people: a file of baseline visits per holder, and one of repeated visits."""
    for one, size in _wanted(holder, everyone, number):
        folder = out / one.name
        write(one, size, seed, folder, form, coding=one.coding if local else NETWORK, with_visits=visits)
        console.print(f"{one.name}: {size:,} people in {folder}", markup=False)
    write_dictionaries(out)
    console.print(f"Their dictionaries are in {out}. Seed {seed}.", markup=False)


def _wanted(name: str | None, everyone: bool, number: int | None) -> list[tuple[Holder, int]]:
    if everyone == (name is not None):
        raise InvalidQuestion("Say either `--holder` or `--all`.")
    if name is not None:
        one = find(name)
        return [(one, number or one.size)]
    shares = sizes(number or sum(holder.size for holder in HOLDERS.values()))
    return [(HOLDERS[name], size) for name, size in shares.items() if size]
