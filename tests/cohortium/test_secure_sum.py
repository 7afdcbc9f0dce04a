"""Adding up: order-free, withheld cells stay withheld, and a strange answer is named."""

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Annotated

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cohortium.errors import InvalidQuestion, NodeFailed
from cohortium.keys import public_text
from cohortium.masks import Asked, agree
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table
from cohortium.rules import VOTING
from cohortium.secure_sum import Layout, Vector, add_masked, add_up, decode, encode, flatten, mask, unmasked


class Record(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]
    cells: Table


def record(n=10.0, total=(1.0,), cells=(20.0, 30.0)):
    return encode(Record(n=n, total=np.array(total), cells=np.array(cells)))


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=5))
def test_the_total_depends_neither_on_order_nor_on_names(values):
    totals = {
        add_up(Record, {f"c{i}": record(total=(v,)) for i, v in enumerate(order)}).total[0].hex()
        for order in itertools.permutations(values)
    }
    assert len(totals) == 1


def test_a_withheld_cell_makes_its_total_unknown_and_no_other():
    total = add_up(Record, {"a": record(cells=(np.nan, 30)), "b": record(cells=(20, 30))})
    np.testing.assert_array_equal(total.cells, [np.nan, 60])
    assert record(cells=(np.nan, 30))["cells"][0] == 0, "the withheld count itself must not travel"


def test_encode_and_decode_are_inverse():
    arrays = record(cells=(np.nan, 30))
    np.testing.assert_array_equal(decode(Record, arrays).cells, [np.nan, 30])


def test_only_tables_can_withhold():
    with pytest.raises(NodeFailed, match="`total` is not finite"):
        record(total=(np.nan,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"total": np.ones(2)}, "another layout"),
        ({"total": np.array([np.inf])}, "`total` is not finite"),
        ({"n": np.array(9.5)}, "fractions"),
        ({"n": np.array(-1.0)}, "below zero"),
        ({"cells": np.array([0.5, 1])}, "fractions"),
    ],
)
def test_a_strange_answer_is_named(change, words):
    with pytest.raises(NodeFailed, match=words) as caught:
        add_up(Record, {"a": record(), "b": record() | change})
    assert caught.value.cohort == "b"


# Vector: the same record, the same total, and nobody's share in sight.


class Terms(Sums):
    n: Count
    groups: Counts
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    cells: Table
    failed: Flag


NAMES = ("east", "north", "south", "west")
PRIVATE = {name: X25519PrivateKey.generate() for name in NAMES}
PUBLIC = {name: public_text(key.public_key()) for name, key in PRIVATE.items()}
ASKED = Asked(
    network="net",
    job="job",
    round=1,
    analysis="a",
    version="1",
    statistic="terms",
    params={},
    broadcast={},
    dictionary="d",
    roster="r",
    cohorts=NAMES,
)


def terms(seed, **changed):
    draw = np.random.default_rng(seed)
    X = draw.normal(size=(50, 3)) * [1, 1e3, 1e-3]
    cells = np.where(draw.uniform(size=(2, 3)) < 0.3, np.nan, draw.integers(10, 99, (2, 3)))
    values = {
        "n": 50,
        "groups": draw.integers(0, 99, 4),
        "score": X.sum(axis=0),
        "information": X.T @ X,
        "cells": cells,
        "failed": float(seed == 1),
    }
    return Terms(**values | changed)


def masked(records, asked=ASKED, **changed):
    answers = {
        name: mask(encode(r), asked, agree(name, PRIVATE[name], PUBLIC))
        for name, r in zip(NAMES, records, strict=False)
    }
    return answers | changed


def assert_same(a, b):
    for name, value in a.arrays().items():
        np.testing.assert_array_equal(value, b.arrays()[name])


