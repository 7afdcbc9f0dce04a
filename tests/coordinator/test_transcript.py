"""What a job was told is read back to the last bit, and every question has a digest of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tally import Total

from cohortium.messages import QuestionMessage
from coordinator.transcript import question_digest, read_totals, write_totals

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(n=finite, total=finite)
def test_totals_are_read_back_to_the_last_bit(n, total):
    back = read_totals(Total, write_totals(Total(n=n, total=np.asarray(total))))
    assert (np.float64(back.n).tobytes(), np.float64(back.total).tobytes()) == (
        np.float64(n).tobytes(),
        np.float64(total).tobytes(),
    )


def test_answers_per_cohort_are_read_back_by_cohort():
    totals = {"north": Total(n=1, total=np.asarray(2.0)), "south-east": Total(n=3, total=np.asarray(4.0))}
    assert read_totals(Total, write_totals(totals)) == totals


QUESTION = QuestionMessage(
    job="j", round=1, analysis="a", statistic="s", params={"x": 1}, dictionary="d", cohorts=("north",)
)
BROADCAST = {"beta": np.asarray([1.0, 2.0])}


@pytest.mark.parametrize(
    ("changes", "broadcast"),
    [
        ({"job": "k"}, BROADCAST),
        ({"round": 2}, BROADCAST),
        ({"statistic": "t"}, BROADCAST),
        ({"params": {"x": 2}}, BROADCAST),
        ({"cohorts": ("north", "south")}, BROADCAST),
        ({"per_cohort": True}, BROADCAST),
        ({}, {"beta": np.nextafter([1.0, 2.0], np.inf)}),
        ({}, {"beta": np.asarray([[1.0, 2.0]])}),
        ({}, {"gamma": np.asarray([1.0, 2.0])}),
        ({}, {}),
    ],
)
def test_another_question_has_another_digest(changes, broadcast):
    assert question_digest(QUESTION.model_copy(update=changes), broadcast) != question_digest(QUESTION, BROADCAST)


def test_the_same_question_has_the_same_digest():
    assert question_digest(QUESTION.model_copy(), dict(BROADCAST)) == question_digest(QUESTION, BROADCAST)
