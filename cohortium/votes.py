"""How a node refuses without telling that it was this one.

Whether a cohort has enough people for a question says something of its people. So an answer that is masked holds,
before its values, a vote on each rule that looks at the rows: 0, or, from a node that refuses by it, a random number.
Such a node sends random numbers for its values too. Votes are masked like all else, so that one answer looks like any
other, and only their total is seen: 0 where no cohort refuses, and otherwise uniformly random, however many do. The
total of the values is then noise: nobody learns the sum of the others.
"""

from __future__ import annotations

import secrets
from typing import Final

import numpy as np

from cohortium.errors import NodeFailed, Refused
from cohortium.fixed_point import LIMB, Limbs
from cohortium.rules import RULES, VOTING, Whose

REFUSED: Final = ".refused"
"""Where the votes are in an answer: first, since no field's name comes before it."""


def noise(entries: int) -> Limbs:
    """Entries that are uniformly random, from the operating system: shape (entries, 2)."""
    return np.frombuffer(secrets.token_bytes(16 * entries), dtype=LIMB).reshape(-1, 2)


def votes(rule: str | None) -> Limbs:
    """The votes of a node that refuses by `rule`, or by none: shape (rules, 2)."""
    cast, chosen = np.zeros((len(VOTING), 2), dtype=LIMB), noise(1)
    while not chosen.any():  # 0 is no vote
        chosen = noise(1)
    if rule is not None:
        cast[VOTING.index(rule)] = chosen[0]
    return cast


def check_votes(total: Limbs, cohorts: int) -> None:
    """Whether no cohort refused, from the total of the votes of so many cohorts.

    Raises Refused, naming a rule and no cohort, and NodeFailed for a total that honest votes could not have.
    """
    rules = [rule for rule, vote in zip(VOTING, total, strict=True) if vote.any()]
    if len(rules) > cohorts:  # each casts one at most
        raise NodeFailed("the answers add up to votes that cannot be: a cohort's answer is not what its node sent")
    if rules:
        raise refusal(rules)


def refusal(rules: list[str]) -> Refused:
    """The refusal by one cohort or more, in words that are constant per rule."""
    names = " and ".join(f"`{rule}`" for rule in rules)
    told = " ".join(dict.fromkeys(text for rule in rules for text in (RULES[rule].why, RULES[rule].instead)))
    by_policy = all(RULES[rule].whose is Whose.policy for rule in rules)
    who = "The policy of one or more cohorts forbids this" if by_policy else "One or more cohorts do not answer this"
    return Refused(f"{who} ({names}). {told}", rule=rules[0])