def test_a_masked_sum_is_the_sum_to_the_last_bit_in_any_order():
    records = [terms(seed) for seed in range(4)]
    plain = add_up(Terms, {name: encode(r) for name, r in zip(NAMES, records, strict=True)})
    answers = masked(records)
    for order in itertools.permutations(NAMES):
        assert_same(add_masked(Terms, {name: answers[name] for name in order}), plain)
    exact = sum(Fraction(float(r.score[0])) for r in records)
    assert plain.score[0] == float(exact)
    assert np.isnan(plain.cells).any()
    assert plain.failed == 1


def test_marks_of_withheld_cells_travel_masked():
    answers = masked([terms(seed) for seed in range(4)])
    names = [name for name, _ in answers["east"].layout.fields]
    assert names == [".refused", "cells", "cells.withheld", "failed", "groups", "information", "n", "score"]
    start = len(VOTING) + 6
    marks = [a.limbs[start : start + 6] for a in answers.values()]
    assert all(np.all(m[:, 1] != 0) for m in marks), "a mark could be read from its bytes"


def test_a_masked_answer_travels_as_16_bytes_per_entry():
    answer = masked([terms(0)])["east"]
    content = answer.to_bytes()
    assert len(content) == 16 * answer.layout.size == 16 * (len(VOTING) + 1 + 4 + 3 + 9 + 6 + 6 + 1)
    layout = Layout.model_validate_json(answer.layout.model_dump_json())
    again = Vector.from_bytes(layout, content)
    np.testing.assert_array_equal(again.limbs, answer.limbs)
    assert again.digest() == answer.digest()
    for wrong in (content[:-1], content + b"\0", b""):
        with pytest.raises(NodeFailed, match="as long as"):
            Vector.from_bytes(layout, wrong)


def test_the_digest_that_a_node_signs_covers_every_byte_and_the_layout():
    answer = masked([terms(0)])["east"]
    content = answer.to_bytes()
    renamed = Layout(fields=(("bells", (2, 3)), *answer.layout.fields[1:]))
    others = [Vector(renamed, answer.limbs)]
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        others.append(Vector.from_bytes(answer.layout, bytes(changed)))
    assert answer.digest() not in {other.digest() for other in others}


def test_a_layout_that_asks_for_absurd_memory_is_refused():
    with pytest.raises(NodeFailed, match="as long as"):
        Vector.from_bytes(Layout(fields=(("a", (2**24, 2**24)),)), b"")
    for absurd in ([["a", [2**30]]], [["a", [-1]]], [["a", [1] * 40]]):
        with pytest.raises(ValidationError):
            Layout.model_validate({"fields": absurd})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5))
