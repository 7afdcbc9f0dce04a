"""Who is eligible and selected at one cohort, and whether the selection is the one that follows from the keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.groups import tally
from algorithms.numerics.random_selection import planned, select
from algorithms.numerics.trial_params import TrialParams
from cohortium.data import Data
from cohortium.errors import Refused
from cohortium.quantities import Array, Count, Flag, Sums, Table


class EligibleCounts(Sums):
    """Eligible people; per design stratum, and how many of them are to be selected; and what became of them.

    `groups`: not selected, refused, accepted. `left_out` lack an identifier or stratum. `checked`: the cohort has
    worked the selection out anew; `differs`: it is not the one in its data.
    """

    eligible: Count
    strata: Table
    planned: Table
    left_out: Table
    unassigned: Table
    groups: Table
    checked: Flag
    differs: Flag


def count_eligible(rows: Data, params: TrialParams) -> EligibleCounts:
    """Counts of one cohort, and its vote on whether people were selected by the revealed keys."""
    identifier = (params.identifier,) if params.identifier else ()
    stratum = np.concatenate(
        [np.zeros(0, np.intp), *(params.groups.codes(b) for b in rows.blocks([*params.strata, *identifier]))]
    )
    people = tally(stratum, len(params.groups))
    fate, unassigned = np.zeros(3), 0
    if params.selected is not None:
        for block in rows.blocks([params.selected, *params.strata, *identifier]):
            fate += tally(block[params.selected].astype(np.intp), 3)
        unassigned = len(stratum) - int(fate.sum())
        accepted = accepted_by(rows, params) & (rows[params.selected] == 1)
        accepted &= rows.complete([*params.strata, *identifier])
        fate[2] = np.count_nonzero(accepted)
        fate[1] -= fate[2]
    checks = params.key is not None and params.selected is not None and len(stratum) > 0
    return EligibleCounts(
        eligible=len(stratum),
        strata=people,
        planned=planned(people, params.share),
        left_out=np.array(float(len(rows) - len(stratum))),
        unassigned=np.array(float(unassigned)),
        groups=fate,
        checked=float(checks),
        differs=float(checks and _differs(rows, params, stratum)),
    )


def _differs(data: Data, params: TrialParams, stratum: NDArray[np.intp]) -> bool:
    """Whether somebody is selected whom the keys do not select, or the other way round. Raises Refused."""
    assert params.identifier is not None
    assert params.selected is not None
    assert params.key is not None
    rows = data.complete([*params.strata, params.identifier])
    found = data[params.selected][rows] == 1
    # Of a handful of people, such a vote would be a guess at who they are.
    few = min(np.count_nonzero(found), np.count_nonzero(~found)) < data.least_group
    if few and data.least_group > 1:
        raise Refused(
            "Too few people are selected, or too few are not, for this cohort to say whether they were by these keys "
            "(min_people). Ask for a wider `where`, or leave out `keys`.",
            rule="min_people",
        )
    return not np.array_equal(
        select(identities(data, params.identifier)[rows], stratum, params.share, params.key), found
    )


def identities(data: Data, name: str) -> Array | NDArray[np.int64]:
    """What tells people apart, the same whenever data are loaded, shape (rows,)."""
    return data[name] if data.dictionary[name].is_numeric else data.keys_of(name)


def accepted_by(data: Data, params: TrialParams) -> NDArray[np.bool_]:
    """Who had the intervention; who has no value did not accept."""
    if params.accepted is None:
        return np.zeros(len(data), dtype=np.bool_)
    return np.asarray(data[params.accepted] == 1)
