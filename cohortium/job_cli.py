"""`cohortium jobs`, `job`, `explain` and `cancel`: what became of the questions that were asked."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

import typer

from cohortium.connected import AsJson, network, show


def jobs(as_json: AsJson = False) -> None:
    """List the jobs, the latest first, and for whom each waits."""
    show(network().jobs(), as_json, lambda job: job.view)


def job(job: str, as_json: AsJson = False) -> None:
    """Show one job: where it is, for whom it waits, and why it has no result."""
    from cohortium.listing import job_row

    view = network().job(job).view
    if as_json:
        typer.echo(view.model_dump_json(indent=2))
        return
    why = {"why": view.problem.message} if view.problem else {}
    for name, value in (job_row(view) | why).items():
        if value:
            typer.echo(f"{name:<10} {value}")


def explain(job: str) -> None:
    """Say why a job has no result: which rule, whose it is, why it exists, and how to ask instead."""
    typer.echo(str(network().job(job).explain()))


def cancel(job: str) -> None:
    """End a job."""
    typer.echo(f"Job {job}: {network().job(job).cancel()}")
