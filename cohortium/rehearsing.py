"""`COHORTIUM_REHEARSE=1`: the same script, on synthetic people in this process instead of on the network's."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from cohortium.errors import CohortiumError

if TYPE_CHECKING:
    from cohortium.client import Network

VARIABLE = "COHORTIUM_REHEARSE"


def wanted() -> bool:
    """Whether the environment asks for a rehearsal."""
    return os.environ.get(VARIABLE, "").lower() not in {"", "0", "no", "false"}


def rehearsal(network: Network) -> Network:
    """A network of synthetic people after the twins that the cohorts of `network` publish.

    Made by whichever installed package can (entry point group `cohortium.rehearsal`), so that a client needs none.
    Raises CohortiumError if there is none, InvalidQuestion if no cohort publishes a twin.
    """
    for entry in entry_points(group="cohortium.rehearsal"):
        found: Network = entry.load()(network)
        return found
    raise CohortiumError(f"{VARIABLE} is set, but nothing that makes synthetic people is installed.")
