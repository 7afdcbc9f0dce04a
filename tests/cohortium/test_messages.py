"""Messages survive the journey exactly, and hostile bytes are turned away."""

import contextlib
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohortium.errors import FormulaError, Problem, Refused
from cohortium.messages import AnswerMessage, JobState, MalformedMessage, QuestionMessage

QUESTION = QuestionMessage(
    job="j1",
    round=2,
    analysis="glm",
    statistic="terms",
    params={"formula": "y ~ x"},
    dictionary="d",
    cohorts=("a", "b"),
)
finite = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.floats(allow_nan=False)
)


@given(st.dictionaries(st.text(alphabet="abc._", min_size=1, max_size=5), finite, max_size=4))
def test_round_trip_is_exact(arrays):
    header, received = QuestionMessage.from_bytes(QUESTION.to_bytes(arrays))
    assert header == QUESTION
    assert set(received) == set(arrays)
    for name, array in arrays.items():
        assert received[name].shape == array.shape
        assert received[name].tobytes() == array.tobytes()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(message):
    with pytest.raises(MalformedMessage):
        AnswerMessage.from_bytes(message)


@given(st.data())
def test_a_damaged_message_is_read_or_malformed_but_nothing_else(data):
    message = bytearray(QUESTION.to_bytes({"beta": np.ones(3)}))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedMessage):
        QuestionMessage.from_bytes(bytes(message))


def test_compressed_archives_are_turned_away():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", b"\0" * 10**6)
    with pytest.raises(MalformedMessage, match="uncompressed"):
        AnswerMessage.from_bytes(buffer.getvalue())


def test_objects_are_never_unpickled():
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(MalformedMessage):
        AnswerMessage.from_bytes(buffer.getvalue())


def test_arrays_travel_as_float64_only():
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(b"{}", np.uint8), **{"a:n": np.ones(2, dtype=np.int64)})
    with pytest.raises(MalformedMessage, match="float64"):
        AnswerMessage.from_bytes(buffer.getvalue())


def test_problems_become_the_same_errors_again():
    refused = Refused("too few", rule="min_people", cohort="north")
    again = Refused.from_problem(Problem.model_validate_json(refused.problem().model_dump_json()))
    assert (type(again), again.rule, again.cohort) == (Refused, "min_people", "north")
    formula = FormulaError("no", "y ~ z", 4)
    again = FormulaError.from_problem(formula.problem())
    assert str(again) == str(formula)


def test_final_states():
    unfinished = [JobState.submitted, JobState.awaiting_approval, JobState.running]
    assert [s for s in JobState if not s.is_final] == unfinished
