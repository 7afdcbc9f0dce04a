"""The only models of what crosses the network: questions and answers between coordinator and nodes, and the REST API.

A question or an answer travels as one npz archive: its header as JSON, its arrays as float64. Nothing in it is
executed, unpickled or unpacked to disk; a peer is never trusted to be well-behaved, so sizes are checked first.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cohortium.dictionary import Labels, Variable
from cohortium.errors import CohortiumError, Problem
from cohortium.quantities import Array

MAX_BYTES = 256 * 2**20
_HEADER = "header"

# What zipfile, numpy and pydantic raise on bytes that somebody damaged or forged.
_NOT_A_MESSAGE = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
)

# A cohort's short name: it is typed, put in URLs and shown in tables.
CohortName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
StudyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class MalformedMessage(CohortiumError):
    """Bytes that are not a message of this protocol."""


class Header(BaseModel):
    """What a message says besides its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_bytes(self, arrays: Mapping[str, Array] | None = None) -> bytes:
        """The message as it travels."""
        buffer = io.BytesIO()
        parts: dict[str, Any] = {f"a:{k}": np.asarray(v, dtype=np.float64) for k, v in (arrays or {}).items()}
        parts[_HEADER] = np.frombuffer(self.model_dump_json().encode(), dtype=np.uint8)
        np.savez(buffer, **parts)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, message: bytes) -> tuple[Self, dict[str, Array]]:
        """The header and the arrays of a message. Raises MalformedMessage."""
        try:
            with zipfile.ZipFile(io.BytesIO(message)) as archive:
                # Stored, not deflated: what is unpacked can never be larger than what was received.
                if len(message) > MAX_BYTES or any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
                    raise MalformedMessage("a message must be stored uncompressed and within the size limit")
            with np.load(io.BytesIO(message), allow_pickle=False) as parts:
                arrays = {name[2:]: parts[name] for name in parts.files if name != _HEADER}
                header = cls.model_validate_json(parts[_HEADER].tobytes())
        except _NOT_A_MESSAGE as error:
            kind = "header" if isinstance(error, ValidationError) else "archive"
            raise MalformedMessage(f"not a {cls.__name__} message: bad {kind}") from None
        if any(a.dtype != np.float64 for a in arrays.values()):
            raise MalformedMessage("arrays travel as float64")
        return header, arrays


class QuestionMessage(Header):
    """One statistic that a job asks of a node; its arrays are the broadcast values."""

    job: str
    round: int = Field(ge=1)
    analysis: str
    statistic: str
    params: dict[str, Any]
    dictionary: str = Field(description="Digest of the dictionary that the question was bound to.")
    cohorts: tuple[str, ...] = Field(description="Everyone who is asked this question.")
    per_cohort: bool = False


class AnswerMessage(Header):
    """A node's answer: the arrays of its Sums record (see `secure_sum`), or the problem that kept it from answering."""

    problem: Problem | None = None


class Introduction(Header):
    """What a node says of itself when the coordinator greets it."""

    dictionary: str = Field(description="Digest of its dictionary.")
    version: str = Field(description="Version of its Cohortium.")
    variables: tuple[str, ...] = Field(description="The dictionary's variables that this cohort collected.")


# The REST API. Everything a researcher's client or the command line reads or writes is one of these.


class JobState(StrEnum):
    """Where a job is in its life."""

    submitted = "submitted"
    running = "running"
    finished = "finished"
    refused = "refused"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobState.submitted, JobState.running)


class View(BaseModel):
    """Base of what the API takes and returns."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CohortView(View):
    """A cohort of the network."""

    name: CohortName
    title: str = ""
    online: bool = Field(False, description="Whether its node is connected now.")
    variables: tuple[str, ...] | None = Field(None, description="What it collected; None until its node has connected.")
    problem: str | None = Field(None, description="Why its node, though connected, cannot answer.")


class VariableView(Variable):
    """A variable of the dictionary, with its name and who collected it."""

    name: str
    cohorts: tuple[str, ...] | None = Field(None, description="Cohorts known to have collected it.")


class AnalysisView(View):
    """A registered analysis, as far as it can be told without code."""

    name: str
    title: str
    doc: str
    params: dict[str, Any] = Field(description="JSON schema of its parameters.")
    result: dict[str, Any] = Field(description="JSON schema of its result.")


class NetworkView(View):
    """What this network is."""

    name: str
    version: str = Field(description="Version of the coordinator's Cohortium.")
    dictionary: str
    dictionary_version: str
    dictionary_digest: str
    title: Labels = Labels()


class JobRequest(View):
    """A question, as a researcher submits it."""

    study: StudyName
    analysis: str
    params: dict[str, Any]
    cohorts: tuple[CohortName, ...] | None = Field(None, description="Whom to ask; None: every cohort of the network.")


class Progress(View):
    """How far a running job is."""

    round: int = 0
    statistic: str = ""
    waiting_for: tuple[str, ...] = ()


class JobView(View):
    """A job and its state."""

    id: str
    study: str
    analysis: str
    params: dict[str, Any]
    cohorts: tuple[str, ...]
    state: JobState
    submitted: datetime
    ended: datetime | None = None
    progress: Progress = Progress()
    problem: Problem | None = None


class Enrolment(View):
    """A cohort's node as its operator hands it in: the name, and the public key that is pinned from then on."""

    name: CohortName
    title: str = Field("", max_length=200)
    public_key: str = Field(max_length=2000, description="EC public key, PEM.")
