"""Fixed point: every value against exact rational arithmetic, and every guard."""

import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cohortium import fixed_point as fp

MODULUS = 1 << 128
LIMIT = 2.0**54

# hypothesis favours floats that people write; from raw bits come all exponents and all last digits.
any_bits = st.integers(0, 2**64 - 1).map(lambda i: struct.unpack("<d", struct.pack("<Q", i))[0])
values = st.one_of(
    st.floats(-LIMIT, LIMIT),
    any_bits.filter(lambda x: math.isfinite(x) and abs(x) <= LIMIT),
    st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-140, 1)),
)
near_powers = st.builds(
    lambda e, d, s: s * ((1 << e) + d), st.integers(0, 126), st.integers(-5, 5), st.sampled_from((-1, 1))
)
integers = st.one_of(st.integers(-(2**127), 2**127 - 1), near_powers)


def as_integers(limbs):
    unsigned = [int.from_bytes(row.tobytes(), "little") for row in limbs]
    return [u - MODULUS if u >> 127 else u for u in unsigned]


def as_limbs(numbers):
    return np.frombuffer(b"".join((n % MODULUS).to_bytes(16, "little") for n in numbers), dtype=fp.LIMB).reshape(-1, 2)


def round_half_away(x):
    exact = abs(Fraction(x)) * 2**72
    return int(math.copysign(1, x)) * math.floor(exact + Fraction(1, 2))


@given(st.lists(values, min_size=1, max_size=30))
@example([0.0, -0.0, 5e-324, 2.0**-74, 2.0**-73, -(2.0**-73), 2.0**-72, 1.5 * 2.0**-72, LIMIT, -LIMIT])
def test_encode_rounds_half_away_as_rational_arithmetic_does(xs):
    assert as_integers(fp.encode(xs)) == [round_half_away(x) for x in xs]


@given(st.lists(integers, min_size=1, max_size=30))
@example([2**64 - 1, 2**64, 2**117 + 2**64, 2**118 - 1, 2**127 - 1, -(2**127), 2**53 + 1, (2**53 + 1) << 60])
def test_decode_is_the_nearest_float_ties_to_even(numbers):
    decoded = fp.decode(as_limbs(numbers))
    # Python divides integers with one correct rounding.
    assert [x.hex() for x in decoded.tolist()] == [(n / 2**72).hex() for n in numbers]


def test_decode_of_many_random_integers_of_every_length_is_correctly_rounded():
    draw = random.Random(7)
    numbers = [draw.choice((-1, 1)) * draw.getrandbits(draw.randrange(1, 128)) for _ in range(30_000)]
    np.testing.assert_array_equal(fp.decode(as_limbs(numbers)), [n / 2**72 for n in numbers])


@given(st.lists(values.filter(lambda x: abs(x) >= 2**-20 or x == 0), min_size=1))
def test_values_that_are_not_tiny_come_back_to_the_last_bit(xs):
    assert fp.decode(fp.encode(xs)).tolist() == xs


@given(st.lists(values))
def test_tiny_values_come_back_within_half_a_unit(xs):
    for x, back in zip(xs, fp.decode(fp.encode(xs)).tolist(), strict=True):
        assert abs(Fraction(x) - Fraction(back)) <= Fraction(1, 2**73)


@given(st.lists(integers | st.integers(-(2**55), 2**54).map(lambda n: n << 72)))
@example([1, 1 << 71, 1 << 72, (1 << 72) + 1, -(1 << 72)])
def test_whole_numbers_are_told_to_the_last_bit(numbers):
    assert fp.is_whole(as_limbs(numbers)).tolist() == [n % 2**72 == 0 for n in numbers]


@given(st.lists(st.tuples(integers, integers), min_size=1, max_size=30))
@example([(2**64 - 1, 1), (-1, 1), (2**127 - 1, 1), (-(2**127), -1)])
def test_addition_carries_and_subtraction_borrows(pairs):
    a, b = (as_limbs(numbers) for numbers in zip(*pairs, strict=True))
    wrapped = [(x + y + 2**127) % MODULUS - 2**127 for x, y in pairs]
    assert as_integers(fp.add(a, b)) == wrapped
    assert not fp.add(a, fp.negate(a)).any()
    difference = fp.add(a, b)
    fp.deduct(difference, b)
    np.testing.assert_array_equal(difference, a)


