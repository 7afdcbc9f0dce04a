"""A journal that was changed, cut off or written anew is found out."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.chain import START, Entry, head, next_entry, verify_chain, verify_head
from cohortium.errors import BrokenChain, Untrusted
from cohortium.keys import public_text
from cohortium.messages import Position
from cohortium.signing import Signed, new_nonce, sign

KEY = Ed25519PrivateKey.generate()
PUBLIC = public_text(KEY.public_key())
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def journal(length, key=KEY, event="answered"):
    last, contents = START, []
    for number in range(length):
        signed = next_entry(last, key, owner="north", at=NOW, event=event, details={"round": number})
        last = signed.document.position
        contents.append(signed.to_bytes())
    return contents, last


def check(contents, *witnessed):
    return verify_chain(contents, PUBLIC, owner="north", witnessed=witnessed)


def test_an_honest_journal_is_verified():
    contents, last = journal(5)
    entries = check(contents, last, START)
    assert [e.number for e in entries] == [1, 2, 3, 4, 5]
    assert check([]) == []


@pytest.mark.parametrize("position", range(5))
def test_an_edit_is_detected(position):
    contents, _ = journal(5)
    contents[position] = contents[position].replace(b'"answered"', b'"answerex"')
    with pytest.raises(BrokenChain, match=f"Entry {position + 1}"):
        check(contents)


def test_an_edit_that_its_owner_signs_breaks_the_chain():
    contents, _ = journal(5)
    entry = Signed.from_bytes(Entry, contents[2]).document.model_copy(update={"event": "nothing"})
    contents[2] = sign(entry, KEY).to_bytes()
    with pytest.raises(BrokenChain, match="Entry 4 does not follow"):
        check(contents)


def test_what_was_taken_out_put_in_or_moved_is_detected():
    contents, _ = journal(5)
    for changed in (
        contents[1:],
        contents[:2] + contents[3:],
        [contents[1], contents[0], *contents[2:]],
        contents + contents[-1:],
    ):
        with pytest.raises(BrokenChain):
            check(changed)


def test_a_journal_that_was_cut_off_lacks_what_was_witnessed():
    contents, last = journal(5)
    assert len(check(contents[:3])) == 3, "by itself, the beginning of a journal is a journal"
    with pytest.raises(BrokenChain, match="cut off"):
        check(contents[:3], last)


def test_a_journal_written_anew_lacks_what_was_witnessed():
    _, last = journal(5)
    again, _ = journal(6, event="nothing")
    with pytest.raises(BrokenChain, match="written anew"):
        check(again, last)


def test_another_key_or_owner_is_not_taken():
    contents, _ = journal(2, key=Ed25519PrivateKey.generate())
    with pytest.raises(BrokenChain, match="Entry 1"):
        check(contents)
    with pytest.raises(BrokenChain, match="another journal"):
        verify_chain(journal(2)[0], PUBLIC, owner="south")


def test_a_head_is_good_for_one_nonce():
    nonce = new_nonce()
    position = Position(number=3, entry="a" * 64)
    said = head(position, KEY, owner="north", nonce=nonce)
    assert verify_head(said, PUBLIC, owner="north", nonce=nonce) == position
    for changed in ({"nonce": new_nonce()}, {"owner": "south"}):
        with pytest.raises(BrokenChain):
            verify_head(said, PUBLIC, **{"owner": "north", "nonce": nonce} | changed)
    stranger = public_text(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(Untrusted):
        verify_head(said, stranger, owner="north", nonce=nonce)
