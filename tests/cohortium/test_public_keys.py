"""Keys as text and in files: one name per key, and files for their owner only."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cohortium.errors import InvalidKey
from cohortium.keys import (
    masking_key,
    new_keys,
    public_text,
    read_masking_key,
    read_signing_key,
    signing_key,
    write_key,
)


def test_public_keys_are_written_and_read_back():
    keys = new_keys()
    identity, masking = public_text(keys.identity.public_key()), public_text(keys.masking.public_key())
    assert identity.startswith("ed25519:")
    assert masking.startswith("x25519:")
    assert public_text(signing_key(identity)) == identity
    assert public_text(masking_key(masking)) == masking
    assert new_keys() != keys


def test_a_public_key_has_one_name_only():
    text = public_text(new_keys().identity.public_key())
    body = text.removeprefix("ed25519:")
    raw = base64.b64decode(body)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(body[42])
    twin = body[:42] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last ^ 1] + "="
    assert base64.b64decode(twin) == raw, "the same bytes, written differently"
    for wrong in (
        f"ed25519:{twin}",
        body,
        f"x25519:{body}",
        f"ed25519: {body}",
        f"{text}\n",
        text[:-1],
        "ed25519:",
        "é",
    ):
        with pytest.raises(InvalidKey, match="32 bytes in base64"):
            signing_key(wrong)


def test_a_masking_key_has_no_twin_with_its_ignored_bit_set():
    raw = bytearray(new_keys().masking.public_key().public_bytes_raw())
    raw[31] |= 0x80
    with pytest.raises(InvalidKey):
        masking_key("x25519:" + base64.b64encode(bytes(raw)).decode())


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_private_keys_are_kept_for_their_owner_only(tmp_path, passphrase):
    keys = new_keys()
    write_key(keys.identity, tmp_path / "identity.pem", passphrase)
    write_key(keys.masking, tmp_path / "masking.pem", passphrase)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert (b"ENCRYPTED" in path.read_bytes()) == (passphrase is not None)
    identity = read_signing_key(tmp_path / "identity.pem", passphrase)
    assert identity.private_bytes_raw() == keys.identity.private_bytes_raw()
    masking = read_masking_key(tmp_path / "masking.pem", passphrase)
    assert masking.private_bytes_raw() == keys.masking.private_bytes_raw()


def test_an_existing_key_is_never_replaced(tmp_path):
    write_key(new_keys().identity, tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(FileExistsError):
        write_key(new_keys().identity, tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def test_what_is_wrong_with_a_key_file_is_said(tmp_path):
    keys = new_keys()
    plain, locked, text, other = (tmp_path / name for name in ("plain", "locked", "text", "other"))
    write_key(keys.identity, plain)
    write_key(keys.identity, locked, "right")
    for path, content in (
        (text, b"hello"),
        (
            other,
            ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ),
    ):
        path.write_bytes(content)
        path.chmod(0o600)
    for path, passphrase, why in (
        (tmp_path / "absent", None, "cannot be read"),
        (tmp_path, None, "cannot be read|Others may read"),
        (locked, None, "needs its passphrase"),
        (locked, "wrong", "passphrase is wrong"),
        (plain, "needless", "not encrypted"),
        (text, None, "not a private key"),
        (other, None, "no Ed25519 key"),
    ):
        with pytest.raises(InvalidKey, match=why) as caught:
            read_signing_key(path, passphrase)
        assert passphrase is None or passphrase == "wrong" or passphrase not in caught.value.message
    with pytest.raises(InvalidKey, match="no X25519 key"):
        read_masking_key(plain)
    with pytest.raises(InvalidKey, match="must not be empty"):
        write_key(keys.identity, tmp_path / "new", "")
    plain.chmod(0o640)
    with pytest.raises(InvalidKey, match="Others may read"):
        read_signing_key(plain)


def test_private_keys_are_not_shown():
    assert repr(new_keys()) == "Keys()"
