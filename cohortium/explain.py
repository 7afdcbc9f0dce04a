"""Why a question got no answer, in full: which rule, whose it is, why it exists, how to ask instead.

    try:
        job.result()
    except cohortium.CohortiumError as error:
        print(error.explain())

What is said beyond the error's own words comes from one table (`rules`) and is the same whatever the data are.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohortium.errors import CohortiumError, Problem
from cohortium.messages import JobState, JobView
from cohortium.rules import KINDS, RULES, Rule, Whose


@dataclass(frozen=True)
class Explanation:
    """An explanation of a problem. Prints as text; `rule` is None where no disclosure rule is behind it."""

    what: str
    rule: str | None
    whose: str
    why: str
    instead: str

    def __str__(self) -> str:
        named = f"`{self.rule}`, of {self.whose}" if self.rule else self.whose
        said = {"What": self.what, "Whose rule": named, "Why": self.why, "Instead": self.instead}
        return "\n".join(f"{name:<10}  {words}" for name, words in said.items() if words)


def explain(problem: Problem) -> Explanation:
    """Explain a problem as it crossed the network."""
    rule = _rule(problem)
    return Explanation(problem.message, problem.rule, _whose(rule, problem.cohort), rule.why, rule.instead)


def explain_job(view: JobView) -> Explanation:
    """Explain why a job has no result; one that has, or may still have, says so."""
    if view.problem is not None:
        return explain(view.problem)
    if view.state is JobState.awaiting_approval:
        waiting = ", ".join(view.progress.waiting_for)
        rule = KINDS["AwaitingApproval"]
        what = f"The job waits for the approval of {waiting}."
        return Explanation(what, None, f"the operators of {waiting}", rule.why, rule.instead)
    return Explanation(f"Nothing kept the job from an answer: it is {view.state}.", None, "nobody", "", "")


def _rule(problem: Problem) -> Rule:
    if problem.rule is not None:
        return RULES.get(problem.rule, _unknown(problem.rule))
    kind = CohortiumError.kinds.get(problem.kind, CohortiumError)
    return next(KINDS[base.__name__] for base in kind.__mro__ if base.__name__ in KINDS)


def _unknown(name: str) -> Rule:
    return Rule(
        Whose.policy,
        f"This version of Cohortium does not know the rule `{name}`; the cohort's own may be newer.",
        "Do as the message says, or ask the cohort.",
    )


def _whose(rule: Rule, cohort: str | None) -> str:
    """Who set the rule, by name where that is known."""
    match rule.whose:
        case Whose.policy:
            return f"the policy of `{cohort}`" if cohort else "the policy of one or more cohorts"
        case Whose.operator:
            return f"the operator of `{cohort}`" if cohort else "the operators of one or more cohorts"
        case Whose.node:
            return f"the node of `{cohort}`, whatever its policy" if cohort else "every node, whatever its policy"
    return str(rule.whose)
