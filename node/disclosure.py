"""What a cohort holder's policy lets out: every quantity is checked here, at the node, before it leaves.

An analysis declares the kind of each released field (`cohortium/quantities.py`) and shows who stands behind its sums
(`cohortium/evidence.py`); the thresholds are the cohort holder's (`node/policy.py`). No analysis can opt out and no
coordinator can loosen them. A refusal names the rule, the quantity and perhaps the column, in words that are the same
whatever the count was; `docs/disclosure.md` says why there is each rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import Refused
from cohortium.evidence import Columns, Evidence, Plain, Shares
from cohortium.masks import MIN_COHORTS
from cohortium.quantities import Array, CountKind, FlagKind, Kind, NoisyKind, SumOver, Sums, TableKind, TimeGridKind
from node.policy import InvalidPolicy, Policy

__all__ = ["InvalidPolicy", "Policy", "check", "check_company", "check_per_cohort", "check_round"]

# Shares come from sums that are added up in floating point: ten equal ones are 0.1 each but for rounding.
_ROUNDING = 1e-9

_WIDER = "Ask for a wider group."
_FEWER = "Ask for fewer covariates."
_MERGE = "Merge levels, or leave the column out."
_TAME = "Take the logarithm or categories of what has extreme values, or leave it out."


def check(sums: Sums, policy: Policy) -> Sums:
    """The record as it may leave, with small table cells set to NaN. Raises Refused when a rule forbids it."""
    released = {name: _check_field(name, value, sums, policy) for name, value in sums.arrays().items()}
    told = [released[name] for name, kind in sums.kinds.items() if isinstance(kind, SumOver)]
    if any(np.any(value) for value in told):  # zeros tell of nobody
        _check_evidence(type(sums).__name__, sums.evidence, policy)
    return type(sums).from_arrays(released)


def check_per_cohort(policy: Policy) -> None:
    """Whether one cohort's own figures may be told apart. Raises Refused."""
    if not policy.release_per_cohort:
        raise Refused(
            "This cohort does not release its own figures, only its part of a sum. Ask for the pooled result.",
            rule="release_per_cohort",
        )


def check_company(policy: Policy, cohorts: int) -> None:
    """Whether this cohort's numbers are hidden among those of enough others. Raises Refused."""
    if cohorts < 2 or (cohorts < MIN_COHORTS and policy.insecure != "two nodes"):
        raise Refused(
            f"A sum over fewer than {MIN_COHORTS} cohorts tells each of them the others' numbers, which this cohort's "
            "policy forbids (insecure). Ask more cohorts.",
            rule="insecure",
        )


def check_round(policy: Policy, round_: int) -> None:
    """Whether a job has not asked too often. Raises Refused."""
    if round_ > policy.max_rounds:
        raise Refused(
            f"A job has more than {policy.max_rounds} rounds, which this cohort's policy forbids (max_rounds). Ask a "
            "simpler question.",
            rule="max_rounds",
        )


def _check_field(name: str, value: Array, sums: Sums, policy: Policy) -> Array:
    match sums.kinds[name]:
        case CountKind():
            few = f"counts fewer than {policy.min_people} people"
            _refuse_if(_few(value, policy.min_people), name, "min_people", few, _WIDER)
        case TimeGridKind():
            few = f"has intervals in which fewer than {policy.min_interval} people enter or leave"
            _refuse_if(_few(value, policy.min_interval), name, "min_interval", few, "Ask for a wider `interval`.")
        case TableKind():
            return np.where((value > 0) & (value < policy.min_cell), np.nan, value)
        case SumOver() as kind:
            _check_sum(name, value, kind, sums, policy)
        case FlagKind():
            if np.any((value != 0) & (value != 1)):
                raise Refused(f"`{name}` is declared as a flag but is not 0 or 1.", rule="declared_kinds")
        case NoisyKind():
            pass  # the node has added its noise, or would not have come here (`node/noise.py`)
        case Kind():
            raise Refused(f"`{name}` is of a kind that this node does not know.", rule="declared_kinds")
    return value


def _check_sum(name: str, value: Array, kind: SumOver, sums: Sums, policy: Policy) -> None:
    # How many people are behind the sum was checked with the field that counts them.
    people = np.asarray(getattr(sums, kind.count))
    outside = np.reshape(people == 0, people.shape + (1,) * (value.ndim - people.ndim))
    if np.any((value != 0) & outside):
        raise Refused(f"`{name}` sums over people whom `{kind.count}` does not count.", rule="declared_kinds")
    if kind.people_per_parameter and np.any(value):  # of nobody, where steps went too far and every sum is 0
        parameters, most = value.shape[-1], policy.max_parameters_per_person
        crowded = (people > 0) & ~(parameters <= _effective(people, sums.evidence) * most)
        many = f"has more parameters than {most:g} per person"
        _refuse_if(crowded, name, "max_parameters_per_person", many, _FEWER)
        if not isinstance(sums.kinds[kind.count], TimeGridKind):
            _check_size(name, parameters, people, policy)


