"""The documents that trust rests on: who is in a network, what was permitted, what was asked, what was answered.

| document | says | signed by |
|---|---|---|
| Member | a cohort's keys | its own identity key |
| Roster | who is in the network, and whose permits count | the network's authority |
| Permit | what a study may ask, of whom, until when | a data access committee of the roster |
| Job | one question of that study | a researcher whom the permit names |
| Answer | what a node sent in one round | that node's identity key |

Each names the one before it by its hash, so that it means nothing under another. `signing` signs and verifies them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from cohortium.canonical import canonical_json, digest, framed
from cohortium.keys import MaskingKeyText, SigningKeyText
from cohortium.messages import CohortName, StudyName


def _in_order(values: tuple[str, ...]) -> tuple[str, ...]:
    # One way to write a set: two documents that mean the same have the same hash.
    if list(values) != sorted(set(values)):
        raise ValueError("must be distinct and in order")
    return values


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Cohorts = Annotated[tuple[CohortName, ...], AfterValidator(_in_order), Field(min_length=1)]
Names = Annotated[tuple[Name, ...], AfterValidator(_in_order)]
SigningKeys = Annotated[tuple[SigningKeyText, ...], AfterValidator(_in_order)]


class Document(BaseModel):
    """Base of what is signed. `kind` and `format` are part of the signed bytes: no document passes for another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: ClassVar[str]
    format: ClassVar[int] = 1

    def canonical(self) -> bytes:
        """Kind, format and content as the bytes that are hashed and signed."""
        content = canonical_json(self.model_dump(mode="json"))
        return framed(b"cohortium document", self.kind.encode(), str(self.format).encode(), content)

    def digest(self) -> str:
        """SHA-256 by which other documents name this one; it does not cover who signed it."""
        return digest(self.canonical())


class Timed(Document):
    """A document that is valid from one moment until, and without, another."""

    valid_from: Moment
    valid_until: Moment

    @model_validator(mode="after")
    def _times_in_order(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("`valid_from` must be before `valid_until`")
        return self


class Member(Document):
    """A cohort and the public keys of its node. Signed by that identity key, it proves that its owner has it."""

    kind: ClassVar[str] = "member"

    network: Name
    cohort: CohortName
    identity: SigningKeyText = Field(description="Verifies the node's answers.")
    masking: MaskingKeyText = Field(description="Shared with the other nodes, to mask.")


class Roster(Timed):
    """Who is in a network. A newer version replaces all older ones, and with them the keys it no longer lists."""

    kind: ClassVar[str] = "roster"

    network: Name
    version: int = Field(ge=1)
    previous: Digest | None = Field(description="Hash of the version before; None for the first.")
    members: tuple[Member, ...] = Field(min_length=1)
    committees: SigningKeys = Field(description="Keys whose permits count.")
    revoked: Names = Field((), description="Researchers' keys and hashes of permits that no longer count.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _in_order(tuple(member.cohort for member in self.members))
        if any(member.network != self.network for member in self.members):
            raise ValueError("a member belongs to another network")
        signing = [*self.committees, *(member.identity for member in self.members)]
        masking = [member.masking for member in self.members]
        if len(set(signing)) != len(signing) or len(set(masking)) != len(masking):
            raise ValueError("a key is listed twice")
        if (self.previous is None) != (self.version == 1):
            raise ValueError("every version but the first names the one before")
        return self

    def member(self, cohort: str) -> Member | None:
        """The member of that name, if there is one."""
        return next((member for member in self.members if member.cohort == cohort), None)

    def masking_keys(self, cohorts: Collection[str]) -> dict[str, str]:
        """Public masking keys by cohort, of those of `cohorts` that are members."""
        return {member.cohort: member.masking for member in self.members if member.cohort in cohorts}


class Options(BaseModel):
    """What a committee may allow beyond sums over all cohorts. Each node's own policy must allow it too."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    release_per_cohort: bool = Field(False, description="Whether a cohort's own figures may be told apart.")
    thresholds: dict[str, float] = Field(
        {}, description="Thresholds that hold for the study where a node's own policy is laxer, by name."
    )
    privacy_budget: float = Field(
        0.0, ge=0, description="What the study may spend on answers with noise, at every cohort (rho of zCDP)."
    )
    only_with_noise: bool = Field(False, description="Whether it may be told nothing without noise.")
    cells: Literal["node", "total"] = Field("node", description="Where small cells are judged: see `Table`.")


class Permit(Timed):
    """What a study may ask. Nothing that is not named here is permitted."""

    kind: ClassVar[str] = "permit"

    network: Name
    study: StudyName
    title: Text
    purpose: Text
    variables: Names | Literal["all"]
    analyses: Names | Literal["all"]
    cohorts: Cohorts
    researchers: SigningKeys = Field(min_length=1)
    options: Options = Options()


class Job(Document):
    """One question of a study. `nonce` makes two jobs that ask the same different."""

    kind: ClassVar[str] = "job"

    network: Name
    study: StudyName
    analysis: Name
    version: Name = Field(description="Identity of the code that computes (see `identity`).")
    params: dict[str, JsonValue]
    cohorts: Cohorts
    roster: Digest
    permit: Digest
    dictionary: Digest
    nonce: Nonce
    submitted: Moment


class Answer(Document):
    """What a node answered in one round. `vector` is the hash of the masked vector that travels beside it."""

    kind: ClassVar[str] = "answer"

    job: Digest
    round: int = Field(ge=1)
    question: Digest
    cohort: CohortName
    vector: Digest


DOCUMENTS: dict[str, type[Document]] = {d.kind: d for d in (Member, Roster, Permit, Job, Answer)}


def moment(value: datetime) -> datetime:
    """A moment in UTC. Raises ValueError when it has no time zone: such a moment cannot be compared."""
    if value.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return value.astimezone(UTC)
