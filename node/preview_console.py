"""`cohortium node preview`: what a job would make this node tell, shown to its operator and to nobody else."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from node.loading import load
from node.plainly import DEFAULT_CONFIG, EXIT_INVALID, ConfigFile, said_plainly
from node.request_console import JobPrefix, approvals_of

if TYPE_CHECKING:
    from cohortium.quantities import Array
    from node.preview import Outcome, Preview, Quantity

SHOWN = 100
"""Entries of a field up to which all are shown, unless everything is asked for."""


def preview(
    job: JobPrefix,
    config: ConfigFile = DEFAULT_CONFIG,
    values: Annotated[
        bool | None, typer.Option("--values/--no-values", help="Show the numbers; by default only in a terminal.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every number of long fields, too.")] = False,
) -> None:
    """Show what a waiting job would make this node tell, before you decide: nothing leaves, nothing is kept.

    The first round is shown number by number, as it is before masking, with what each rule of your policy says of it;
    later rounds by what they would ask for. The numbers are your cohort's own: do not pass them on.
    """
    from node.answer import CohortNode
    from node.preview import copied
    from node.preview import preview as worked_out

    with said_plainly(EXIT_INVALID):
        request = approvals_of(config)[1].find(job)
        settings, policy, loaded = load(config)
        with copied(settings.path(settings.trust.ledger)) as ledger:
            shown = worked_out(CohortNode(settings.cohort, loaded.data, policy, ledger), request)
    told = values if values is not None else sys.stdout.isatty()
    typer.echo(f"{request.job.analysis}, study {request.job.study}, round {request.question.round}\n")
    for line in described(shown, values=told, everything=everything):
        typer.echo(line)


def described(shown: Preview, *, values: bool, everything: bool) -> Iterator[str]:
    """A preview for people, line by line."""
    if not shown.expected:
        yield "This is NOT the question that the analysis asks first: whoever runs the coordinator must explain.\n"
    if shown.first is not None:
        each = ", this cohort's own figures, not masked" if shown.first.per_cohort else ", masked"
        yield f"Leaves now: `{shown.first.statistic}`, {shown.first.entries} numbers{each}"
        for quantity in shown.first.quantities:
            yield f"  {_named(quantity)}"
            if values and quantity.name in shown.values:
                yield from (f"      {line}" for line in _numbers(shown.values[quantity.name], everything))
        if not values:
            yield "  (numbers are shown in a terminal, or with --values)"
    yield "\nWhat your rules say of it"
    yield from (f"  {_said(outcome)}" for outcome in shown.outcomes)
    yield "\nWhat the whole job would ask for, were every cohort like yours"
    for known in shown.later:
        often = f"{known.times} times" if known.times > 1 else "once"
        yield f"  `{known.statistic}` {often}, {known.entries} numbers{' per cohort' if known.per_cohort else ''}"
        yield from (f"      {_named(quantity)}" for quantity in known.quantities)
    if shown.ended:
        yield f"  … and further, which cannot be told from one cohort alone: {shown.ended}"


def _named(quantity: Quantity) -> str:
    shape = " x ".join(map(str, quantity.shape)) or "1"
    return f"{quantity.name} ({shape}): {quantity.kind}"


def _said(outcome: Outcome) -> str:
    name = f"{outcome.rule} = {outcome.threshold}"
    if outcome.refusal is not None:
        return f"REFUSED  {name}: {outcome.refusal}"
    return f"passes   {name}{f': {outcome.withheld} cell(s) withheld' if outcome.withheld else ''}"


def _numbers(values: Array, everything: bool) -> list[str]:
    import numpy as np

    threshold = sys.maxsize if everything else SHOWN
    floats: dict[str, Callable[[float], str]] = {"float_kind": _number}
    return np.array2string(values, threshold=threshold, max_line_width=100, formatter=floats).splitlines()  # type: ignore[arg-type]  # any subset of its keys will do


def _number(value: float) -> str:
    return "withheld" if value != value else f"{value:.10g}"  # noqa: PLR0124 - NaN is not equal to itself
