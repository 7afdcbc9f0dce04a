"""Masks: they cancel exactly, they are never used twice, and alone they tell nothing."""

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cohortium import fixed_point as fp
from cohortium.errors import CohortiumError, InvalidQuestion
from cohortium.keys import public_text
from cohortium.masks import Asked, add_masks, agree, mask_info

NAMES = tuple(f"cohort-{i}" for i in range(8))
PRIVATE = {name: X25519PrivateKey.generate() for name in NAMES}
PUBLIC = {name: public_text(key.public_key()) for name, key in PRIVATE.items()}
PAIRS = {name: agree(name, PRIVATE[name], PUBLIC) for name in NAMES}
LAYOUT = "layout"

ASKED = Asked(
    network="net",
    job="job",
    round=3,
    analysis="glm",
    version="1+abc",
    statistic="terms",
    params={"formula": "y ~ x", "level": 0.95},
    broadcast={"beta": np.array([0.5, -1.0])},
    dictionary="dictionary",
    roster="roster",
    cohorts=NAMES[:3],
)

# Every part of a question, changed in every way that comes to mind.
OTHERS = {
    "network": ["net2", "ne"],
    "job": ["job2", ""],
    "round": [2, 4, 31],
    "analysis": ["cox"],
    "version": ["1+abd"],
    "statistic": ["term"],
    "params": [{}, {"formula": "y ~ z", "level": 0.95}, {"formula": "y ~ x", "level": 0.9500000000000001}],
    "broadcast": [
        {},
        {"beta": np.array([0.5, np.nextafter(-1.0, 0)])},
        {"beta": np.array([[0.5, -1.0]])},
        {"gamma": np.array([0.5, -1.0])},
        {"beta": np.array([0.5]), "gamma": np.array([-1.0])},
    ],
    "dictionary": ["dictionary2"],
    "roster": ["roster2"],
    "cohorts": [NAMES[:4], (NAMES[0], NAMES[1], NAMES[3])],
    "per_cohort": [True],
}
CHANGED = [replace(ASKED, **{name: value}) for name, values in OTHERS.items() for value in values]


def mask_of(asked=ASKED, own=NAMES[0], layout=LAYOUT, entries=4, pairs=None):
    """The mask itself: what is added to zeros."""
    return add_masks(np.zeros((entries, 2), fp.LIMB), asked, layout, pairs or PAIRS[own])


def total(vectors):
    result = vectors[0].copy()
    for vector in vectors[1:]:
        fp.accumulate(result, vector)
    return result


@given(
    st.sets(st.sampled_from(NAMES), min_size=3).map(lambda names: tuple(sorted(names))),
    st.integers(0, 40),
    st.sampled_from((1, 2)),
    st.integers(0, 2**32),
)
def test_masks_cancel_exactly_for_any_cohorts(cohorts, entries, limbs, seed):
    draw = np.random.default_rng(seed)
    plain = [draw.integers(0, 2**64, (entries, limbs), dtype=np.uint64) for _ in cohorts]
    asked = replace(ASKED, cohorts=cohorts)
    masked = [add_masks(v, asked, LAYOUT, PAIRS[c]) for c, v in zip(cohorts, plain, strict=True)]
    np.testing.assert_array_equal(total(masked), total(plain))
    if entries:
        for incomplete in itertools.combinations(masked, len(masked) - 1):
            assert not np.array_equal(total(list(incomplete)), total(plain))


def test_masks_cancel_across_blocks_and_do_not_depend_on_them(monkeypatch):
    entries = 2 * fp.BLOCK + 7
    masks = [mask_of(own=name, entries=entries) for name in ASKED.cohorts]
    assert not total(masks).any()
    monkeypatch.setattr(fp, "BLOCK", 1000)
    np.testing.assert_array_equal(mask_of(entries=entries), masks[0])


