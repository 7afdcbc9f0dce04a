"""The only models of what crosses the network: questions and answers between coordinator and nodes, and the REST API.

A question or an answer travels as one npz archive: its header as JSON, its arrays as float64. Nothing in it is
executed, unpickled or unpacked to disk; a peer is never trusted to be well-behaved, so sizes are checked first.

Signed documents travel as the very text that was signed (see `signing`): whoever relays them cannot reword them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cohortium.dictionary import Labels, Variable
from cohortium.errors import CohortiumError, Problem
from cohortium.quantities import Array
from cohortium.secure_sum import Layout
from cohortium.twin import Twin

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
    """What a message says besides its arrays, which are float64 or, where `raw` names them, bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    raw: ClassVar[str | None] = None
    """Prefix of the names of arrays that travel as bytes (uint8)."""

    def to_bytes(self, arrays: Mapping[str, Array] | None = None, raw: Mapping[str, bytes] | None = None) -> bytes:
        """The message as it travels."""
        buffer = io.BytesIO()
        parts: dict[str, Any] = {f"a:{k}": np.asarray(v, dtype=np.float64) for k, v in (arrays or {}).items()}
        parts |= {f"a:{name}": np.frombuffer(content, dtype=np.uint8) for name, content in (raw or {}).items()}
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
        if any(a.dtype != (np.uint8 if cls._is_raw(name) else np.float64) for name, a in arrays.items()):
            raise MalformedMessage("arrays travel as float64")
        return header, arrays

    @classmethod
    def _is_raw(cls, name: str) -> bool:
        return cls.raw is not None and name.startswith(cls.raw)


DocumentText = Annotated[str, StringConstraints(min_length=2, max_length=2**22)]


class Papers(BaseModel):
    """What a question rests on: the signed roster, permit and job, each as the text that was signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roster: DocumentText
    permit: DocumentText
    job: DocumentText


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
    papers: Papers | None = Field(None, description="What entitles to ask; None only inside one process.")


class AnswerMessage(Header):
    """A node's answer, or the problem that kept it from answering.

    In a real network the answer is one array `vector`, the bytes of a masked vector (see `secure_sum.Vector`), with its
    layout and what the node signed; inside one process it is the arrays of the Sums record.
    """

    raw: ClassVar[str | None] = "vector"

    problem: Problem | None = None
    layout: Layout | None = None
    signed: DocumentText | None = Field(None, description="The signed `documents.Answer`.")


class Position(BaseModel):
    """A place in somebody's journal: the number of an entry and its hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(0, ge=0)
    entry: str | None = Field(None, max_length=64)


class Greeting(Header):
    """What the coordinator says to a node that has connected; it wants an `Introduction`."""

    nonce: str = Field(description="Fresh, to be signed.")
    roster: DocumentText | None = Field(None, description="The signed roster of the network as it is now.")
    head: Position = Field(Position(), description="The last entry of the coordinator's audit.")
    seen: Position = Field(Position(), description="The last entry of the node's journal that it was told of before.")


BudgetState = Literal["open", "low", "spent"]
"""How much of what a cohort may tell a study is left: most of it, little, or hardly anything."""


class Introduction(Header):
    """What a node says of itself when the coordinator greets it."""

    dictionary: str = Field(description="Digest of its dictionary.")
    version: str = Field(description="Version of its Cohortium.")
    variables: tuple[str, ...] = Field(description="The dictionary's variables that this cohort collected.")
    budgets: dict[str, BudgetState] = Field({}, description="Studies that it may not tell much more, by name.")
    head: DocumentText | None = Field(None, description="The signed `chain.Head` of its journal, over the nonce.")
    seen: Position = Field(Position(), description="The last entry of the coordinator's audit that it was told before.")
    twin: Twin | None = Field(None, description="The synthetic twin that it publishes for rehearsals, if any.")


class Undecided(Header):
    """Jobs that wait for a node's operator. The coordinator names those it knows of, the node those that still do."""

    jobs: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = Field(max_length=10_000)


# The REST API. Everything a researcher's client or the command line reads or writes is one of these.


class JobState(StrEnum):
    """Where a job is in its life."""

    submitted = "submitted"
    awaiting_approval = "awaiting_approval"
    running = "running"
    finished = "finished"
    refused = "refused"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobState.submitted, JobState.awaiting_approval, JobState.running)


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
    budgets: dict[str, BudgetState] = Field({}, description="Studies that it may not tell much more, by name.")


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
    code: str = Field("", description="Identity of the code that computes here, which a job is signed for.")
    audit_key: str = Field("", description="Public key that signs the coordinator's audit.")


class SignedText(View):
    """A signed document, as the very text that was signed (see `cohortium.signing.Signed`)."""

    document: DocumentText


class JobRequest(View):
    """A question, as a researcher puts it. In a real network it becomes a signed `documents.Job`."""

    study: StudyName
    analysis: str
    params: dict[str, Any]
    cohorts: tuple[CohortName, ...] | None = Field(None, description="Whom to ask; None: every cohort of the network.")


class Progress(View):
    """How far a running job is."""

    round: int = 0
    statistic: str = ""
    waiting_for: tuple[str, ...] = Field((), description="Cohorts that have not answered or, before that, approved.")


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
