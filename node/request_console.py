"""`cohortium node requests`, `approve` and `refuse`: what waits for this node's operator, and the decision."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.plainly import DEFAULT_CONFIG, EXIT_INVALID, ConfigFile, said_plainly

if TYPE_CHECKING:
    from cohortium.dictionary import Dictionary
    from node.approvals import Approvals, Request
    from node.config import NodeSettings

JobPrefix = Annotated[str, typer.Argument(help="The job, or the first digits of it.", metavar="JOB")]
By = Annotated[str, typer.Option(help="Who decides, for the journal; without it, your login on this machine.")]


def requests(
    config: ConfigFile = DEFAULT_CONFIG,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """List the jobs that need, or needed, your approval: who asks what, for which study, of which cohorts.

    They are here only if the policy says `approval = "manual"`. Every one was verified: its permit, its signature, and
    that this cohort is asked.
    """
    with said_plainly(EXIT_INVALID):
        settings, approvals = approvals_of(config)
        found = [r for r in approvals.all() if not waiting or r.standing == "waiting"]
        dictionary = _dictionary(settings)
        described = [describe(request, dictionary) for request in found]
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    for one in described:
        typer.echo("\n".join(lines(one)) + "\n")
    left = sum(one["state"] == "waiting" for one in described)
    typer.echo(f"{left} waiting. Decide with `cohortium node approve JOB` or `cohortium node refuse JOB --reason …`.")


def approve(job: JobPrefix, config: ConfigFile = DEFAULT_CONFIG, by: By = "") -> None:
    """Let a waiting job run, within the rules of your policy. The journal says so, signed."""
    with said_plainly(EXIT_INVALID):
        request = approvals_of(config)[1].approve(job, by or getpass.getuser())
    typer.echo(f"Job {request.job.digest()[:16]} ({request.job.analysis}, study {request.job.study}): approved.")


def refuse(
    job: JobPrefix,
    reason: Annotated[str, typer.Option(help="Why. The researcher reads it: no data values.")],
    config: ConfigFile = DEFAULT_CONFIG,
    by: By = "",
) -> None:
    """Refuse a waiting job, which ends it, or take back an approval. The journal says so, signed."""
    with said_plainly(EXIT_INVALID):
        request = approvals_of(config)[1].refuse(job, by or getpass.getuser(), reason)
    typer.echo(f"Job {request.job.digest()[:16]} ({request.job.analysis}, study {request.job.study}): refused.")


def approvals_of(config: Path) -> tuple[NodeSettings, Approvals]:
    """What waits at a node that may be running: its memory is shared, its settings are read anew."""
    from node.approvals import Approvals
    from node.config import NodeSettings
    from node.credentials import keys_of
    from node.memory import Memory

    settings = NodeSettings.from_toml(config)
    memory = Memory(settings.path(settings.trust.memory), settings.cohort, keys_of(settings).identity)
    return settings, Approvals(memory)


def describe(request: Request, dictionary: Dictionary) -> dict[str, Any]:
    """A request as plain values; `job` is the whole hash."""
    job, decision = request.job, request.decision
    return {
        "job": job.digest(),
        "state": str(request.standing),
        "asked": f"{request.at:%Y-%m-%d %H:%M} UTC",
        "submitted": f"{job.submitted:%Y-%m-%d %H:%M} UTC",
        "researcher": request.researcher,
        "study": job.study,
        "title": request.permit.title,
        "purpose": request.permit.purpose,
        "analysis": job.analysis,
        "parameters": job.params,
        "variables": _variables(request, dictionary),
        "cohorts": list(job.cohorts),
        "decided": None if decision is None else f"{decision.at:%Y-%m-%d %H:%M} UTC",
        "by": None if decision is None else decision.by,
        "reason": None if decision is None else decision.reason or None,
    }


def lines(described: dict[str, Any]) -> list[str]:
    """The same for people; what nobody set is left out."""
    shown = described | {
        "job": described["job"][:16],
        "parameters": ", ".join(f"{k}={json.dumps(v)}" for k, v in described["parameters"].items() if v is not None),
        "variables": ", ".join(described["variables"]),
        "cohorts": ", ".join(described["cohorts"]),
    }
    return [f"{name:<11} {_printable(str(value))}" for name, value in shown.items() if value not in {None, ""}]


def _variables(request: Request, dictionary: Dictionary) -> list[str]:
    """What the job reads. Under another dictionary than today's it could not run, and nobody can tell."""
    from cohortium.analysis import find
    from cohortium.mentioned import variables_of

    if request.job.dictionary != dictionary.digest:
        return []
    return variables_of(find(request.job.analysis).params.bind(request.job.params, dictionary))


def _dictionary(settings: NodeSettings) -> Dictionary:
    from cohortium.dictionary import Dictionary

    return Dictionary.from_toml(settings.path(settings.dictionary))


def _printable(text: str) -> str:
    """Without what could steer a terminal: titles and parameters are other people's words."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
