"""Writing a holder's files, block by block, so that memory does not grow with the number of people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from simulation.cohorts.coding import NETWORK, plain_text, settings
from simulation.cohorts.dictionaries import FOLDER, PEOPLE
from simulation.cohorts.holder import Coding, Holder
from simulation.cohorts.tables import rows

Format = Literal["parquet", "csv"]


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...


def write(
    holder: Holder,
    people: int,
    seed: int,
    folder: Path,
    form: Format = "parquet",
    *,
    coding: Coding = NETWORK,
    with_visits: bool = True,
) -> list[Path]:
    """Write `people`, `visits` and `data.toml` (how a node is to read `people`) into the folder.

    Files that are there already are replaced. Returns the paths. Raises InvalidQuestion, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{form}" for name in ("people", *(["visits"] if with_visits else []))]
    with ExitStack() as stack:
        writers: list[_Writer] = []
        for part in rows(holder, people, seed, coding, with_visits):
            kept = [batch for batch in (part.people, part.visits) if batch is not None]
            kept = [plain_text(batch) for batch in kept] if form == "csv" else kept
            if not writers:
                writers = [stack.enter_context(_opened(p, b.schema)) for p, b in zip(paths, kept, strict=True)]
            for writer, batch in zip(writers, kept, strict=True):
                writer.write_batch(batch)
    note = folder / "data.toml"
    note.write_text(_data_settings(holder, coding, paths[0].name), encoding="utf-8")
    return [*paths, note]


def write_dictionaries(folder: Path) -> list[Path]:
    """Copy the dictionaries that describe the files into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"people.toml": "dictionary.toml", "visits.toml": "visits-dictionary.toml"}
    return [Path(shutil.copyfile(FOLDER / source, folder / name)) for source, name in names.items()]


@contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[_Writer]:
    if path.suffix == ".csv":
        with pa.csv.CSVWriter(str(path), schema) as writer:
            yield writer
    else:
        with pq.ParquetWriter(str(path), schema, compression="zstd", compression_level=1) as writer:
            yield writer


def _data_settings(holder: Holder, coding: Coding, source: str) -> str:
    """The `[data]` part of the settings of a node at this holder."""
    known = settings(PEOPLE, holder, coding)
    columns = known.pop("columns")
    # Strings and lists of them are written in TOML as in JSON.
    lines = ["[data]", f'source = "{source}"', *(f"{name} = {json.dumps(value)}" for name, value in known.items())]
    if isinstance(columns, dict) and columns:
        lines += ["", "[data.columns]", *(f"{name} = {json.dumps(column)}" for name, column in columns.items())]
    return "\n".join([*lines, ""])
