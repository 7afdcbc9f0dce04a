"""A cohort's rows, coded by the dictionary, or every contradiction between the two, listed at once.

Files (`node/sources.py`) and the frames of a simulation come through the same `load`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CohortiumError
from node.coding import CODERS, MISSING, Coder, IdentifierCoder

CHUNK_ROWS = 65536


@dataclass(frozen=True)
class Violation:
    """A rule of the dictionary that the data break: which variable, which rule, how many rows; never a value."""

    variable: str
    rule: str
    rows: int | None = None  # None where the rule is about the column as a whole

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.variable}: {self.rule}"
        return f"{self.variable}: {self.rows} row{'' if self.rows == 1 else 's'} {self.rule}"


class InvalidData(CohortiumError):
    """Data that contradict the dictionary; `violations` has them all, and the message a line for each."""

    violations: tuple[Violation, ...] = ()

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> InvalidData:
        """The error for these violations."""
        found = tuple(violations)
        error = cls("\n".join(["The data contradict the dictionary:", *(f"  {v}" for v in found)]))
        error.violations = found
        return error


@dataclass(frozen=True)
class Part:
    """Some of a cohort's rows, such as one file: the variable that each column holds, and the columns in batches."""

    names: Sequence[str]
    batches: Iterable[pa.RecordBatch]


def encode(column: pa.Array | pa.ChunkedArray, variable: Variable) -> tuple[NDArray[np.generic], list[Violation]]:
    """One column coded by the dictionary, shape (rows,), and the rules it breaks.

    Rows that break a rule are coded as missing. The violations bear no variable's name; `load` adds it.
    """
    coder = CODERS[variable.type](variable)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_ROWS):
            coder.add(chunk.slice(start, CHUNK_ROWS))
    return coder.column(), _violations("", coder)


def load(
    source: pa.Table | Iterable[Part],
    dictionary: Dictionary,
    *,
    absent: Collection[str] = (),
    missing: Collection[str] = MISSING,
) -> Data:
    """The cohort's Data. Columns that the dictionary does not know are left alone.

    `absent` are variables that this cohort did not collect, `missing` its own spellings of an empty cell. Raises
    InvalidData with every violation, and UnknownName for an `absent` that the dictionary does not know.
    """
    for name in absent:
        dictionary[name]
    coders = {n: CODERS[v.type](v, missing) for n, v in dictionary.variables.items() if n not in absent}
    parts = [Part(source.column_names, source.to_batches(CHUNK_ROWS))] if isinstance(source, pa.Table) else source
    lacking: Counter[str] = Counter()
    rows = count = 0
    for count, part in enumerate(parts, start=1):  # noqa: B007 - the count is needed below
        lacking.update(name for name in coders if part.names.count(name) != 1)
        rows += _code(part, coders)
    found = [Violation(name, _no_column(lacking[name], count)) for name in coders if lacking[name]]
    found += [violation for name, coder in coders.items() for violation in _violations(name, coder)]
    if found:
        raise InvalidData.of(found)
    keys = [(name, coder.keys) for name, coder in coders.items() if isinstance(coder, IdentifierCoder)]
    columns = {name: coders.pop(name).column() for name in list(coders)}
    identity = _telling_apart(keys, columns)
    return Data(dictionary, columns, rows, keys=dict(keys).get(identity or ""), identity=identity)


def ignored(names: Iterable[str], dictionary: Dictionary) -> list[str]:
    """The columns that the dictionary does not know; they are never read."""
    return sorted(name for name in names if name not in dictionary)


def _telling_apart(keys: list[tuple[str, NDArray[np.int64]]], columns: Mapping[str, NDArray[np.generic]]) -> str | None:
    """The identifier with the most values: a person's, where there is one of a family or clinic as well."""
    different = {name: int(columns[name].max(initial=-1)) for name, _ in keys}
    most = max(different, key=lambda name: different[name], default=None)
    return most if most is not None and different[most] >= 0 else None


def _code(part: Part, coders: dict[str, Coder]) -> int:
    rows = 0
    for batch in part.batches:
        rows += batch.num_rows
        for name, column in zip(part.names, batch.columns, strict=True):
            if name in coders:
                coders[name].add(column)
    return rows


def _violations(name: str, coder: Coder) -> list[Violation]:
    return [Violation(name, rule, rows) for rule, rows in coder.violations.items()]


def _no_column(lacking: int, files: int) -> str:
    where = "the data" if lacking == files else f"{lacking} of {files} files"
    return f"no such column, or two of them, in {where}; list it under `absent` if this cohort did not collect it"
