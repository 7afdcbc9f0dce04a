"""A node answers what its operator installed, after its policy agreed, and tells nothing else."""

import json
import sys
from types import MappingProxyType
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from cohortium import analysis as contract
from cohortium.analysis import Params, Rounds, ask
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.evidence import Evidence, Plain
from cohortium.messages import AnswerMessage, Introduction, QuestionMessage
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.result import Result
from node.answer import CohortNode
from node.disclosure import Policy

SECRET = 424242.125
DICTIONARY = Dictionary(name="d", version="1", variables={"x": Variable(type="number"), "y": Variable(type="number")})


class TotalParams(Params):
    variable: str = Field(description="What to add up.")


class Total(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


def total(data: Data, params: TotalParams, scale: float) -> Total:
    if scale == 13:
        raise ValueError(f"something about {data['x'][0]}")
    evidence = Evidence(weights=Plain("a scale"))
    return Total(n=len(data), total=scale * data[params.variable].sum(keepdims=True), evidence=evidence)


def totals(params: TotalParams) -> Rounds[Result]:
    """A total."""
    answer = yield from ask(total, scale=1.0)
    return Result(n=int(answer.n))


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})
    registered = contract.analysis(totals)
    monkeypatch.setattr(contract, "registry", lambda: MappingProxyType({"totals": registered}))
    return CohortNode("north", Data(DICTIONARY, {"x": np.full(20, SECRET)}, 20), Policy())


def question(**changes):
    fields = {
        "job": "j",
        "round": 1,
        "analysis": "totals",
        "statistic": "total",
        "params": {"variable": "x"},
        "dictionary": DICTIONARY.digest,
        "cohorts": ("north",),
    }
    return QuestionMessage(**(fields | changes))


def reply(node, asked, **broadcast):
    message, arrays = AnswerMessage.from_bytes(
        node.answer("question", asked.to_bytes({k: np.asarray(v, float) for k, v in broadcast.items()}))
    )
    return message.problem, arrays


def test_answers_a_question(node):
    problem, arrays = reply(node, question(), scale=2)
    assert problem is None
    assert arrays["n"] == 20
    np.testing.assert_array_equal(arrays["total"], [40 * SECRET])


def test_introduces_itself_without_a_count(node):
    introduction, arrays = Introduction.from_bytes(node.answer("introduction", b""))
    assert introduction.variables == ("x",)
    assert introduction.dictionary == DICTIONARY.digest
    assert arrays == {}


@pytest.mark.parametrize(
    ("asked", "broadcast", "kind", "words"),
    [
        (question(analysis="os"), {"scale": 1}, "UnknownName", "no analysis `os`"),
        (question(statistic="reply"), {"scale": 1}, "UnknownName", "no statistic of totals `reply`"),
        (question(statistic="totals"), {"scale": 1}, "UnknownName", "statistic"),
        (question(dictionary="other"), {"scale": 1}, "InvalidQuestion", "version 1 of the dictionary"),
        (question(params={"variable": "y"}), {"scale": 1}, "InvalidQuestion", "`y` was not collected"),
        (question(params={"variable": "x", "extra": 1}), {"scale": 1}, "UnknownName", "no parameter `extra`"),
        (question(), {}, "InvalidQuestion", "takes scale"),
        (question(), {"scale": 1, "more": 1}, "InvalidQuestion", "takes scale"),
        (question(), {"scale": np.nan}, "Refused", "not finite"),
        (question(), {"scale": 1e308}, "NodeFailed", "not finite"),
        (question(per_cohort=True), {"scale": 1}, "Refused", "own figures"),
    ],
)
def test_what_is_not_answered(node, asked, broadcast, kind, words):
    problem, arrays = reply(node, asked, **broadcast)
    assert (problem.kind, arrays) == (kind, {})
    assert words in problem.message


def test_a_small_cohort_refuses(node):
    node.data = Data(DICTIONARY, {"x": np.ones(9)}, 9)
    problem, arrays = reply(node, question(), scale=1)
    assert (problem.kind, problem.rule, arrays) == ("Refused", "min_people", {})


def test_statistics_know_the_least_group_of_the_policy():
    data = Data(DICTIONARY, {"x": np.ones(9)}, 9)
    assert data.least_group == 1
    assert CohortNode("c", data, Policy()).data.least_group == 10
    assert CohortNode("c", data, Policy(min_people=30, min_cell=5)).data.least_group == 30
    assert CohortNode("c", data, Policy.none()).data.least_group == 1


def test_an_unforeseen_error_keeps_its_words_at_the_node(node, caplog):
    problem, _ = reply(node, question(), scale=13)
    assert problem.kind == "NodeFailed"
    assert str(SECRET) not in problem.message + caplog.text
    assert problem.message.split()[-1].rstrip(".") in caplog.text
    assert "test_answer.py:" in caplog.text


def test_a_node_inside_another_program_is_silent(node, capfd):
    reply(node, question(), scale=1)
    assert capfd.readouterr() == ("", "")


def test_bytes_that_are_no_message_get_an_answer(node):
    message, _ = AnswerMessage.from_bytes(node.answer("question", b"GET / HTTP/1.1"))
    assert message.problem.kind == "MalformedMessage"


def test_the_code_identity_is_stable_and_follows_the_code(tmp_path, monkeypatch):
    from cohortium.identity import code_identity

    assert code_identity() == code_identity.__wrapped__()
    package = tmp_path / "more_analyses"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = type("Entry", (), {"value": "more_analyses"})
    monkeypatch.setattr("cohortium.identity.entry_points", lambda group: [entry])
    first = code_identity.__wrapped__()
    (package / "__init__.py").write_text("x = 2\n")
    assert code_identity.__wrapped__() != first
    assert json.dumps(first)
    sys.modules.pop("more_analyses")
