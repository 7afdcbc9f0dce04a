"""Every rule that can keep a question from an answer: whose it is, why it exists, and how to ask instead.

The one table that `explain` reads and docs/disclosure.md is checked against. Words are constant per rule: they hold no
threshold, because those are the cohort's and in its own refusal, and nothing of the data, because a rule that failed by
one person reads like one that failed by a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Whose(StrEnum):
    """Who set a rule, and so whom to talk to about it."""

    policy = "the cohort's policy"
    operator = "the cohort's operator"
    node = "every node, whatever its policy"
    permit = "the study's permit"
    roster = "the network's roster"
    coordinator = "the coordinator"
    question = "the question itself"
    data = "the data"
    researcher = "the researcher"


@dataclass(frozen=True)
class Rule:
    """Why a rule exists, and what to ask instead.

    `votes`: whether it looks at the rows, so that who refused by it says something of them. Such a refusal is a vote
    that is masked with the answer (see `votes`): its total tells that one or more cohorts refused, and never which.
    """

    whose: Whose
    why: str
    instead: str
    votes: bool = False


_WIDER: Final = "Ask for a wider group: fewer conditions, merged levels, wider bands, more cohorts."
_FEWER: Final = "Ask for fewer covariates, interactions or spline knots, or for a wider group."
_TAMER: Final = "Take the logarithm or categories of what has extreme values, or leave it out."

RULES: Final[dict[str, Rule]] = {
    # Groups of people
    "min_people": Rule(
        Whose.policy,
        "A figure about a handful of people tells their own values to whoever knows some of them.",
        _WIDER,
        votes=True,
    ),
    "min_cell": Rule(
        Whose.policy,
        "A small cell of a table points at people: who is in it is often known, and the other margins tell more.",
        "Merge levels or leave a variable out of the table.",
    ),
    "max_cell_share": Rule(
        Whose.policy,
        "When nearly everybody in a line of a table is in one cell, whoever is in that line has that value.",
        "Merge lines of the table, or leave the variable out.",
    ),
    "min_interval": Rule(
        Whose.policy,
        "An interval of time in which few people enter or leave tells the dates of each of them.",
        "Ask for a wider `interval`.",
        votes=True,
    ),
    # Models
    "min_model_people": Rule(Whose.policy, "A model of few people repeats their values.", _WIDER, votes=True),
    "min_residual_df": Rule(
        Whose.policy,
        "A model with nearly as many parameters as people can be solved for each of them.",
        _FEWER,
        votes=True,
    ),
    "max_parameters_per_person": Rule(
        Whose.policy,
        "A model with many parameters for its people can be solved for them: its sums are a system of equations.",
        _FEWER,
        votes=True,
    ),
    "min_events_per_parameter": Rule(
        Whose.policy,
        "With few events per parameter a model describes the people who had them, and estimates are unstable as well.",
        "Ask for fewer covariates, a commoner outcome or longer follow-up.",
        votes=True,
    ),
    "min_carriers": Rule(
        Whose.policy,
        "A column that sets a few people apart turns a sum over everybody into a sum over just them.",
        "Merge levels, or leave the column out.",
        votes=True,
    ),
    "min_carriers_by_outcome": Rule(
        Whose.policy,
        "A column that few people with one of the outcomes stand behind tells what happened to them.",
        "Merge levels, leave the column out, or ask for a commoner outcome.",
        votes=True,
    ),
    "max_leverage": Rule(
        Whose.policy,
        "Somebody whose covariates are far from all others' determines the own fitted value, which tells the outcome.",
        _TAMER,
        votes=True,
    ),
    "max_predictor": Rule(
        Whose.policy,
        "Extreme coefficients give nearly all weight to one person, whose covariates the sums would then be.",
        "Leave out extreme values, or covariates that tell outcomes apart without exception.",
        votes=True,
    ),
    "max_rounds": Rule(
        Whose.policy,
        "Every round tells something more about the same people.",
        "Ask a simpler question, with fewer iterations.",
    ),
    # Shares of a sum
    "dominance": Rule(
        Whose.node,
        "A sum that is mostly one person's is that person's value.",
        "Ask for less skewed weights, or a wider group.",
        votes=True,
    ),
    "max_share_of_one": Rule(
        Whose.policy, "A sum that is mostly one person's is that person's value.", _TAMER, votes=True
    ),
    "max_share_of_two": Rule(
        Whose.policy,
        "When two people make up most of a sum, each of them can tell the other's value.",
        _TAMER,
        votes=True,
    ),
    "max_weight_share": Rule(
        Whose.policy,
        "When one person has much of the weight, a weighted sum is about that person.",
        "Ask for fewer or less skewed covariates or weights, or a wider group.",
        votes=True,
    ),
    "privacy_budget": Rule(
        Whose.policy,
        "Every answer with noise tells a little; a budget, granted by the permit and limited by the cohort, ends what "
        "many such answers could tell together.",
        "Ask with a smaller `rho`, or have the data access committee grant the study more.",
    ),
    "min_difference": Rule(
        Whose.policy,
        "Two answers about groups that differ by a few people tell about those few when one is taken from the other; "
        "so every answer is compared with those that the study, or its researcher, had before.",
        "Choose the people of a study once, and name in `complete` every variable that its questions need, from the "
        "first question on (`net.study(name, complete=[...])` says it once): then all are about the same people. Or "
        "ask about a group that differs by more.",
        votes=True,
    ),
    "budget_warn": Rule(
        Whose.policy,
        "The more figures a study is told, the nearer they come to telling what single people's values are.",
        "Nothing is refused yet. Plan what the study still has to ask: `study.budget()` says where it stands.",
    ),
    "budget_refuse": Rule(
        Whose.policy,
        "Enough figures about the same people determine their values, whatever each figure says by itself.",
        "Ask for smaller models, fewer groups and coarser grids; the same question asked again costs nothing. A new "
        "question is for the data access committee, as a new study.",
    ),
    # What is asked, and of whom
    "release_per_cohort": Rule(
        Whose.policy,
        "A cohort's own figures say more about its people than a total over all cohorts does.",
        "Ask for the pooled result.",
    ),
    "insecure": Rule(
        Whose.policy,
        "Each of two cohorts can tell the other's numbers from the sum; from three up nobody can.",
        "Ask more cohorts.",
    ),
    "approval": Rule(
        Whose.operator,
        "This cohort decides about every job by hand, and said no to this one, for the reason given.",
        "Talk to the cohort, and submit a job that answers its reason; or ask without this cohort.",
    ),
    "broadcast": Rule(
        Whose.node,
        "Values that come from outside can be chosen so that a sum over everybody becomes one person's.",
        "An honest analysis does not send such values. Submit the job again; if it is refused again, say so to the "
        "network's operator.",
    ),
    "declared_kinds": Rule(
        Whose.node,
        "What leaves a node is judged by the kind of quantity that the analysis declares; undeclared means refused.",
        "This is a fault of the analysis: report it to those who maintain it.",
    ),
}
"""The rules by the name that a refusal gives (`Refused.rule`); a policy's are its fields."""

