import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.keys import load_key, new_key


def test_a_key_pair_is_written_once_and_its_private_half_is_private(tmp_path):
    public = new_key(tmp_path / "node.key")
    assert public == tmp_path / "node.key.pub"
    assert b"PUBLIC KEY" in public.read_bytes()
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert load_key(tmp_path / "node.key").curve.name == "secp256r1"
    with pytest.raises(FileExistsError):
        new_key(tmp_path / "node.key")


def test_openssh_keys_can_be_used(tmp_path):
    key = ec.generate_private_key(ec.SECP384R1())
    (tmp_path / "k").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    assert load_key(tmp_path / "k").private_numbers() == key.private_numbers()


def test_other_keys_cannot(tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "k").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="elliptic-curve"):
        load_key(tmp_path / "k")