def test_arrays_are_laid_out_and_found_again(shapes):
    arrays = {f"f{i}": np.random.default_rng(i).normal(size=shape[: i % 3]) for i, shape in enumerate(shapes)}
    layout, vector = flatten(arrays)
    again = layout.arrays(vector)
    assert layout.size == vector.size
    assert sorted(again) == sorted(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(again[name], values)
    for entry, value in enumerate(vector):
        assert value in arrays[layout.field_at(entry)]


def test_another_layout_is_named_by_its_cohort():
    records = [terms(seed) for seed in range(4)]
    odd = mask(encode(terms(2, score=np.ones(4))), ASKED, agree("south", PRIVATE["south"], PUBLIC))
    answers = masked(records, south=odd)
    with pytest.raises(NodeFailed, match="south answered in another layout") as caught:
        add_masked(Terms, answers)
    assert caught.value.cohort == "south"
    short = Vector(answers["west"].layout, answers["west"].limbs[:-1])
    with pytest.raises(NodeFailed, match="west"):
        add_masked(Terms, masked(records, west=short))


def test_an_absent_altered_or_replayed_answer_never_adds_up():
    records = [terms(seed) for seed in range(4)]
    answers = masked(records)
    absent = {name: a for name, a in answers.items() if name != "north"}
    other_round = masked(records, replace(ASKED, round=2))
    altered = answers["north"].limbs.copy()
    altered[-5, 1] ^= np.uint64(1) << np.uint64(40)
    for wrong in (
        absent,
        answers | {"north": other_round["north"]},
        answers | {"north": answers["south"]},
        answers | {"north": Vector(answers["north"].layout, np.zeros_like(altered))},
    ):
        with pytest.raises(NodeFailed):
            add_masked(Terms, wrong)


def test_a_flipped_bit_in_a_count_is_noticed():
    answers = masked([terms(seed) for seed in range(4)])
    layout = answers["north"].layout
    entry = next(i for i in range(layout.size) if layout.field_at(i) == "n")
    for bit in (0, 30, 71, 127):
        altered = answers["north"].limbs.copy()
        altered[entry, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        with pytest.raises(NodeFailed, match="`n`"):
            add_masked(Terms, answers | {"north": Vector(layout, altered)})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n": -1e6}, "`n` counts people in fractions or below zero"),
        ({"groups": np.array([0.5, 1, 1, 1])}, "`groups` counts people in fractions"),
        ({"cells": np.full((2, 3), -1e4)}, "`cells`"),
        ({"failed": 9}, "`failed` counts more votes"),
        ({"information": np.diag([1.0, -1e9, 1.0])}, "`information` that cannot be"),
        ({"information": np.triu(np.full((3, 3), 1e9))}, "`information` that cannot be"),
        ({"score": np.full(3, 2.0**53)}, "`score` is too large"),
        ({"information": np.ones((3, 2))}, "south answered in another layout"),
    ],
)
def test_a_dishonest_node_fails_the_sum_and_the_field_is_named(changed, words):
    with pytest.raises(NodeFailed, match=words) as caught:
        add_masked(Terms, masked([terms(0), terms(1), terms(2, **changed), terms(3)]))
    assert "1000000" not in caught.value.message


def test_what_is_declared_as_information_is_square():
    with pytest.raises(NodeFailed, match="`information` is declared as an information matrix but is not square"):
        add_masked(Terms, masked([terms(seed, information=np.ones((3, 2))) for seed in range(4)]))


def test_information_may_be_singular_and_empty():
    flat = np.diag([1e12, 0.0, 0.0]) + 1e-5
    for information in (flat, np.zeros((3, 3))):
        answers = masked([terms(seed, information=information) for seed in range(4)])
        np.testing.assert_array_equal(add_masked(Terms, answers).information, 4 * information)


def test_a_value_too_large_for_a_sum_stops_at_the_node_and_is_not_told():
    pairs = agree("east", PRIVATE["east"], PUBLIC)
    huge = {"score": np.array([0, 8.7e17, 0])}
    for refused in (lambda: encode(terms(0, **huge)), lambda: mask(encode(terms(0)) | huge, ASKED, pairs)):
        with pytest.raises(NodeFailed, match="`score` is too large") as caught:
            refused()
        assert "8" not in caught.value.message
    with pytest.raises(NodeFailed, match="`score` is not finite"):
        mask(encode(terms(0)) | {"score": np.array([0, np.nan, 0])}, ASKED, pairs)
    with pytest.raises(NodeFailed, match="east: `score` is too large"):
        add_up(Terms, {"east": encode(terms(0)) | huge})


def test_a_value_that_is_too_large_only_with_many_cohorts_stops_at_the_node():
    large = terms(0, score=np.array([0, 1e16, 0]))
    assert encode(large, 1)
    with pytest.raises(NodeFailed, match="`score` is too large"):
        encode(large, 3)


def test_a_per_cohort_answer_travels_alike_and_is_judged_alike():
    arrays = encode(terms(0))
    assert_same(add_masked(Terms, {"east": unmasked(arrays)}), decode(Terms, arrays))
    with pytest.raises(NodeFailed, match="`n` counts people in fractions"):
        add_masked(Terms, {"east": unmasked(arrays | {"n": np.array(0.5)})})


def test_no_masked_sum_of_fewer_than_three():
    with pytest.raises(InvalidQuestion, match="at least 3"):
        mask(encode(terms(0)), replace(ASKED, cohorts=NAMES[:2]), agree("east", PRIVATE["east"], PUBLIC))