def test_the_vector_that_is_masked_stays_as_it_was():
    vector = fp.encode(np.arange(5.0))
    add_masks(vector, ASKED, LAYOUT, PAIRS[NAMES[0]])
    np.testing.assert_array_equal(vector, fp.encode(np.arange(5.0)))


def test_the_same_question_gives_the_same_mask_also_after_a_restart():
    again = replace(ASKED, params=dict(reversed(ASKED.params.items())), broadcast={"beta": np.array([0.5, -1.0])})
    fresh = agree(NAMES[0], PRIVATE[NAMES[0]], {name: PUBLIC[name] for name in NAMES[:3]})
    np.testing.assert_array_equal(mask_of(), mask_of(again, pairs=fresh))


def test_every_part_of_a_question_is_tried():
    assert OTHERS.keys() == {field.name for field in fields(Asked)}


def test_no_other_question_ever_gets_the_same_mask():
    masks = [mask_of(asked) for asked in [ASKED, *CHANGED]] + [mask_of(layout="other"), mask_of(own=NAMES[1])]
    words = np.concatenate([m.ravel() for m in masks])
    # Not one 64-bit word in common: there is no overlap of two streams either.
    assert np.unique(words).size == words.size


def test_each_pair_has_a_key_of_its_own_whatever_else_is_equal():
    pair = PAIRS[NAMES[0]].by_peer[NAMES[1]]
    changes = [{"first": "x"}, {"second": "x"}, {"first_key": "x"}, {"second_key": "x"}]
    infos = {mask_info(p, ASKED, "q", "l") for p in [pair, *(replace(pair, **c) for c in changes)]}
    shifted = mask_info(replace(pair, first=pair.first + "c", second=pair.second[1:]), ASKED, "q", "l")
    assert len(infos | {shifted}) == 6


def test_both_ends_of_a_pair_share_one_secret_and_no_one_else_does():
    for a, b in itertools.combinations(NAMES, 2):
        assert PAIRS[a].by_peer[b] == PAIRS[b].by_peer[a]
    assert len({p.secret for pairs in PAIRS.values() for p in pairs.by_peer.values()}) == 8 * 7 / 2


def test_secrets_are_not_shown():
    pairs = PAIRS[NAMES[0]]
    secret = pairs.by_peer[NAMES[1]].secret
    assert repr(secret) not in repr(pairs) + repr(pairs.by_peer[NAMES[1]])


def test_a_masked_vector_alone_is_uniform():
    """Every entry the same, which is the least random of vectors; the mask must hide that altogether."""
    entries = 1 << 16
    asked = replace(ASKED, job="a fixed question")
    keys = {n: X25519PrivateKey.from_private_bytes(bytes([i] * 32)) for i, n in enumerate(NAMES[:3], 1)}
    pairs = agree(NAMES[0], keys[NAMES[0]], {n: public_text(k.public_key()) for n, k in keys.items()})
    masked = add_masks(fp.encode(np.full(entries, 42.0)), asked, LAYOUT, pairs)
    for limb in (0, 1):
        words = masked[:, limb]
        assert stats.kstest(words / 2.0**64, "uniform").pvalue > 1e-3
        assert stats.chisquare(np.bincount(words.astype(np.uint8), minlength=256)).pvalue > 1e-3
        assert stats.chisquare(np.bincount((words >> np.uint64(56)).astype(int), minlength=256)).pvalue > 1e-3
        assert abs(stats.pearsonr(words[1:].astype(float), words[:-1].astype(float)).statistic) < 5 / np.sqrt(entries)
    ones = np.unpackbits(masked.view(np.uint8).reshape(entries, 16), axis=1).sum(axis=0)
    assert np.all(np.abs(ones - entries / 2) < 5 * np.sqrt(entries) / 2)
    joint = np.histogram2d(masked[:, 0].astype(float), masked[:, 1].astype(float), bins=16)[0]
    assert stats.chisquare(joint.ravel()).pvalue > 1e-3