@given(st.lists(values.map(lambda x: x / 8), min_size=2, max_size=8), st.randoms())
def test_a_sum_is_exact_whatever_the_order(xs, shuffled):
    def total(order):
        limbs = fp.encode([order[0]], len(xs))
        for x in order[1:]:
            fp.accumulate(limbs, fp.encode([x], len(xs)))
        return limbs

    exact = sum(round_half_away(x) for x in xs)
    assert as_integers(total(xs)) == [exact]
    assert fp.decode(total(xs))[0] == exact / 2**72
    order = list(xs)
    shuffled.shuffle(order)
    np.testing.assert_array_equal(total(order), total(xs))


@pytest.mark.parametrize("cohorts", [1, 3, 10, 128])
def test_values_that_could_wrap_in_the_sum_are_refused(cohorts):
    most = LIMIT / cohorts
    fp.encode([most, -most], cohorts)
    for outside in (np.nextafter(most, np.inf), -np.nextafter(most, np.inf), 1e300):
        with pytest.raises(fp.OutOfRange, match="entry 1 is too large") as caught:
            fp.encode([0.0, outside], cohorts)
        assert str(outside) not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", [0, fp.BLOCK - 1, fp.BLOCK, 2 * fp.BLOCK + 3])
def test_what_is_not_finite_is_refused_wherever_it_is(value, entry):
    xs = np.zeros(3 * fp.BLOCK)
    xs[entry] = value
    with pytest.raises(fp.OutOfRange, match=f"entry {entry} is not finite"):
        fp.encode(xs)


def test_vectors_longer_than_a_block_are_treated_alike():
    xs = (
        np.random.default_rng(1).normal(size=3 * fp.BLOCK + 5)
        * 10.0 ** np.arange(-6, 6)[np.arange(3 * fp.BLOCK + 5) % 12]
    )
    assert as_integers(fp.encode(xs)[fp.BLOCK - 2 : fp.BLOCK + 2]) == [
        round_half_away(x) for x in xs[fp.BLOCK - 2 : fp.BLOCK + 2].tolist()
    ]
    np.testing.assert_array_equal(fp.encode(xs[::2]), fp.encode(xs)[::2])


def test_nothing_is_nothing():
    assert fp.encode([]).shape == (0, 2)
    assert fp.decode(fp.encode([])).shape == (0,)


def test_vectors_of_different_shape_are_not_added():
    for other in (fp.encode([1.0, 2.0]), fp.encode_counts([1.0])):
        with pytest.raises(ValueError, match="shape"):
            fp.add(fp.encode([1.0]), other)


@given(st.lists(st.tuples(st.integers(-(2**53), 2**53), st.integers(-(2**53), 2**53)), min_size=1))
def test_counts_add_up_exactly(pairs):
    a, b = (fp.encode_counts(np.array(c, dtype=float), 2) for c in zip(*pairs, strict=True))
    assert fp.decode_counts(fp.add(a, b)).tolist() == [float(x + y) for x, y in pairs]


def test_counts_are_whole_and_within_range():
    with pytest.raises(ValueError, match="whole"):
        fp.encode_counts([0.5])
    with pytest.raises(fp.OutOfRange):
        fp.encode_counts([2.0**61], cohorts=4)
    with pytest.raises(fp.OutOfRange, match="not finite"):
        fp.encode_counts([np.inf])


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=20), st.integers(3, 128), st.randoms())
def test_public_scales_keep_the_error_relative_to_the_bound(exponents, cohorts, draw):
    bounds = 2.0 ** np.array(exponents)
    fraction = fp.fraction_bits(bounds, cohorts)
    nodes = [bounds * [draw.uniform(-1, 1) for _ in bounds] for _ in range(cohorts)]
    total = fp.encode_scaled(nodes[0], fraction, cohorts)
    for node in nodes[1:]:
        fp.accumulate(total, fp.encode_scaled(node, fraction, cohorts))
    error = np.abs(fp.decode_scaled(total, fraction) - [math.fsum(column) for column in zip(*nodes, strict=True)])
    # METHODS 2.1: 2^(2 kap - 63) of the bound; beside it the rounding of the float64 result itself.
    kap = (cohorts - 1).bit_length()
    assert np.all(error <= bounds * (2.0 ** (2 * kap - 63) + cohorts * 2.0**-52))


def test_public_scales_refuse_what_exceeds_the_bound_and_bounds_that_are_none():
    fraction = fp.fraction_bits([1.0], 4)
    fp.encode_scaled([1.0], fraction, 4)
    for value, why in ((1.01, "too large"), (np.nan, "not finite"), (1e308, "too large|not finite")):
        with pytest.raises(fp.OutOfRange, match=why):
            fp.encode_scaled([value], fraction, 4)
    for bound in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bounds"):
            fp.fraction_bits([bound], 4)
