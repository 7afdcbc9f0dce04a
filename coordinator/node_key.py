"""The public key that a cohort's node proves itself with, as its operator hands it over."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

NIST = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def canonical(public_key: bytes) -> bytes:
    """One spelling of a key in PEM or OpenSSH form: the one that Flower's nodes send.

    Raises:
        ValueError: Not a public key, or not on a NIST curve.

    """
    text = public_key.strip()
    try:
        key = load_ssh_public_key(text) if text.startswith(b"ecdsa-") else load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("This is not a public key in PEM or OpenSSH form.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, NIST):
        raise ValueError("A node's key must be an elliptic-curve key on a NIST curve.")
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
