"""The rows that a question is about, judged before anything is computed of them."""

from __future__ import annotations

import numpy as np

from cohortium.condition import Condition
from cohortium.data import Data
from cohortium.errors import Refused
from node.disclosure import Policy


def where(data: Data, condition: Condition, policy: Policy) -> Data:
    """The rows that meet a condition.

    Raises Refused when it keeps, or leaves out, somebody but fewer than the policy's `min_people`: what is said of all
    but a few tells about those few as much as what is said of themselves.
    """
    rows = condition.keeps(data)
    _check_size(np.count_nonzero(rows), policy, "`where` keeps", "Ask for a wider group.")
    _check_size(np.count_nonzero(~rows), policy, "`where` leaves out", "Leave out more people, or nobody.")
    return data.subset(rows)


def complete(data: Data, names: tuple[str, ...], policy: Policy) -> Data:
    """The rows that have a value for each of `names`. Raises Refused when it is somebody but fewer than `min_people`.

    It may leave out a few, those who lack a value: nothing can be asked of them alone, and the ledger compares what is
    asked with them and without them.
    """
    rows = data.complete(names)
    _check_size(np.count_nonzero(rows), policy, "`complete` keeps", "Ask for a wider group, or fewer variables.")
    return data.subset(rows)


def _check_size(people: int | np.intp, policy: Policy, what: str, remedy: str) -> None:
    if 0 < people < policy.min_people:
        raise Refused(
            f"{what} fewer than {policy.min_people} people, which this cohort's policy forbids (min_people). {remedy}",
            rule="min_people",
        )
