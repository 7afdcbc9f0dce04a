"""The cohort's files: CSV and Parquet, read through a DuckDB that can reach nothing else.

Before the first file is opened DuckDB is told the exact files it may read, loses every other way out (other files,
network, extensions, secrets), and its configuration is locked. The SQL that runs is all in this module: files are
bound as parameters and columns are chosen by position, so no file's and no column's name is part of a query.
"""

from __future__ import annotations

import csv
import glob
import gzip
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa

from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, UnknownName, did_you_mean
from node.coding import MISSING
from node.data import CHUNK_ROWS, Part, ignored, load

_DELIMITERS = ",;\t|"
_CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET = (".parquet", ".pq")


class InvalidSource(CohortiumError):
    """Files that are not there or cannot be read; the message names the file and, where known, the line."""


@dataclass(frozen=True)
class Source:
    """Which files hold the cohort's rows, and how they are written."""

    pattern: str  # a file, or a glob over files
    columns: Mapping[str, str]  # variable -> column of the file, where the names differ
    missing: Collection[str] = MISSING
    decimal: str = "."

    def paths(self) -> list[Path]:
        """The files, sorted, so that rows come in the same order at every start. Raises InvalidSource."""
        paths = sorted({Path(p).absolute() for p in glob.glob(self.pattern, recursive=True) if Path(p).is_file()})
        if not paths:
            raise InvalidSource(f"`source`: there is no file {self.pattern}")
        for path in paths:
            if not path.name.lower().endswith((*_CSV, *_PARQUET)):
                raise InvalidSource(f"`source`: {path} is neither {', '.join(_CSV)} nor {', '.join(_PARQUET)}")
            if any(c in str(path) for c in "*?["):
                raise InvalidSource(f"`source`: rename {path}; *, ? and [ in a path would be read as a pattern")
        return paths

    def commas(self, path: Path, dictionary: Dictionary) -> list[str]:
        """The variables whose decimal commas are to be read as points, in this file."""
        if self.decimal == "." or not _is_csv(path):
            return []
        return [name for name, variable in dictionary.variables.items() if variable.type == "number"]


@dataclass(frozen=True)
class Header:
    """The columns of a file in their order, twice where they are there twice; `delimiter` is that of a CSV file."""

    columns: Sequence[str]
    delimiter: str | None = None


@dataclass(frozen=True)
class Loaded:
    """A cohort's Data, and the columns of its files that nobody asked for."""

    data: Data
    ignored: tuple[str, ...]
    files: int


def read(source: Source, dictionary: Dictionary, absent: Collection[str] = ()) -> Loaded:
    """Read every variable of the dictionary, but those that are `absent`.

    Raises InvalidSource, UnknownName, or InvalidData with every violation of the dictionary.
    """
    for name in source.columns:
        if name not in dictionary:
            raise UnknownName.of("variable", name, dictionary.variables)
    paths = source.paths()
    with locked(paths) as connection:
        wanted = {source.columns.get(name, name): name for name in dictionary.variables if name not in absent}
        headers = {path: _header(connection, path, wanted) for path in paths}
        there = {column for header in headers.values() for column in header.columns}
        _check_mapping(source, there)
        parts = (
            _part(connection, path, header, wanted, source.commas(path, dictionary)) for path, header in headers.items()
        )
        data = load(parts, dictionary, absent=absent, missing=source.missing)
    others = there - set(source.columns.values())
    return Loaded(data, tuple(ignored(others, dictionary)), len(paths))


def spelled(source: Source, dictionary: Dictionary, name: str) -> Iterator[str]:
    """The values of a variable as the files write them, in the order of the rows of `read`. Raises InvalidSource."""
    paths, wanted = source.paths(), {source.columns.get(name, name): name}
    with locked(paths) as connection:
        for path in paths:
            part = _part(connection, path, _header(connection, path, wanted), wanted, source.commas(path, dictionary))
            for batch in part.batches:
                yield from ("" if value is None else str(value) for value in batch.column(0).to_pylist())