def _check_size(name: str, parameters: int, people: Array, policy: Policy) -> None:
    least, spare = policy.min_model_people, policy.min_residual_df
    _refuse_if(_few(people, least), name, "min_model_people", f"is a model of fewer than {least} people", _WIDER)
    bare = (people > 0) & (people - parameters < spare)
    _refuse_if(bare, name, "min_residual_df", f"leaves fewer than {spare} people beyond its parameters", _FEWER)


def _effective(people: Array, evidence: Evidence | None) -> Array:
    """How many people the sums rest on in effect, of the shape of `people`."""
    if evidence is None or isinstance(evidence.weights, Plain) or not evidence.weights.effective.size:
        return people
    found = evidence.weights.effective
    return np.minimum(people, found if found.shape == people.shape else np.min(found))


def _check_evidence(record: str, evidence: Evidence | None, policy: Policy) -> None:
    if evidence is None:
        raise Refused(f"`{record}` does not show who stands behind its sums.", rule="declared_kinds")
    if not isinstance(evidence.weights, Plain):
        _check_weights(record, evidence.weights, policy)
    _check_dominance(record, evidence.magnitudes, evidence.names, policy)
    _check_leverage(record, evidence.leverage, evidence.names, policy)
    far = ~np.asarray(evidence.predictor <= policy.max_predictor)
    what = f"asks at coefficients that give somebody a linear predictor beyond {policy.max_predictor:g}"
    _refuse_if(far, record, "max_predictor", what, "Leave out covariates that tell outcomes apart without exception.")
    if evidence.columns is not None:
        _check_columns(record, evidence.columns, policy)


def _check_weights(record: str, weights: Shares, policy: Policy) -> None:
    most, least = policy.max_weight_share, policy.min_people
    remedy = "Ask for fewer or less skewed covariates, or a wider group."
    one = f"has sums in which one person has more than {most:g} of all weight"
    _refuse_if(_above(weights.largest, most), record, "max_weight_share", one, remedy)
    few = f"has weighted sums that rest on fewer than {least} people in effect"
    _refuse_if(~(weights.effective >= least * (1 - _ROUNDING)), record, "min_people", few, remedy)


def _check_dominance(record: str, shares: Shares, names: Sequence[str], policy: Policy) -> None:
    one = f"has sums of which one person makes up more than {policy.max_share_of_one:g}"
    _refuse_if(_above(shares.largest, policy.max_share_of_one), record, "max_share_of_one", one, _TAME, columns=names)
    two = f"has sums of which two people make up more than {policy.max_share_of_two:g}"
    _refuse_if(_above(shares.two, policy.max_share_of_two), record, "max_share_of_two", two, _TAME, columns=names)


def _check_leverage(record: str, leverage: Array, names: Sequence[str], policy: Policy) -> None:
    lever = f"rests on a person with a leverage above {policy.max_leverage:g}"
    _refuse_if(_above(leverage, policy.max_leverage), record, "max_leverage", lever, _TAME, columns=names)


def _check_columns(record: str, columns: Columns, policy: Policy) -> None:
    least, names = policy.min_carriers, columns.names
    alone = f"has a column in which fewer than {least} people differ from all others"
    _refuse_if(_few(columns.carriers, least), record, "min_carriers", alone, _MERGE, columns=names)
    least = policy.min_carriers_by_outcome
    apart = f"has a column in which fewer than {least} people with one of the outcomes differ from all others"
    split = _few(columns.by_outcome, least)
    _refuse_if(split[:, 0] | split[:, 1], record, "min_carriers_by_outcome", apart, _MERGE, columns=names)
    _check_dominance(record, columns.magnitudes, names, policy)
    _check_leverage(record, np.asarray(columns.leverage), (), policy)
    few, least_events = "has fewer than {:g} events per parameter", policy.min_events_per_parameter
    rare = ~np.asarray(columns.events >= least_events * columns.parameters)
    remedy = "Ask for fewer covariates, or a commoner outcome."
    _refuse_if(rare, record, "min_events_per_parameter", few.format(least_events), remedy)


def _few(people: Array, least: int) -> NDArray[np.bool_]:
    return np.asarray((people > 0) & (people < least))


def _above(share: Array, most: float) -> NDArray[np.bool_]:
    # What is no number is no evidence.
    return ~np.asarray(share <= most + _ROUNDING)


def _refuse_if(
    forbidden: NDArray[np.bool_], name: str, rule: str, what: str, remedy: str, *, columns: Sequence[str] = ()
) -> None:
    """Raises Refused if anything is forbidden; of `columns`, which come from the question, it names the first."""
    if np.any(forbidden):
        first = int(np.argmax(np.ravel(forbidden)))
        place = f" ({columns[first]})" if first < len(columns) else ""
        raise Refused(f"`{name}`{place} {what}, which this cohort's policy forbids ({rule}). {remedy}", rule=rule)
