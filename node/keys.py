"""The key that a node proves itself with to the coordinator."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)


def new_key(path: Path) -> Path:
    """Make a key pair: the private key at `path`, which only its owner may read, and the public key in `path`.pub.

    P-256, because a key signs every request and larger curves are several times slower; Flower accepts any NIST curve.

    Returns:
        The path of the public key, which the coordinator's operator enrols.

    Raises:
        FileExistsError: There is a file at `path` already; keys are never overwritten.

    """
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    public = path.with_name(path.name + ".pub")
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key, PEM or OpenSSH, without passphrase.

    Raises:
        ValueError: Not an elliptic-curve private key.

    """
    content = path.read_bytes()
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
    key = load(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic-curve key; make one with `cohortium node init`.")
    return key
