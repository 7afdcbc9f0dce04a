"""Keys: how they are made, written as text, and kept.

Ed25519 keys sign (a member's identity, a researcher, a committee, the network's authority), X25519 keys make masks.
A public key is written as `ed25519:` or `x25519:` and its 32 bytes in base64. A private key is a PKCS 8 file in PEM
that only its owner may read, encrypted if a passphrase is given.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import AfterValidator

from cohortium.errors import InvalidKey

PrivateKey = Ed25519PrivateKey | X25519PrivateKey
PublicKey = Ed25519PublicKey | X25519PublicKey

_SIGNING, _MASKING = "ed25519:", "x25519:"


@dataclass(frozen=True)
class Keys:
    """The two private keys of a member: `identity` signs its answers, `masking` hides what is in them."""

    identity: Ed25519PrivateKey = field(repr=False)
    masking: X25519PrivateKey = field(repr=False)


def new_keys() -> Keys:
    """Fresh keys for a member."""
    return Keys(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())


def public_text(key: PublicKey) -> str:
    """A public key as text."""
    prefix = _SIGNING if isinstance(key, Ed25519PublicKey) else _MASKING
    return prefix + base64.b64encode(key.public_bytes_raw()).decode()


def signing_key(text: str) -> Ed25519PublicKey:
    """The public key that was written as `ed25519:…`. Raises InvalidKey."""
    return Ed25519PublicKey.from_public_bytes(_raw(text, _SIGNING))


def masking_key(text: str) -> X25519PublicKey:
    """The public key that was written as `x25519:…`. Raises InvalidKey."""
    return X25519PublicKey.from_public_bytes(_raw(text, _MASKING))


def _raw(text: str, prefix: str) -> bytes:
    try:
        raw = base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # base64 can write the same bytes in several ways, and X25519 ignores the last bit; a key has one name only.
    again = len(raw) == 32 and prefix == _MASKING and raw[31] >= 0x80
    if len(raw) != 32 or again or text != prefix + base64.b64encode(raw).decode():
        raise InvalidKey(f"A public key is written as `{prefix}` and 32 bytes in base64.")
    return raw


def _check_signing(text: str) -> str:
    _as_value_error(text, _SIGNING)
    return text


def _check_masking(text: str) -> str:
    _as_value_error(text, _MASKING)
    return text


def _as_value_error(text: str, prefix: str) -> None:
    try:
        _raw(text, prefix)
    except InvalidKey as error:
        raise ValueError(error.message) from None


SigningKeyText = Annotated[str, AfterValidator(_check_signing)]
MaskingKeyText = Annotated[str, AfterValidator(_check_masking)]


def write_key(key: PrivateKey, path: Path, passphrase: str | None = None) -> None:
    """Keep a private key in a new file that only its owner may read.

    Raises FileExistsError: keys are never replaced.
    """
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        if not passphrase:
            raise InvalidKey("A passphrase must not be empty; leave it out to keep the key unencrypted.")
        encryption = BestAvailableEncryption(passphrase.encode())
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def read_signing_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """The Ed25519 private key in a file. Raises InvalidKey, also when others may read the file."""
    key = _read(path, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidKey(f"{path} holds no Ed25519 key, which is what signs.")
    return key


def read_masking_key(path: Path, passphrase: str | None = None) -> X25519PrivateKey:
    """The X25519 private key in a file. Raises InvalidKey, also when others may read the file."""
    key = _read(path, passphrase)
    if not isinstance(key, X25519PrivateKey):
        raise InvalidKey(f"{path} holds no X25519 key, which is what makes masks.")
    return key


def _read(path: Path, passphrase: str | None) -> object:
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidKey(f"Others may read {path}; take that away (`chmod 600`) and consider a new key.")
            content = file.read(2**16)
    except OSError as error:
        raise InvalidKey(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return load_pem_private_key(content, passphrase.encode() if passphrase else None)
    except TypeError:  # how `cryptography` says that there is a passphrase too many or too few
        need = "is not encrypted, but a passphrase was given" if passphrase else "is encrypted: it needs its passphrase"
        raise InvalidKey(f"{path} {need}.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKey(f"{path} is not a private key, or the passphrase is wrong.") from None