def locked(paths: Collection[Path]) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that can read `paths` and nothing else, until it is closed."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "enable_external_file_cache": "false",
            "python_enable_replacements": "false",
            "temp_directory": "",  # rows are never spilled to a disk
        },
    )
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    connection.execute(f"SET allowed_paths = [{files}]")  # SET takes no parameters
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _header(connection: duckdb.DuckDBPyConnection, path: Path, wanted: Collection[str]) -> Header:
    if _is_csv(path):
        return _csv_header(path, wanted)
    try:
        rows = connection.execute("SELECT name, num_children FROM parquet_schema(?)", [str(path)]).fetchall()
    except duckdb.Error as error:
        raise _unreadable(path, error) from None
    return Header(list(_top_level(rows)))


def _top_level(rows: list[tuple[str, int | None]]) -> Iterator[str]:
    """The children of the root of a Parquet schema, which lists its tree depth first."""
    tree = iter(rows)
    for _ in range(next(tree)[1] or 0):
        name, pending = next(tree)
        yield name
        pending = pending or 0
        while pending:
            pending += (next(tree)[1] or 0) - 1


def _csv_header(path: Path, wanted: Collection[str]) -> Header:
    """Columns and delimiter of a CSV file, by its first line alone: what the rows look like changes nothing.

    The delimiter is the one that yields most of the columns that are wanted, or else most columns.
    """
    try:
        candidates = [Header(_first_row(path, d), d) for d in _DELIMITERS]
    except UnicodeDecodeError:
        raise InvalidSource(f"{path} is not UTF-8; export it again with that encoding") from None
    except (OSError, EOFError, csv.Error) as error:
        raise _unreadable(path, error) from None
    header = max(candidates, key=lambda h: (len(set(h.columns) & set(wanted)), len(h.columns)))
    if not any(header.columns):
        raise InvalidSource(f"{path} has no header line")
    return header


def _first_row(path: Path, delimiter: str) -> list[str]:
    with _text(path) as file:
        return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]


def _text(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _part(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    header: Header,
    wanted: Mapping[str, str],
    commas: Collection[str],
) -> Part:
    """The wanted columns of a file; in those of `commas` a decimal comma becomes a point."""
    chosen = [(position, wanted[column]) for position, column in enumerate(header.columns, 1) if column in wanted]
    if not chosen:
        return Part([], [])
    select = ", ".join(f"replace(#{i}, ',', '.')" if name in commas else f"#{i}" for i, name in chosen)
    query = f"SELECT {select} FROM {_table(header)}"  # noqa: S608 - positions and our own words only
    return Part([name for _, name in chosen], _batches(connection, path, query))


def _table(header: Header) -> str:
    """The function that reads such a file. Text stays text, so that 007 stays 007: the dictionary decides on types."""
    if header.delimiter is None:
        return "read_parquet(?, hive_partitioning = false)"
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(header.columns)))
    return (
        f"read_csv(?, auto_detect = false, header = true, delim = '{header.delimiter}', quote = '\"', escape = '\"', "
        f"hive_partitioning = false, columns = {{{columns}}})"
    )


def _batches(connection: duckdb.DuckDBPyConnection, path: Path, query: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from connection.sql(query, params=[str(path)]).to_arrow_reader(CHUNK_ROWS)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _check_mapping(source: Source, there: Collection[str]) -> None:
    """Every column of `[data.columns]` has to be in a file: a mistyped one would look like data that are missing."""
    for name, column in source.columns.items():
        if column not in there:
            hint = did_you_mean(column, there)
            raise InvalidSource(f"`columns`: `{name}` is mapped to `{column}`, which no file has.{hint}")


def _is_csv(path: Path) -> bool:
    return path.name.lower().endswith(_CSV)


def _unreadable(path: Path, error: Exception) -> InvalidSource:
    # DuckDB quotes the line it stumbled over, so none of its words are passed on but the line's number.
    line = re.search(r"Line: (\d+)", str(error))
    where = f", line {line[1]}: another number of columns than the header, or quotes that do not match" if line else ""
    what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return InvalidSource(f"{path} cannot be read ({what}){where}")
