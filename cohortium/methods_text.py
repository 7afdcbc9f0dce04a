"""What a paper says of an analysis: a paragraph for its methods section, with the references it rests on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cohortium.report import plain

if TYPE_CHECKING:
    from cohortium.result import Result


def paragraph(result: Result) -> str:
    """The analysis's own words, then what is true of every analysis, then the references."""
    stated = result.exactness
    told = [result.in_words(), *_chosen(result), *_rows(result), _network(result)]
    told += [stated.sentence()] if stated else []
    sources = references(result.analysis)
    return plain(" ".join(part for part in told if part)) + (f"\n\nReferences: {plain(sources)}" if sources else "")


def references(analysis: str) -> str:
    """The sources that the docstring of the analysis names."""
    from cohortium.analysis import registry  # noqa: PLC0415 - which imports what a result is

    known = registry().get(analysis)
    found = re.search(r"Source:\s*(.*?)(?:\n\s*\n|\Z)", known.doc, re.DOTALL) if known else None
    return " ".join(found.group(1).split()) if found else ""


def _chosen(result: Result) -> list[str]:
    said = [f"Only rows with {result.where} took part."] if result.where else []
    also = ", ".join(result.complete)
    return [*said, *([f"Rows had to have a value of {also} as well, so that models share their rows."] if also else [])]


def _rows(result: Result) -> list[str]:
    if not result.complete_cases:
        return []
    left = "a number that is withheld" if result.n_excluded is None else str(result.n_excluded)
    return [
        f"Rows without a value of a variable in the analysis were left out (complete cases): {result.n} were used, "
        f"{left} left out."
    ]


def _network(result: Result) -> str:
    stated, many = result.exactness, len(result.cohorts)
    version = f" {stated.version}" if stated and stated.version else ""
    over = f" over {many} cohort{'' if many == 1 else 's'} ({', '.join(result.cohorts)})" if many else ""
    return (
        f"The analysis was federated{over}: Cohortium{version} asked each cohort for statistics of its own records in "
        f"{result.rounds} round{'' if result.rounds == 1 else 's'} and combined these; no record was exchanged."
    )
