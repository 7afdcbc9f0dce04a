"""What a network runs, as one string: version and a digest of the code that computes.

Nodes and coordinator must agree on it. A node answers only runs whose bundle stands for its own identity, so two
releases, or a patched analysis, never add up by accident.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import cohortium


@cache
def code_identity() -> str:
    """`version+digest`: SHA-256 over the sources of the contract and of every installed package of analyses."""
    digest = hashlib.sha256()
    for package, path in _sources():
        digest.update(f"{package}/{path.name}".encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return f"{cohortium.__version__}+{digest.hexdigest()[:32]}"


def _sources() -> Iterator[tuple[str, Path]]:
    for name in ["cohortium", *sorted(e.value for e in entry_points(group="cohortium.analyses"))]:
        root = Path(import_module(name).__path__[0])
        for path in sorted(root.rglob("*.py")):
            yield f"{name}/{path.parent.relative_to(root).as_posix()}", path
