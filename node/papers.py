"""What a question rests on, read from the text that was signed, and what it asks, compared with the signed job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohortium.asking import asked_by
from cohortium.canonical import canonical_json
from cohortium.documents import Job, Permit, Roster
from cohortium.errors import InvalidQuestion, WrongReference
from cohortium.identity import code_identity
from cohortium.masks import Asked
from cohortium.messages import Papers, QuestionMessage
from cohortium.quantities import Array
from cohortium.signing import Signed


@dataclass(frozen=True)
class Documents:
    """The signed documents of a question. Nothing of them is verified yet."""

    roster: Signed[Roster]
    permit: Signed[Permit]
    job: Signed[Job]


def read(papers: Papers) -> Documents:
    """The documents that papers hold. Raises Malformed."""
    return Documents(
        Signed.from_bytes(Roster, papers.roster.encode()),
        Signed.from_bytes(Permit, papers.permit.encode()),
        Signed.from_bytes(Job, papers.job.encode()),
    )


def asked_of(job: Job, question: QuestionMessage, broadcast: Mapping[str, Array]) -> Asked:
    """What is asked, taken from the (verified) job.

    Raises WrongReference if the question says anything else, InvalidQuestion if it is for another code than this.
    """
    said = {
        "job": (question.job, job.digest()),
        "analysis": (question.analysis, job.analysis),
        "parameters": (canonical_json(question.params), canonical_json(job.params)),
        "dictionary": (question.dictionary, job.dictionary),
        "cohorts": (question.cohorts, job.cohorts),
    }
    differs = [name for name, (asked, signed) in said.items() if asked != signed]
    if differs:
        raise WrongReference(f"The question has another {', '.join(differs)} than the job that the researcher signed.")
    if job.version != code_identity():
        raise InvalidQuestion("The job was signed for another version of Cohortium's code than this node runs.")
    return asked_by(question, broadcast, job)
