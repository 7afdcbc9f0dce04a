"""`cohortium node draw` and `select`: choosing people of a trial within cohorts, at the cohort and nowhere else."""

# ruff: noqa: PLC0415 - a command loads what it needs when it runs

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.loading import load
from node.plainly import DEFAULT_CONFIG, EXIT_CONTRADICTION, EXIT_INVALID, ConfigFile, said_plainly

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from algorithms.numerics.trial_params import TrialParams
    from cohortium.data import Data


def draw(
    holder: Annotated[str, typer.Argument(help="Who holds this part of the key, as the trial names them.")],
) -> None:
    """Draw a part of the key of a selection, with the commitment to publish before eligibility is fixed.

    Keep the key secret until then, and publish it afterwards: without it nobody can be selected.
    """
    from algorithms.numerics.random_selection import commitment, new_key

    key = new_key()
    typer.echo(f"key         {key}\ncommitment  {commitment(holder, key)}")


def select(
    trial: Annotated[
        Path, typer.Argument(help="The trial (TOML): where, strata, share, identifier, commitments, keys.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Where to write the identifiers of those selected (CSV); must not exist.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Select people at random among the eligible ones of this cohort, by the revealed keys of a trial.

    The list is for this cohort alone: it is written to a file that only you may read, and no job can ask for it.
    """
    from node.sources import Source, spelled

    with said_plainly(EXIT_CONTRADICTION):
        settings, _, loaded = load(config)
    with said_plainly(EXIT_INVALID):
        chosen, eligible, identifier = chosen_people(loaded.data, trial)
        given = settings.data
        source = Source(settings.source, given.columns, given.missing, given.decimal)
        names = [
            name
            for name, is_in in zip(spelled(source, loaded.data.dictionary, identifier), chosen, strict=True)
            if is_in
        ]
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="") as file:
            csv.writer(file).writerows([[identifier], *([name] for name in names)])
    typer.echo(f"{len(names)} of {eligible} eligible people are selected: {out}")


def chosen_people(data: Data, trial: Path) -> tuple[NDArray[np.bool_], int, str]:
    """Who is selected, shape (rows,), how many are eligible, and the identifier. Raises InvalidQuestion."""
    from algorithms.numerics.random_selection import select as selected_by
    from algorithms.numerics.trial_eligibility import identities
    from cohortium.errors import InvalidQuestion

    params = _trial(trial, data)
    if params.key is None or params.identifier is None:
        raise InvalidQuestion(f"{trial} must name the `identifier`, the `commitments` and the revealed `keys`.")
    rows = data.complete([*params.strata, params.identifier])
    if params.where is not None:
        rows = rows & params.where.keeps(data)
    people = data.subset(rows)
    known = identities(people, params.identifier)
    chosen = rows.copy()
    chosen[rows] = selected_by(known, params.groups.codes(people), params.share, params.key)
    return chosen, len(people), params.identifier


def _trial(path: Path, data: Data) -> TrialParams:
    import tomllib

    from algorithms.numerics.trial_params import TrialParams
    from cohortium.errors import InvalidQuestion

    try:
        asked = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidQuestion(f"{path} is not TOML: {error}") from None
    return TrialParams.bind(asked, data.dictionary)
