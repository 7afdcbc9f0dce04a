"""A rehearsal: the network's own dictionary, cohorts and policies, with people drawn from the twins they publish.

net = cohortium.connect(...)      # with COHORTIUM_REHEARSE=1 in the environment it is a rehearsal
net = rehearsal(net)              # or so

Each variable has the marginal that its holder published; variables are independent of one another, so a rehearsal shows
whether a script runs, what is refused and how results look, and nothing about the world.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohortium.client import Network
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import InvalidQuestion
from cohortium.messages import NetworkView
from cohortium.twin import REHEARSAL, Marginal, Twin
from node.answer import CohortNode
from node.disclosure import Policy
from simulation.in_process import InProcess

MOST_PEOPLE: Final = 20_000
HOUSEHOLD: Final = 2
"""Rows that share an identifier: so that clusters have somebody in them."""


def rehearsal(net: Network, *, most: int = MOST_PEOPLE, seed: int = 1) -> Network:
    """A network in this process with a synthetic cohort for every twin that `net` publishes, of at most `most` people.

    Raises InvalidQuestion if no cohort publishes one.
    """
    dictionary = net.service.dictionary()
    return rehearse(dictionary, net.service.twins(), name=net.view.name, most=most, seed=seed)


def rehearse(
    dictionary: Dictionary, twins: list[Twin], *, name: str = "network", most: int = MOST_PEOPLE, seed: int = 1
) -> Network:
    """The same from twins at hand. Raises InvalidQuestion."""
    known = [twin for twin in twins if twin.dictionary == dictionary.digest]
    if not known:
        raise InvalidQuestion(
            "No cohort of this network publishes a twin of the dictionary as it is now, so there is nobody to rehearse "
            "with. Cohort holders make one with `cohortium node twin`."
        )
    nodes = {
        twin.cohort: CohortNode(
            twin.cohort, people(twin, dictionary, most, seed + number), Policy.model_validate(twin.policy)
        )
        for number, twin in enumerate(sorted(known, key=lambda twin: twin.cohort))
    }
    return Network(_Rehearsal(nodes, dictionary, name))


def people(twin: Twin, dictionary: Dictionary, most: int, seed: int) -> Data:
    """A twin's people: columns in the coding of `Data`, every variable on its own."""
    rng, rows = np.random.default_rng(seed), min(twin.people, most)
    columns: dict[str, NDArray[np.generic]] = {
        name: _drawn(dictionary[name], marginal, rows, rng) for name, marginal in twin.marginals.items()
    }
    for name, variable in dictionary.variables.items():
        if variable.type == "identifier":
            columns[name] = (np.arange(rows) // HOUSEHOLD).astype(np.int32)
    return Data(dictionary, columns, rows)


def _drawn(variable: Variable, marginal: Marginal, rows: int, rng: np.random.Generator) -> NDArray[np.generic]:
    cells = _cells(marginal, rows, rng)
    missing = rng.random(rows) < (marginal.missing or 0.0)
    if not marginal.edges and variable.type == "category":
        return np.where(missing, -1, cells).astype(np.int32)
    values = _values(variable, marginal, cells, rng) if marginal.edges else cells.astype(np.float64)
    return np.where(missing, np.nan, values)


def _cells(marginal: Marginal, rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Levels or bins; a withheld cell is as rare as a cell that may be withheld."""
    told = [count for count in marginal.counts if count]
    rare = min([1.0, *(0.1 * count for count in told)])
    weights = np.array([rare if count is None else float(count) for count in marginal.counts])
    if not weights.sum():
        weights = np.ones(len(weights))
    return np.asarray(rng.choice(len(weights), rows, p=weights / weights.sum()))


def _values(
    variable: Variable, marginal: Marginal, cells: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.float64]:
    edges = np.array(marginal.edges)
    values = rng.uniform(edges[cells], edges[cells + 1])
    step = 1.0 if variable.type in {"integer", "date"} else variable.lattice_step
    if step is not None:
        values = np.round(np.floor(values / step) * step, 9)
    return np.asarray(np.clip(values, variable.minimum, variable.maximum))


class _Rehearsal(InProcess):
    """A simulated network that says of itself, and with every result, that it is one."""

    def __init__(self, nodes: Mapping[str, CohortNode], dictionary: Dictionary, name: str) -> None:
        super().__init__(nodes, dictionary)
        self._name = name

    def network(self) -> NetworkView:
        """The network that is rehearsed for."""
        return super().network().model_copy(update={"name": f"{self._name} (rehearsal)"})

    def result(self, job_id: str) -> bytes:
        """The result with a warning that nobody overlooks."""
        told = json.loads(super().result(job_id))
        told["warnings"] = [REHEARSAL, *told["warnings"]]
        return json.dumps(told).encode()
