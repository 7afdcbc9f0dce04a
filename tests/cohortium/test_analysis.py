"""The one abstraction: questions out, sums in, and one loop that drives it."""

import sys
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from cohortium import analysis as contract
from cohortium.analysis import Params, Question, Rounds, ask, ask_each, conduct
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import FormulaError, InvalidQuestion, UnknownName
from cohortium.formula import Formula
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.result import Result

DICTIONARY = Dictionary(name="d", version="1", variables={"x": Variable(type="number")})


class MeanParams(Params):
    variable: str = Field(description="What to average.")
    formula: Formula | None = Field(None, description="Unused, to be checked.")

    def check(self) -> None:
        self.dictionary[self.variable]


class Total(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


class MeanResult(Result):
    mean: float
    each: dict[str, float]


def shifted_total(data: Data, params: MeanParams, shift: float) -> Total:
    x = data[params.variable] - shift
    return Total(n=len(x), total=x.sum(keepdims=True))


def not_a_statistic(data: Data) -> float:
    return 0.0


@pytest.fixture
def mean(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})

    def mean(params: MeanParams) -> Rounds[MeanResult]:
        """Average of a variable.

        More words.
        """
        first = yield from ask(shifted_total, shift=0.0)
        centre = float(first.total[0] / first.n)
        second = yield from ask(shifted_total, shift=centre)
        each = yield from ask_each(shifted_total, shift=0.0)
        return MeanResult(
            n=int(first.n), mean=centre + float(second.total[0] / second.n), each={k: v.n for k, v in each.items()}
        )

    return contract.analysis(mean)


@pytest.fixture
def params():
    return MeanParams.bind({"variable": "x"}, DICTIONARY)


def answering(question: Question):
    shift = float(question.broadcast["shift"])
    total = Total(n=4, total=np.array([10.0 - 4 * shift]))
    return {"north": total} if question.per_cohort else total


def test_conduct_puts_each_question_and_counts_the_rounds(mean, params):
    result = conduct(mean, params, answering)
    assert (result.mean, result.n, result.rounds, result.analysis) == (2.5, 4, 3, "mean")
    assert result.each == {"north": 4}


def test_the_log_of_questions_and_sums_replays_the_result(mean, params):
    log = []

    def recording(question):
        log.append((question, answering(question)))
        return log[-1][1]

    first = conduct(mean, params, recording)
    replay = iter(log)

    def replaying(question):
        asked, answer = next(replay)
        assert asked.statistic == question.statistic
        np.testing.assert_array_equal(asked.broadcast["shift"], question.broadcast["shift"])
        return answer

    assert conduct(mean, params, replaying) == first


def test_what_the_network_raises_ends_the_analysis(mean, params):
    def unreachable(question):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        conduct(mean, params, unreachable)


def test_a_registered_analysis_knows_its_statistics(mean):
    assert mean.title == "Average of a variable."
    assert list(mean.statistics) == ["shifted_total"]
    assert mean.sums("shifted_total") is Total
    assert mean.module is sys.modules[__name__]
    with pytest.raises(UnknownName, match="Did you mean `shifted_total`"):
        mean.statistic("shifted_totl")
    assert mean.view().params["properties"]["variable"]["description"] == "What to average."


def test_parameters_are_bound_to_a_dictionary():
    with pytest.raises(UnknownName, match="no variable `y`"):
        MeanParams.bind({"variable": "y"}, DICTIONARY)
    with pytest.raises(FormulaError, match="no variable `z`"):
        MeanParams.bind({"variable": "x", "formula": "x ~ z"}, DICTIONARY)
    with pytest.raises(InvalidQuestion, match="variable: Field required"):
        MeanParams.bind({}, DICTIONARY)
    with pytest.raises(InvalidQuestion, match="bound to a dictionary first"):
        MeanParams(variable="x").dictionary  # noqa: B018


def test_a_complaint_does_not_repeat_the_value():
    with pytest.raises(InvalidQuestion) as caught:
        MeanParams.bind({"variable": 12345}, DICTIONARY)
    assert "12345" not in str(caught.value)


def test_unknown_analysis_is_named():
    with pytest.raises(UnknownName, match="no analysis `glmm`"):
        contract.find("glmm")
