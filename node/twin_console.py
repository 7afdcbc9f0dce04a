"""`cohortium node twin`: make the synthetic twin that this node may publish for rehearsals."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.loading import load
from node.plainly import DEFAULT_CONFIG, EXIT_INVALID, ConfigFile, said_plainly, stop

if TYPE_CHECKING:
    from cohortium.twin import Marginal, Twin
    from node.config import NodeSettings


def twin(
    config: ConfigFile = DEFAULT_CONFIG,
    out: Annotated[Path, typer.Option(help="File to write; it is published once node.toml names it.")] = Path(
        "twin.json"
    ),
) -> None:
    """Make a synthetic twin: rounded marginals that pass your policy, one variable at a time, and no relations.

    Nothing leaves by this command. Look at the file; to publish it, say `twin = "twin.json"` in node.toml and restart
    the node. Then researchers can rehearse their scripts on synthetic people drawn from it.
    """
    from node.answer import CohortNode
    from node.twin import twin_of

    with said_plainly(EXIT_INVALID):
        settings, policy, loaded = load(config)
        made = twin_of(CohortNode(settings.cohort, loaded.data, policy), datetime.now(UTC).date())
    file = out if out.is_absolute() else settings.path(out)
    file.write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name in loaded.data.dictionary.variables:
        typer.echo(f"{name}: {_told(made.marginals.get(name))}")
    typer.echo(f"\nAbout {made.people} people. Wrote {file}. Nothing was published: see `twin` in node.toml.")


def published(settings: NodeSettings, dictionary: str) -> Twin | None:
    """The twin that node.toml names, if it does; stops the node where it is another node's, or outdated."""
    from pydantic import ValidationError

    from cohortium.twin import Twin

    if settings.twin is None:
        return None
    path = settings.path(settings.twin)
    try:
        found = Twin.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        stop(f"{path} cannot be read as a twin. Make it anew: `cohortium node twin`.", EXIT_INVALID)
    if found.cohort != settings.cohort or found.dictionary != dictionary:
        stop(f"{path} is not of this cohort and dictionary. Make it anew: `cohortium node twin`.", EXIT_INVALID)
    return found


def _told(marginal: Marginal | None) -> str:
    if marginal is None:
        return "left out (no declared range, not collected, or refused by your policy)"
    hidden = sum(count is None for count in marginal.counts)
    missing = "share of missing values withheld" if marginal.missing is None else f"{marginal.missing:.0%} missing"
    kind = "bins" if marginal.edges else "levels"
    return f"{len(marginal.counts)} {kind}{f', {hidden} withheld' if hidden else ''}; {missing}"
