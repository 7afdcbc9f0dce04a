"""A result as one file to keep and to share: exact numbers, and everything a reader without Cohortium needs."""

from __future__ import annotations

import csv
import hashlib
import io
import platform
import re
import zipfile
import zlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

import cohortium
from cohortium import report
from cohortium.client import read_result
from cohortium.errors import CohortiumError
from cohortium.result import Result

MAX_RESULT_BYTES = 256 * 2**20
MAX_PROOF_BYTES = 2**32
PROOF = "proof.zip"
_MAX_MANIFEST_BYTES = 2**20
# A bundle of the same result is the same file, whenever it is written.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class InvalidBundle(CohortiumError):
    """A file that is not a saved result, or not the one that was saved."""


class Manifest(BaseModel):
    """What is in the bundle and what made it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    analysis: str
    sha256: str
    cohortium: str
    python: str


def save(result: Result, path: Path | str) -> Path:
    """Write `result` as a zip file and return its path; an existing file is replaced only by a whole one."""
    path = Path(path)
    written = path.with_name(f".{path.name}.partial")
    try:
        written.write_bytes(_zipped(result))
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    return path


def load(path: Path | str) -> Result:
    """The result that `save` wrote, as the result class of its analysis, bit for bit.

    Nothing is unpacked or executed. Raises InvalidBundle for anything but an undamaged bundle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest.model_validate_json(_read(archive, "manifest.json", _MAX_MANIFEST_BYTES))
            content = _read(archive, "result.json", MAX_RESULT_BYTES)
            proof = _read(archive, PROOF, MAX_PROOF_BYTES) if PROOF in archive.namelist() else None
    except FileNotFoundError:
        raise InvalidBundle(f"There is no file {path}.") from None
    except (zipfile.BadZipFile, zlib.error, ValidationError, OSError, RuntimeError, EOFError, ValueError):
        raise InvalidBundle(f"{path} is not a result that Cohortium saved.") from None
    if manifest.format != 1:
        raise InvalidBundle(f"{path} was saved by a later version of Cohortium ({manifest.cohortium[:20]}).")
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise InvalidBundle(f"{path} was changed after it was saved.")
    result = read_result(manifest.analysis, content)
    return result if proof is None else result.provable_by(lambda: proof)


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    entries = [entry for entry in archive.infolist() if entry.filename == name]
    if len(entries) != 1 or entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidBundle(f"{archive.filename} is not a result that Cohortium saved: it has no single {name}.")
    # What the archive says about sizes is not believed: a bomb is noticed while it unpacks.
    with archive.open(name) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise InvalidBundle(f"{archive.filename} is not a result that Cohortium saved: {name} is too large.")
    return content


def _zipped(result: Result) -> bytes:
    content = result.model_dump_json().encode()
    manifest = Manifest(
        analysis=result.analysis,
        sha256=hashlib.sha256(content).hexdigest(),
        cohortium=cohortium.__version__,
        python=platform.python_version(),
    )
    files: dict[str, str | bytes] = {
        "manifest.json": manifest.model_dump_json(indent=2),
        "result.json": content,
        "summary.txt": report.as_text(result) + "\n",
        "report.html": report.as_page(result),
        "methods.txt": result.methods() + "\n",
        **({PROOF: proof} if (proof := result.proof()) is not None else {}),
        **{f"tables/{i}-{_slug(t.title)}.csv": _csv(t) for i, t in enumerate(result.tables(), 1)},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _csv(table: report.Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(map(_inert, table.columns))
    writer.writerows([_inert(value) for value in row] for row in table.rows)
    return buffer.getvalue()


def _inert(value: object) -> object:
    # Spreadsheets run what starts with these; a quote in front makes it text.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "table"
