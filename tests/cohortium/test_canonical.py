"""Canonical bytes: two different things never have the same."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.canonical import array_parts, canonical_json, digest, framed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.binary(max_size=12), max_size=4), st.lists(st.binary(max_size=12), max_size=4))
def test_different_parts_never_run_together_to_the_same_bytes(a, b):
    assert (framed(*a) == framed(*b)) == (a == b)


def test_where_one_part_ends_and_the_next_begins_matters():
    assert digest(b"ab", b"c") != digest(b"a", b"bc") != digest(b"abc")


@given(json_values)
def test_json_is_written_in_one_way_that_reads_back(value):
    written = canonical_json(value)
    assert canonical_json(json.loads(written)) == written
    assert written.isascii()


def test_order_of_keys_is_not_content_but_type_and_sign_are():
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1}) == b'{"a":2,"b":1}'
    assert len({canonical_json(v) for v in (1, 1.0, True, "1", None, -1, [1], [[1]], 0.0, -0.0, 0)}) == 11


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": float("nan")}, {1: 2}, {"a": b"x"}, [{1, 2}]])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(value)


def test_arrays_count_with_name_shape_and_every_bit():
    base = {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array(0.0)}
    others = [
        base | {"a": base["a"].reshape(2, 2)},
        base | {"b": np.array(-0.0)},
        base | {"b": np.array([0.0])},
        base | {"a": np.nextafter(base["a"], 9)},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    assert len({digest(*array_parts(a)) for a in [base, *others]}) == 7
    assert array_parts(base) == array_parts(dict(reversed(base.items())))
    transposed = np.arange(6.0).reshape(2, 3).T
    assert array_parts({"x": transposed}) == array_parts({"x": transposed.copy()})
