"""What a result is verified by, as one zip: signed documents, dictionary, every question and every signed answer."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from cohortium.dictionary import Dictionary
from cohortium.documents import Job, Permit, Roster
from cohortium.errors import Malformed
from cohortium.messages import MalformedMessage, Papers
from cohortium.signing import Signed
from cohortium.transcript import Round

MAX_ROUNDS: Final = 10_000
MAX_PROOF_BYTES: Final = 2**32
# A proof of the same job is the same file, whenever it is written.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_ROUND = re.compile(r"rounds/(\d{5})\.npz")


@dataclass(frozen=True)
class Proof:
    """What `pack` packed. Nothing in it has been verified."""

    roster: Signed[Roster]
    permit: Signed[Permit]
    job: Signed[Job]
    dictionary: Dictionary
    rounds: tuple[Round, ...]


def pack(papers: Papers, dictionary: Dictionary, rounds: Mapping[int, bytes]) -> bytes:
    """The proof of a job; `rounds` are its `transcript.Round`s in writing, by number."""
    files = {
        "roster.json": papers.roster.encode(),
        "permit.json": papers.permit.encode(),
        "job.json": papers.job.encode(),
        "dictionary.json": dictionary.model_dump_json().encode(),
        **{f"rounds/{number:05}.npz": record for number, record in sorted(rounds.items())},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            # Masked vectors look random: to compress them would only cost time.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_STORED)
    return buffer.getvalue()


def unpack(content: bytes) -> Proof:
    """The proof that `pack` wrote. Nothing is written to disk or executed. Raises Malformed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise Malformed("The proof is compressed, which no proof is.")
            files = {name: archive.read(name) for name in archive.namelist()}
            if len(files) != len(archive.infolist()):
                raise Malformed("The proof has two files of one name.")
        return _read(files)
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, RuntimeError, EOFError, ValidationError):
        raise Malformed("This is not a proof of a result.") from None


def _read(files: dict[str, bytes]) -> Proof:
    rounds = sorted(name for name in files if _ROUND.fullmatch(name))
    if [f"rounds/{i:05}.npz" for i in range(1, len(rounds) + 1)] != rounds or len(rounds) > MAX_ROUNDS:
        raise Malformed("A round is missing from the proof.")
    try:
        read = tuple(Round.from_bytes(files[name]) for name in rounds)
    except MalformedMessage:
        raise Malformed("A round of the proof cannot be read.") from None
    return Proof(
        roster=Signed.from_bytes(Roster, files["roster.json"]),
        permit=Signed.from_bytes(Permit, files["permit.json"]),
        job=Signed.from_bytes(Job, files["job.json"]),
        dictionary=Dictionary.model_validate_json(files["dictionary.json"]),
        rounds=read,
    )
