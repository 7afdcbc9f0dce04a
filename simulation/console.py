"""Make synthetic cohorts and rehearse studies, faults and methods with them."""

# ruff: noqa: PLC0415 - each command loads what it needs and no more
from __future__ import annotations

import logging
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
    """Make synthetic cohorts and rehearse studies, faults and methods with them."""


@app.command()
def run(
    scenario: Annotated[Path, typer.Argument(help="A scenario file; configs/scenarios/ has examples.")],
    real: Annotated[
        bool, typer.Option("--real", help="Over real processes on this machine instead of in this one.")
    ] = False,
    engine: Annotated[
        bool, typer.Option("--engine", help="On Flower's simulation engine (Ray; the extra `simulation`).")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep files and logs in this folder.")] = None,
) -> None:
    """Play a scenario and print its results beside the truth."""
    from simulation.faults.campaign import keep_quiet
    from simulation.scenarios import Scenario, Where, play

    if real and engine:
        raise InvalidQuestion("Say either `--real` or `--engine`.")
    described = Scenario.from_toml(scenario)
    keep_quiet()
    where: Where = "processes" if real else "engine" if engine else "here"
    console.print(play(described, where=where, folder=keep).as_text(), markup=False)


@app.command()
def fault(
    seed: Annotated[int, typer.Option(min=0, help="Which schedule of faults.")],
    real: Annotated[bool, typer.Option("--real", help="On real processes instead of in virtual time.")] = False,
) -> None:
    """Run jobs under one schedule of faults, to look at a seed again. Exit code 1: a job did not end as it must."""
    from simulation.faults.campaign import keep_quiet, real_verdicts
    from simulation.faults.virtual import trial

    keep_quiet()
    verdict = next(real_verdicts([seed])) if real else trial(seed)
    console.print(verdict.sentence, markup=False)
    raise typer.Exit(0 if verdict.passed else 1)


@app.command()
def campaign(
    schedules: Annotated[int, typer.Option(min=0, help="How many schedules in virtual time.")] = 1000,
    real: Annotated[int, typer.Option(min=0, help="How many on real processes.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    processes: Annotated[int | None, typer.Option(min=1, help="Processors to use; all by default.")] = None,
) -> None:
    """Run many schedules of faults. Exit code 1: some job did not end as it must; its seed is told."""
    from simulation.faults.campaign import carry_out, keep_quiet, real_verdicts, verdicts

    keep_quiet()
    found = [carry_out(verdicts(range(first, first + schedules), processes), _tell)] if schedules else []
    if real:
        found.append(carry_out(real_verdicts(range(first, first + real)), _tell))
    for each in found:
        _tell(each.sentence)
    raise typer.Exit(1 if any(each.failures for each in found) else 0)


@app.command()
def compare(
    *,
    outcome: Annotated[str, typer.Option(help="sbp, ldl, hdl or cvd_history.")] = "cvd_history",
    holders: Annotated[str | None, typer.Option(help="Who takes part, with commas between; by default six.")] = None,
    number: Annotated[int, typer.Option("--people", help="People per holder.")] = 300,
    seeds: Annotated[int, typer.Option(help="How many times, on other people each time.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people.")] = 1,
    heterogeneity: Annotated[float, typer.Option(help="SD between holders of one effect.")] = 0.0,
    term: Annotated[str | None, typer.Option(help="Which effect differs; by default the first.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write an HTML page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the main table as CSV.")] = None,
) -> None:
    """Compare federated estimates with pooled ones and with meta-analyses, where the truth is known."""
    import pyarrow.csv
    from pydantic import ValidationError

    from simulation.comparison import Plan
    from simulation.comparison import compare as carry_out

    chosen = {"holders": tuple(holders.split(","))} if holders else {}
    values = {"outcome": outcome, "people": number, "seeds": seeds, "seed": seed, "heterogeneity": heterogeneity}
    try:
        plan = Plan.model_validate({**values, **chosen, "term": term})
    except ValidationError as error:
        raise InvalidQuestion.from_validation(error) from None
    found = carry_out(plan)
    _tell(found.summary())
    if html is not None:
        _tell(f"Wrote {found.report(html)}")
    if csv is not None:
        pyarrow.csv.write_csv(found.to_frame("pyarrow"), csv)
        _tell(f"Wrote {csv}")


@app.command()
def attacks(
    *,
    policy: Annotated[
        Path | None, typer.Option(help="The cohorts' policy, a TOML file; by default every threshold's default.")
    ] = None,
    unguarded: Annotated[bool, typer.Option("--unguarded", help="Without a policy: to see attacks work.")] = False,
    only: Annotated[str | None, typer.Option(help="Which attacks, with commas between; by default all.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each attack tries, no more.")] = False,
) -> None:
    """Attack made-up cohorts and print what was recovered. Exit code 1: some attack recovered what it was after."""
    from simulation.attacks import VICTIM, explanations, find, made_up
    from simulation.attacks import run as carry_out

    chosen = find(only.split(",") if only else None)
    if explain:
        _tell(explanations(chosen))
        return
    from node.disclosure import Policy

    thresholds = Policy.none() if unguarded else Policy.from_toml(policy) if policy else Policy()
    logging.disable()  # a node tells of every question that it could not answer
    try:
        found = carry_out(lambda: made_up(thresholds), VICTIM, chosen)
    finally:
        logging.disable(logging.NOTSET)
    _tell(found.as_text())
    raise typer.Exit(1 if found.recovered else 0)


def _tell(text: str) -> None:
    console.print(text, markup=False)


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
