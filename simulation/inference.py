"""A dictionary inferred over all cohorts' frames together: allowed here, because here every frame is in one hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from cohortium.dictionary import Category, Dictionary, InvalidDictionary, Variable

# More distinct texts than this name people or places rather than categories.
MAX_LEVELS = 200


def infer_dictionary(tables: Sequence[pa.Table]) -> Dictionary:
    """The union of all columns: texts become categories (levels sorted, the first is the reference), numbers get
    the range that was seen, whole numbers the type `integer`. Raises InvalidDictionary naming the column.
    """
    names = list(dict.fromkeys(chain.from_iterable(t.column_names for t in tables)))
    variables = {name: _infer(name, [t.column(name) for t in tables if name in t.column_names]) for name in names}
    return Dictionary(name="inferred", version="1", variables=variables)


def _infer(name: str, columns: Sequence[pa.ChunkedArray]) -> Variable:
    columns = [_plain(c) for c in columns if not pa.types.is_null(c.type)]
    if not columns:
        return Variable(type="number")
    if all(pa.types.is_boolean(c.type) for c in columns):
        return Variable(type="boolean")
    if all(pa.types.is_temporal(c.type) for c in columns):
        return Variable(type="date")
    if all(_is_number(c) for c in columns):
        return _number(columns)
    if all(pa.types.is_large_string(c.type) for c in columns):
        levels = sorted(set(chain.from_iterable(pc.unique(c).drop_null().to_pylist() for c in columns)))
        return _category(levels)
    raise InvalidDictionary(f"`{name}` is a text in one cohort and a number in another; give a `dictionary=`.")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pa.types.is_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.large_string()) if text else column


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(
        pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
    )


def _number(columns: Iterable[pa.ChunkedArray]) -> Variable:
    seen = [c.cast(pa.float64()) for c in columns]
    finite = [c.filter(pc.fill_null(pc.is_finite(c), fill_value=False)) for c in seen]
    finite = [c for c in finite if len(c)]
    if not finite:
        return Variable(type="number")
    whole = all(pc.all(pc.equal(c, pc.round(c))).as_py() for c in finite)
    smallest, largest = min(pc.min(c).as_py() for c in finite), max(pc.max(c).as_py() for c in finite)
    return Variable(type="integer" if whole else "number", minimum=smallest, maximum=largest)


def _category(levels: list[str]) -> Variable:
    levels = [level for level in levels if level]
    if len(levels) > MAX_LEVELS:
        return Variable(type="identifier")
    if not levels:
        return Variable(type="number")
    return Variable(type="category", categories=tuple(Category(value=level) for level in levels))
