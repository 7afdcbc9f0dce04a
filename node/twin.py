"""Making the twin that a cohort holder may publish, from what its own policy lets out and nothing else."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np

from algorithms.histogram import HistogramParams, cells, histogram
from cohortium.errors import CohortiumError
from cohortium.quantities import Array
from cohortium.secure_sum import WITHHELD
from cohortium.twin import Marginal, Twin
from node.answer import CohortNode

BINS: Final = 20
PEOPLE_TO, COUNTS_TO = 10, 5
"""Rounding, so that not even a checked count is told exactly."""


def twin_of(node: CohortNode, made: date) -> Twin:
    """The twin of a node's data. A variable whose marginal is refused is left out."""
    marginals = {}
    for name in node.dictionary.variables:
        if name in node.data.columns and (found := _marginal(node, name)) is not None:
            marginals[name] = found
    return Twin(
        cohort=node.cohort,
        dictionary=node.dictionary.digest,
        made=made,
        people=_rounded(len(node.data), PEOPLE_TO),
        policy=node.policy.model_dump(mode="json"),
        marginals=marginals,
    )


def _marginal(node: CohortNode, name: str) -> Marginal | None:
    try:
        params = HistogramParams.bind({"variable": name, "bins": BINS}, node.dictionary)
        released = node.compute(histogram.name, cells.__name__, params, {}, (name,))
    except CohortiumError:
        return None
    return Marginal(
        counts=_counts(released),
        edges=() if params.levels else tuple(map(float, params.edges)),
        missing=_share(released, len(node.data)),
    )


def _counts(released: dict[str, Array]) -> tuple[int | None, ...]:
    cells, withheld = np.ravel(released["cells"]), np.ravel(released["cells" + WITHHELD])
    return tuple(None if hidden else _rounded(n, COUNTS_TO) for n, hidden in zip(cells, withheld, strict=True))


def _share(released: dict[str, Array], rows: int) -> float | None:
    if np.any(released["missing" + WITHHELD]) or not rows:
        return None
    return round(float(np.ravel(released["missing"])[0]) / rows, 2)


def _rounded(count: float, to: int) -> int:
    return to * round(float(count) / to)
