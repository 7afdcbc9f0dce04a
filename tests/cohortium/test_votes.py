"""A node refuses without telling that it was this one: what it sends looks like an answer; the total says no."""

import itertools
from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium import fixed_point, votes
from cohortium.errors import NodeFailed, Refused
from cohortium.keys import public_text
from cohortium.masks import Asked, agree
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.rules import RULES, VOTING
from cohortium.secure_sum import Vector, add_masked, encode, mask

NAMES = ("east", "north", "south", "west")
PRIVATE = {name: X25519PrivateKey.generate() for name in NAMES}
PUBLIC = {name: public_text(key.public_key()) for name, key in PRIVATE.items()}
PAIRS = {name: agree(name, PRIVATE[name], PUBLIC) for name in NAMES}
ASKED = Asked(
    network="net",
    job="a" * 64,
    round=1,
    analysis="a",
    version="1",
    statistic="s",
    params={},
    broadcast={},
    dictionary="b" * 64,
    roster="c" * 64,
    cohorts=NAMES,
)
VALUES = {name: np.array([float(i), i / 3]) for i, name in enumerate(NAMES, start=1)}


class Terms(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


def answers(refusing=None, asked=ASKED):
    """What all four send, of whom some refuse: name -> rule."""
    refusing = refusing or {}
    return {
        name: mask(encode(Terms(n=20, total=VALUES[name])), asked, PAIRS[name], refused_by=refusing.get(name))
        for name in asked.cohorts
    }


def total_limbs(sent):
    limbs = np.zeros_like(next(iter(sent.values())).limbs)
    for vector in sent.values():
        fixed_point.accumulate(limbs, vector.limbs)
    return limbs


def test_nobody_refuses_and_the_sum_is_the_sum():
    total = add_masked(Terms, answers())
    assert total.n == 80
    np.testing.assert_allclose(total.total, sum(VALUES.values()), rtol=1e-15)


@pytest.mark.parametrize("rule", VOTING)
def test_a_refusal_names_the_rule_and_nobody(rule):
    with pytest.raises(Refused) as refused:
        add_masked(Terms, answers({"south": rule}))
    assert (refused.value.rule, refused.value.cohort) == (rule, None)
    assert not any(name in refused.value.message for name in NAMES)
    assert RULES[rule].instead in refused.value.message


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from(VOTING))
def test_what_is_told_is_the_same_whoever_refuses_and_however_many(who, rule):
    def told(refusing):
        with pytest.raises(Refused) as refused:
            add_masked(Terms, answers(dict.fromkeys(refusing, rule)))
        return str(refused.value)

    assert told(who) == told({"east"})


def test_several_rules_are_all_named():
    with pytest.raises(Refused) as refused:
        add_masked(Terms, answers({"south": "min_people", "west": "dominance"}))
    assert "`dominance` and `min_people`" in refused.value.message


def test_one_that_refuses_sends_what_an_answer_looks_like():
    honest, refusing = answers()["south"], answers({"south": "min_people"})["south"]
    assert refusing.layout == honest.layout
    assert len(refusing.to_bytes()) == len(honest.to_bytes())
    once, again = (answers({"south": "min_people"}) for _ in range(2))
    assert not np.array_equal(once["south"].limbs, again["south"].limbs), "noise is drawn anew"
    for name in ("east", "north", "west"):
        np.testing.assert_array_equal(once[name].limbs, again[name].limbs)


def test_the_others_learn_neither_each_others_sum_nor_how_many_refuse():
    """With one refusal or three, what is left when the masks cancel is uniform: no bit is likelier than the other."""
    asked = [replace(ASKED, round=round_) for round_ in range(1, 120)]
    for refusing in (["south"], ["south", "west", "east"]):
        totals = np.stack([total_limbs(answers(dict.fromkeys(refusing, "min_people"), a)) for a in asked])
        row = VOTING.index("min_people")
        others = np.delete(totals[:, : len(VOTING)], row, axis=1)
        assert not others.any(), "rules that nobody refused by stay 0"
        for noisy in (totals[:, row], *totals[:, len(VOTING) :].swapaxes(0, 1)):
            bits = np.unpackbits(np.ascontiguousarray(noisy).view(np.uint8))
            assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_three_of_four_know_no_more_than_that_the_fourth_refuses():
    """Who colludes can subtract itself: what remains of the fourth is, under the very same masks, not its answer."""
    sent = answers({"south": "min_people"})
    honest = answers()
    left = total_limbs(sent).copy()
    fixed_point.deduct(left, total_limbs({n: v for n, v in honest.items() if n != "south"}))
    own = honest["south"].limbs
    assert not (left[len(VOTING) :] == own[len(VOTING) :]).any()


def test_a_vote_is_never_nothing(monkeypatch):
    drawn = itertools.chain([np.zeros((1, 2), dtype=np.uint64)] * 3, itertools.repeat(np.ones((1, 2), dtype=np.uint64)))
    monkeypatch.setattr(votes, "noise", lambda _entries: next(drawn))
    assert votes.votes("min_people").any()
    assert not votes.votes(None).any()


def test_votes_of_which_there_are_more_than_cohorts_are_no_honest_ones():
    sent = answers()
    limbs = sent["west"].limbs.copy()
    limbs[: len(VOTING)] += np.uint64(1)
    with pytest.raises(NodeFailed, match="votes that cannot be"):
        add_masked(Terms, sent | {"west": Vector(sent["west"].layout, limbs)})


def test_an_answer_without_votes_is_in_another_layout():
    sent = answers()
    short = type(sent["west"].layout)(fields=sent["west"].layout.fields[1:])
    with pytest.raises(NodeFailed, match="west answered in another layout"):
        add_masked(Terms, sent | {"west": Vector(short, sent["west"].limbs[len(VOTING) :])})