def test_two_vectors_under_one_question_look_alike_whatever_they_hold():
    """The masked vectors of people and of nobody: without the peers' keys nothing tells which is which."""
    keys = {n: X25519PrivateKey.from_private_bytes(bytes([i] * 32)) for i, n in enumerate(NAMES[:3], 1)}
    pairs = agree(NAMES[0], keys[NAMES[0]], {n: public_text(k.public_key()) for n, k in keys.items()})
    people, nobody = (
        add_masks(fp.encode(np.full(4096, x)), replace(ASKED, job=job), LAYOUT, pairs)
        for job, x in (("a", 1e6), ("b", 0.0))
    )
    assert stats.ks_2samp(people.ravel().astype(float), nobody.ravel().astype(float)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("asked", "own", "why"),
    [
        (replace(ASKED, cohorts=NAMES[:2]), NAMES[0], "at least 3"),
        (replace(ASKED, cohorts=NAMES[:1]), NAMES[0], "at least 3"),
        (ASKED, NAMES[5], "not put to"),
        (replace(ASKED, cohorts=(*NAMES[:3], "stranger")), NAMES[0], "no masking key for stranger"),
    ],
)
def test_what_cannot_be_masked_is_refused(asked, own, why):
    with pytest.raises(InvalidQuestion, match=why):
        mask_of(asked, own)


@pytest.mark.parametrize("cohorts", [NAMES[2::-1], (NAMES[0], NAMES[0], NAMES[1])])
def test_the_cohorts_of_a_question_are_distinct_and_in_order(cohorts):
    with pytest.raises(InvalidQuestion, match="distinct"):
        replace(ASKED, cohorts=cohorts)


def test_two_cohorts_may_be_masked_only_when_asked_for():
    asked = replace(ASKED, cohorts=NAMES[:2])
    both = [add_masks(fp.encode([1.0]), asked, LAYOUT, PAIRS[name], at_least=2) for name in NAMES[:2]]
    assert fp.decode(total(both)) == [2.0]


def test_swapped_twice_listed_and_useless_keys_are_noticed():
    a, b, c = NAMES[:3]
    zero = "x25519:" + "A" * 43 + "="
    for keys, why in (
        (PUBLIC | {a: PUBLIC[b], b: PUBLIC[a]}, "another masking key"),
        (PUBLIC | {c: PUBLIC[b]}, "same masking key"),
        (PUBLIC | {b: zero}, "not usable"),
        (PUBLIC | {b: "x25519:short"}, "32 bytes"),
        ({b: PUBLIC[b]}, "another masking key"),
    ):
        with pytest.raises(CohortiumError, match=why):
            agree(a, PRIVATE[a], keys)


def test_a_swapped_key_of_a_peer_spoils_the_sum_rather_than_opening_it():
    a, b, c = NAMES[:3]
    swapped = agree(a, PRIVATE[a], {a: PUBLIC[a], b: PUBLIC[NAMES[7]], c: PUBLIC[c]})
    masks = [mask_of(pairs=swapped), mask_of(own=b), mask_of(own=c)]
    assert np.all(total(masks) != 0)


def test_the_protocol_is_the_one_that_was_fixed():
    """Nodes of two releases must make the same masks; whoever changes this changes the version in the purpose too."""
    keys = {n: X25519PrivateKey.from_private_bytes(bytes([i] * 32)) for i, n in enumerate(NAMES[:3], 1)}
    public = {n: public_text(k.public_key()) for n, k in keys.items()}
    masked = [add_masks(fp.encode([1.5, -2.0]), ASKED, LAYOUT, agree(n, k, public)) for n, k in keys.items()]
    assert ASKED.digest() == "afd434034a1934ea1f5e89cdc70fccc560e3fa7ad4836c4556ff74c284e8eec7"
    assert masked[1].tobytes().hex() == "7bac942e317080e5173871736f8e7f77f5ddf40b77f1e230d4d2cab2f92707d1"
    assert fp.decode(total(masked)).tolist() == [4.5, -6.0]
