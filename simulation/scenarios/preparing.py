"""From a scenario to the files of its holders, with everything that is wrong with them, and to nodes that read them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.data import Data
from cohortium.errors import CohortiumError
from node.config import DataSettings
from node.sources import Source, read
from simulation import cohorts
from simulation.cohorts.coding import NETWORK, settings
from simulation.cohorts.holder import Coding, Holder
from simulation.scenarios.description import Problems, Scenario


@dataclass(frozen=True)
class Prepared:
    """Holders whose data can be read, and why others' cannot."""

    sources: Mapping[str, DataSettings]
    data: Mapping[str, Data]
    left_out: Mapping[str, str]


def prepare(scenario: Scenario, folder: Path) -> Prepared:
    """Write the file of every holder, and read it back as its node would. Raises CohortiumError if none can be."""
    sources, data, left_out = {}, {}, {}
    for name, people in scenario.people.sizes.items():
        source = _write(
            cohorts.find(name), people, scenario.people.seed, scenario.problems.get(name, Problems()), folder
        )
        try:
            data[name] = _read(source)
            sources[name] = source
        except CohortiumError as error:
            left_out[name] = error.message
    if not data:
        raise CohortiumError("No holder's data can be read:\n" + "\n".join(left_out.values()))
    return Prepared(sources, data, left_out)


def _write(holder: Holder, people: int, seed: int, problems: Problems, folder: Path) -> DataSettings:
    coding = _coding(holder, problems)
    absent = tuple(dict.fromkeys((*holder.absent, *problems.absent)))
    poorer = replace(holder, absent=absent)
    table = cohorts.people(poorer, people, seed, coding)
    for variable, share in problems.missing.items():
        if variable not in absent:
            table = _with_missing(table, coding.column(variable), share, (seed, holder.name, variable))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{holder.name}.parquet"
    pq.write_table(table, path)
    told: dict[str, Any] = settings(cohorts.PEOPLE, poorer, coding)
    return DataSettings(source=str(path.resolve()), **told)


def _coding(holder: Holder, problems: Problems) -> Coding:
    match problems.coding:
        case "network":
            return NETWORK
        case "columns":
            return replace(holder.coding, categories={})
        case "own":
            return holder.coding


def _with_missing(table: pa.Table, column: str, share: float, key: tuple[int, str, str]) -> pa.Table:
    """The table with values of a column removed, the same ones whenever the key is the same."""
    seed, *words = key
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=[zlib.crc32(word.encode()) for word in words]))
    gone = rng.random(table.num_rows) < share
    place = table.column_names.index(column)
    rows = pa.array(np.arange(table.num_rows), mask=gone)  # no row to take from leaves nothing there
    return table.set_column(place, column, table.column(place).take(rows))


def _read(source: DataSettings) -> Data:
    return read(Source(source.source, source.columns, source.missing), cohorts.PEOPLE, source.absent).data
