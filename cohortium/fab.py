"""The identity bundle: a Flower app bundle (FAB) whose SHA-256 names a version of the analyses.

Flower identifies what a run executes by the hash of its bundle. A Cohortium node never unpacks or runs one: it answers
a run only if this hash is one that its own installation computes. Coordinator and node therefore build the same bytes
independently, from the same identity, on any machine. A stock SuperNode that runs one fails loudly.
"""

import hashlib
import io
import json
import zipfile

_PROJECT = """\
[project]
name = "cohortium-analyses"
version = "1.0.0"
description = "Identity only. Nodes match its SHA-256 and call the analyses that their operator installed."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "cohortium"

[tool.flwr.app.components]
serverapp = "cohortium_identity:server"
clientapp = "cohortium_identity:client"

[tool.flwr.app.config]
identity = {identity}
"""
_STUB = """\
raise RuntimeError("This bundle is an identity, not a program: start `cohortium node` instead of a stock SuperNode.")
"""
_MANIFEST = ".info/CONTENT"


def fab(identity: str) -> bytes:
    """The bundle that stands for `identity`, such as a version and a digest of the code: the same bytes everywhere."""
    files = {
        "pyproject.toml": _PROJECT.format(identity=json.dumps(identity)),
        "cohortium_identity/__init__.py": _STUB,
    }
    files[_MANIFEST] = "\n".join(_manifest_line(name, text.encode()) for name, text in files.items())
    return _zip(files)


def fab_hash(identity: str) -> str:
    """The SHA-256, in hex, of `fab(identity)`: what a node compares with the bundle hash of a run."""
    return hashlib.sha256(fab(identity)).hexdigest()


def _manifest_line(name: str, content: bytes) -> str:
    """Flower's manifest gives each file's path, hash and size in bits."""
    return f"{name},{hashlib.sha256(content).hexdigest()},{8 * len(content)}"


def _zip(files: dict[str, str]) -> bytes:
    """Not Flower's own builder: it compresses (zlib's output varies by build) and records the writer's platform."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, date_time=(2024, 10, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()
