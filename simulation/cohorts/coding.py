"""From values in memory to the rows of a file: as the network's dictionary has them, or as the holder writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.dictionary import Dictionary, Variable
from simulation.cohorts.columns import Columns, Flags
from simulation.cohorts.followup import NOT_AT_RISK
from simulation.cohorts.holder import Coding, Holder
from simulation.cohorts.incomplete import Masks

NETWORK = Coding()


def to_arrow(columns: Columns, masks: Masks, dictionary: Dictionary, holder: Holder, coding: Coding) -> pa.RecordBatch:
    """The rows that the holder has on file; variables that it did not collect are left out."""
    names = [name for name in dictionary.variables if name not in holder.absent]
    arrays = [_column(columns[name], masks.get(name), name, dictionary[name], coding) for name in names]
    return pa.record_batch(arrays, names=[coding.column(name) for name in names])


def local_dictionary(dictionary: Dictionary, coding: Coding) -> Dictionary:
    """The dictionary with the holder's own codes: the same variables and levels, read from the holder's own files."""
    variables = {}
    for name, variable in dictionary.variables.items():
        codes = zip(variable.categories, coding.categories.get(name, variable.levels), strict=True)
        own = tuple(category.model_copy(update={"code": code}) for category, code in codes)
        variables[name] = variable.model_copy(update={"categories": own})
    return dictionary.model_copy(update={"variables": variables})


def settings(dictionary: Dictionary, holder: Holder, coding: Coding) -> dict[str, object]:
    """What the holder's node has to know to read its files: `absent`, `missing` and `columns` of its `[data]`."""
    own = [str(code) for code in (coding.number, coding.text) if code is not None]
    there = [name for name in dictionary.variables if name not in holder.absent]
    return {
        "absent": [name for name in dictionary.variables if name in holder.absent],
        "missing": ["NA", "NaN", *dict.fromkeys(own)],
        "columns": {name: coding.column(name) for name in there if coding.column(name) != name},
    }


def _column(values: NDArray[Any], mask: Flags | None, name: str, variable: Variable, coding: Coding) -> pa.Array:
    if variable.type == "category":
        return _category(values, mask, coding.categories.get(name, variable.levels), coding.text)
    if variable.type == "identifier":
        return pa.array(values, pa.int64())
    if variable.type == "date":
        return pa.array(values.astype(np.int32), mask=mask).cast(pa.date32())
    if variable.type == "boolean" and coding.number is None:
        return pa.array(values.astype(np.bool_), mask=mask)
    if variable.type == "number":
        return _number(values, mask, pa.float64(), coding)
    if (not_at_risk := values == NOT_AT_RISK).any():
        mask = not_at_risk if mask is None else mask | not_at_risk
    return _number(values.astype(np.int32), mask, pa.int32(), coding)


def _number(values: NDArray[Any], mask: Flags | None, kind: pa.DataType, coding: Coding) -> pa.Array:
    if mask is not None and coding.number is not None:
        return pa.array(np.where(mask, coding.number, values), kind)
    return pa.array(values, kind, mask=mask)


def _category(codes: NDArray[Any], mask: Flags | None, levels: tuple[str, ...], text: str | None) -> pa.Array:
    missing = codes < 0 if mask is None else mask | (codes < 0)
    if text is None:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8), mask=missing), pa.array(levels))
    marked = np.where(missing, len(levels), codes).astype(np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(marked), pa.array([*levels, text]))


def plain_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with categories as text, which is how CSV has them."""
    return pa.record_batch(list(_decoded(batch)), names=batch.schema.names)


def _decoded(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    for column in batch.columns:
        yield column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