VOTING: Final = tuple(sorted(name for name, rule in RULES.items() if rule.votes))
"""The rules that are voted on, in the order of the votes in an answer."""

KINDS: Final[dict[str, Rule]] = {
    "AwaitingApproval": Rule(
        Whose.operator,
        "Some cohorts decide about every job by hand.",
        "Nothing is lost: the job goes on by itself when they have approved it. You may also ask without them.",
    ),
    "NotPermitted": Rule(
        Whose.permit,
        "A study may ask what its permit names and nothing else; every node checks that itself.",
        "Ask within the permit, or ask the data access committee for a wider one.",
    ),
    "Expired": Rule(
        Whose.permit,
        "Permits, rosters and jobs hold for a stated time, so that nothing is asked on the strength of an old consent.",
        "Submit the job again; if the permit is over, ask the data access committee for a new one.",
    ),
    "NotYetValid": Rule(
        Whose.permit, "Permits and rosters hold from a stated time on.", "Submit the job again when that has come."
    ),
    "Revoked": Rule(
        Whose.roster,
        "The network's authority withdrew a key or a permit, which ends it everywhere.",
        "Ask the network's authority or the data access committee.",
    ),
    "Superseded": Rule(
        Whose.roster,
        "A newer roster ends every open job, so that nothing goes on in the name of who is no longer part of it.",
        "Connect again and submit the job again.",
    ),
    "AlreadyAnswered": Rule(
        Whose.node,
        "A round is answered once: two answers to nearly the same question differ by just the people in between.",
        "Submit a new job. If nobody changed anything meanwhile, the coordinator asked what it should not.",
    ),
    "Untrusted": Rule(
        Whose.node,
        "A node acts on documents that are signed, valid and belong together, and on nothing else.",
        "Connect again and submit the job again; if it fails again, say so to the network's operator.",
    ),
    "InvalidQuestion": Rule(
        Whose.question, "It cannot be asked as it stands; nothing was computed.", "Change what the message names."
    ),
    "CannotEstimate": Rule(
        Whose.data,
        "The data do not support the estimate; a number would only look like one.",
        "Change what the message names: usually fewer or other covariates.",
    ),
    "NodeFailed": Rule(
        Whose.coordinator,
        "A cohort's node could not answer, or its answer cannot be one.",
        "Submit the job again; if it fails again, its operator finds the reason in the node's log.",
    ),
    "JobCancelled": Rule(Whose.researcher, "Somebody ended the job.", "Submit it again if it is still wanted."),
    "ReplayDiffers": Rule(
        Whose.coordinator,
        "A job does not go on under another version of its analysis or dictionary than it began with.",
        "Submit the job again.",
    ),
    "CohortiumError": Rule(
        Whose.coordinator, "Something else went wrong; the message says what.", "Ask the network's operator."
    ),
}
"""Errors that are no disclosure rule, by class; one that is not here is explained as the class it derives from."""
