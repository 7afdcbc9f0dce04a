import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium import parcel
from cohortium.parcel import join, split


@given(kind=st.text(), payload=st.binary(max_size=100), size=st.integers(1, 30), shuffle=st.randoms())
def test_parts_in_any_order_give_back_the_payload(kind, payload, size, shuffle):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parcel, "PART_SIZE", size)
        parts = split(kind, payload, "a message")
        shuffle.shuffle(parts)
        assert join(parts) == (kind, payload)
        assert all(len(part["data"]) <= size for part in parts)


def test_a_small_payload_is_one_part():
    assert len(split("kind", b"", "m")) == len(split("kind", b"small", "m")) == 1


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{}],
        [{"kind": "a", "part": 0, "of": 2, "data": b""}],
        [{"kind": "a", "part": 1, "of": 1, "data": b""}],
        [{"kind": "a", "part": 0, "of": 1, "data": "text"}],
        [{"kind": "a", "part": 0, "of": 2, "data": b""}, {"kind": "b", "part": 1, "of": 2, "data": b""}],
    ],
)
def test_parts_that_are_no_payload_are_refused(parts):
    with pytest.raises(ValueError, match="message"):
        join(parts)
