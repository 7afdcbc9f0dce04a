"""A malicious coordinator: the real one, with its insides replaced by what the file `attack` in its folder says.

Started as a process in a real network: `python malicious_coordinator.py FOLDER coordinator start --config …`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium import cli, proof
from cohortium.documents import Job, Member, Permit, Roster
from cohortium.keys import new_keys, public_text
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.signing import Signed, sign
from coordinator import rounds, service

FOLDER = Path(sys.argv[1])
STRANGER = Ed25519PrivateKey.generate()
honestly = rounds.ask
true_result, true_proof = service.Coordinator.result, service.Coordinator.proof


def attack():
    file = FOLDER / "attack"
    return file.read_text() if file.exists() else ""


def read(papers, name, kind):
    return Signed.from_bytes(kind, getattr(papers, name).encode())


def with_paper(question, name, signed):
    papers = question.papers.model_copy(update={name: signed.to_bytes().decode()})
    return question.model_copy(update={"papers": papers})


def forged_permit(question):
    permit = read(question.papers, "permit", Permit).document
    return with_paper(question, "permit", sign(permit, STRANGER))


def unlisted_researcher(question):
    job = read(question.papers, "job", Job).document
    return with_paper(question, "job", sign(job, STRANGER))


def altered_job(question):
    signed = read(question.papers, "job", Job)
    params = signed.document.params | {"formula": "sick ~ days"}
    bent = replace(signed, document=signed.document.model_copy(update={"params": params}))
    changes = {"params": params, "job": bent.document.digest()}
    return with_paper(question, "job", bent).model_copy(update=changes)


def altered_parameters(question):
    return question.model_copy(update={"params": question.params | {"formula": "sick ~ days"}})


def swapped_keys(question):
    """Its own masking key in the place of a cohort's: then it could unmask what the others share with that one."""
    roster = read(question.papers, "roster", Roster).document
    mine = public_text(new_keys().masking.public_key())
    first, *others = roster.members
    members = (Member(**first.model_dump() | {"masking": mine}), *others)
    return with_paper(question, "roster", sign(roster.model_copy(update={"members": members}), STRANGER))


def fewer_cohorts(question):
    return question.model_copy(update={"cohorts": question.cohorts[:2]})


BENT = {
    f.__name__: f
    for f in (forged_permit, unlisted_researcher, altered_job, altered_parameters, swapped_keys, fewer_cohorts)
}


def ask(channel, payloads, *, kind, round_, **others):  # noqa: PLR0911 - one per attack
    name = attack()
    if kind != "question" or not name:
        return honestly(channel, payloads, kind=kind, round_=round_, **others)
    question, broadcast = QuestionMessage.from_bytes(next(iter(payloads.values())))
    if name in BENT:
        bent = BENT[name](question).to_bytes(broadcast)
        return honestly(channel, dict.fromkeys(payloads, bent), kind=kind, round_=round_, **others)
    answers = honestly(channel, payloads, kind=kind, round_=round_, **others)
    if name == "asked_twice" and broadcast:
        moved = {key: value + 1e-3 for key, value in broadcast.items()}
        again = dict.fromkeys(payloads, question.to_bytes(moved))
        return honestly(channel, again, kind=kind, round_=round_, **others)
    if name == "other_statistic" and round_ == 1:
        again = dict.fromkeys(payloads, question.model_copy(update={"per_cohort": True}).to_bytes(broadcast))
        return honestly(channel, again, kind=kind, round_=round_, **others)
    if name == "altered_answer" and round_ == 2:
        return answers | {"south": flipped(answers["south"])}
    if name == "exchanged_answers":
        return answers | {"south": answers["west"]}
    return answers


def flipped(reply):
    message, arrays = AnswerMessage.from_bytes(reply)
    content = bytearray(arrays["vector"].tobytes())
    content[0] ^= 1
    return message.to_bytes(raw={"vector": bytes(content)})


def result(self, job):
    content = true_result(self, job)
    if attack() == "altered_result":
        return content.replace('"n":', '"n":1', 1)
    if attack() == "slightly_altered_result":
        analysis = service.find(job.analysis).result.model_validate_json(content)
        name, estimate = next(iter(analysis.coefficients.items()))
        moved = estimate.model_copy(update={"estimate": estimate.estimate * (1 + 1e-6)})
        return analysis.model_copy(update={"coefficients": analysis.coefficients | {name: moved}}).model_dump_json()
    return content


def false_proof(self, job):
    content = true_proof(self, job)
    papers = self.store.papers(job.id)
    told = list(proof.unpack(content).rounds)
    name = attack()
    if name == "dropped_answer":
        told[0] = replace(told[0], answers={c: a for c, a in told[0].answers.items() if c != "south"})
    elif name == "altered_proof":
        told[0] = replace(told[0], answers=told[0].answers | {"south": flipped(told[0].answers["south"])})
    elif name == "dropped_round":
        del told[-1]
    elif name == "other_question":
        told[-1] = replace(told[-1], broadcast={k: v + np.float64(1e-6) for k, v in told[-1].broadcast.items()})
    return proof.pack(papers, self.dictionary, {n: r.to_bytes() for n, r in enumerate(told, 1)})


rounds.ask = ask
service.Coordinator.result = result
service.Coordinator.proof = false_proof

if __name__ == "__main__":
    sys.argv[:] = ["cohortium", *sys.argv[2:]]
    cli.main()
