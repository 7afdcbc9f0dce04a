"""Explanations: every rule that any code can raise has one, in constant words."""

import ast
import importlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cohortium
from cohortium.errors import (
    AwaitingApproval,
    CohortiumError,
    Collinear,
    NotConverged,
    NotPermitted,
    Problem,
    Refused,
    UnknownName,
    WrongReference,
)
from cohortium.explain import explain, explain_job
from cohortium.messages import JobState, JobView, Progress
from cohortium.rules import KINDS, RULES, VOTING, Whose
from node.disclosure import Policy

HOUSE = Path(cohortium.__file__).parents[1]
ROOMS = ("cohortium", "algorithms", "node", "coordinator", "simulation")
FILES = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))


def texts(node):
    """Every constant text that an expression can be: a text, or the branches of a condition."""
    match node:
        case ast.Constant(value=str() as text):
            return {text}
        case ast.IfExp():
            return texts(node.body) | texts(node.orelse)
    return set()


def parameters(function):
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def rules_raised(tree):
    """The names that reach a `rule=`, directly or through functions of the same module with a parameter `rule`."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    taking = {f.name: parameters(f).index("rule") for f in functions if "rule" in parameters(f)}
    found = set()
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        found |= {text for keyword in call.keywords if keyword.arg == "rule" for text in texts(keyword.value)}
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if name in taking and len(call.args) > taking[name]:
            found |= texts(call.args[taking[name]])
    return found


def raised_anywhere():
    return {rule for path in FILES for rule in rules_raised(ast.parse(path.read_text(encoding="utf-8")))}


def test_the_search_finds_what_is_named_directly_and_through_a_function():
    source = """
def refuse_if(bad, rule, what):
    raise Refused(what, rule=rule)
refuse_if(1, "one", "words")
raise Refused("words", rule="two" if x else "three")
"""
    assert rules_raised(ast.parse(source)) == {"one", "two", "three"}
    assert {"min_people", "min_interval", "insecure", "broadcast", "declared_kinds"} <= raised_anywhere()


def test_every_rule_that_code_can_raise_is_in_the_table():
    raised = raised_anywhere() - {"unnamed"}
    assert not raised - RULES.keys(), f"cohortium/rules.py lacks {sorted(raised - RULES.keys())}"


def test_every_rule_of_a_policy_is_in_the_table():
    assert not Policy.model_fields.keys() - RULES.keys()


def test_who_refuses_is_told_only_of_rules_that_do_not_look_at_the_rows():
    withheld = {"min_cell", "max_cell_share"}  # nothing is refused: the cells are marked, and the marks are masked
    blind = {"approval", "insecure", "max_rounds", "privacy_budget", "release_per_cohort"}
    assert Policy.model_fields.keys() - set(VOTING) == withheld | blind | {"budget_warn"}


def test_every_error_has_an_explanation():
    for room in ROOMS:
        importlib.import_module(room)
    for name in CohortiumError.kinds:
        explained = explain(Problem(kind=name, message="m"))
        assert explained.why
        assert explained.instead
    assert KINDS.keys() <= CohortiumError.kinds.keys() | {"CohortiumError", "ReplayDiffers"}


def test_the_words_of_a_rule_are_constant():
    for rule in [*RULES.values(), *KINDS.values()]:
        assert not re.search(r"\d|\{|%", rule.why + rule.instead), "no threshold, and nothing to fill in"
        assert rule.why.endswith(".")
        assert rule.instead.endswith(".")


def test_a_refusal_says_whose_rule_it_is():
    error = Refused("south: `n` counts fewer than 10 people.", rule="min_people", cohort="south")
    told = error.explain()
    assert (told.rule, told.whose) == ("min_people", "the policy of `south`")
    assert "`min_people`, of the policy of `south`" in str(told)
    assert RULES["min_people"].instead in str(told)
    assert error.message in str(told)
    assert Refused("words", rule="min_people").explain().whose == "the policy of one or more cohorts"


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (NotPermitted("m", cohort="north"), Whose.permit),
        (Refused("m", rule="approval", cohort="north"), "the operator of `north`"),
        (Refused("m", rule="broadcast", cohort="north"), "the node of `north`, whatever its policy"),
        (Collinear("m"), Whose.data),
        (NotConverged("m"), Whose.data),
        (UnknownName("m"), Whose.question),
        (WrongReference("m"), "every node, whatever its policy"),
        (AwaitingApproval("m"), "the operators of one or more cohorts"),
        (CohortiumError("m"), Whose.coordinator),
    ],
)
def test_whose_it_is(error, whose):
    assert error.explain().whose == str(whose)


def test_a_rule_of_a_newer_node_is_explained_as_far_as_possible():
    told = Refused("north: words", rule="from_the_future", cohort="north").explain()
    assert "`from_the_future`" in told.why
    assert told.whose == "the policy of `north`"


def test_the_count_that_failed_is_nowhere():
    """What a node says of three people is, to the letter, what it says of nine."""
    from simulation import network

    def refusal(people):
        frames = {name: {"x": [float(v) for v in range(20)]} for name in ("a", "b", "c")}
        frames["b"] = {"x": [float(v) for v in range(people)]}
        import polars as pl

        net = network({name: pl.DataFrame(frame) for name, frame in frames.items()}, policy=Policy())
        with pytest.raises(Refused) as refused:
            net.study().describe(variables=["x"]).result()
        return str(refused.value.explain())

    assert refusal(3) == refusal(9)


def view(state, **changes):
    fields = {"id": "j", "study": "s", "analysis": "a", "params": {}, "cohorts": ("north", "south")}
    return JobView(**fields, state=state, submitted=datetime.now(UTC), **changes)


def test_a_job_that_waits_says_for_whom_and_one_that_runs_that_nothing_is_wrong():
    waiting = explain_job(view(JobState.awaiting_approval, progress=Progress(round=1, waiting_for=("south",))))
    assert waiting.whose == "the operators of south"
    assert "running" in str(explain_job(view(JobState.running)))
    problem = Problem(kind="Refused", rule="min_cell", message="m", cohort="north")
    assert explain_job(view(JobState.refused, problem=problem)).rule == "min_cell"
