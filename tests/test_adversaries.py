"""A malicious coordinator and a malicious node in a real network: what they try is refused, or found out."""

import sys
from pathlib import Path

import pytest
from test_end_to_end import COHORTS, DICTIONARY, FRAMES, POLICY, simulated

from cohortium.chain import verify_chain
from cohortium.errors import CohortiumError, NodeFailed, Untrusted
from cohortium.keys import public_text
from cohortium.proof import unpack
from cohortium.verification import verify
from node.memory import Memory
from simulation.processes import LocalNetwork

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("end-to-end"), pytest.mark.timeout(180)]

ADVERSARY = Path(__file__).parent / "adversary"


class Corrupted(LocalNetwork):
    """A real network in which one program is the adversary's."""

    corrupted = "coordinator"

    def program(self, name):
        if name == self.corrupted:
            script = f"malicious_{'coordinator' if name == 'coordinator' else 'node'}.py"
            return [sys.executable, str(ADVERSARY / script), str(self.folder)]
        return super().program(name)

    def attack(self, name):
        (self.folder / "attack").write_text(name)

    def refusals(self, cohort):
        keys = self.ceremony.nodes[cohort]
        memory = Memory(self.folder / cohort / "memory.db", cohort, keys.identity)
        entries = verify_chain(memory.journal(), public_text(keys.identity.public_key()), owner=cohort)
        memory.close()
        return [e.details["kind"] for e in entries if e.event == "not answered"]


class CorruptedNode(Corrupted):
    corrupted = "west"


def start(kind, folder):
    (folder / "dictionary.toml").write_text(DICTIONARY)
    (folder / "policy.toml").write_text(POLICY)
    sources = {name: folder / f"{name}.parquet" for name in COHORTS}
    for name, path in sources.items():
        FRAMES[name].write_parquet(path)
    return kind(folder / "run", folder / "dictionary.toml", sources, folder / "policy.toml", ["e2e"])


@pytest.fixture(scope="module")
def crooked(tmp_path_factory):
    with start(Corrupted, tmp_path_factory.mktemp("crooked")) as network:
        yield network


@pytest.fixture(scope="module")
def with_a_crook(tmp_path_factory):
    with start(CorruptedNode, tmp_path_factory.mktemp("crook")) as network:
        yield network


def ask(network):
    return network.connect().study("e2e").glm(formula="sick ~ x + sex", family="binomial")


@pytest.mark.parametrize(
    ("attack", "kind", "words"),
    [
        ("forged_permit", "UnknownSigner", "permit is signed by a key that may not sign it"),
        ("unlisted_researcher", "UnknownSigner", "job is signed by a key that may not sign it"),
        ("altered_job", "BadSignature", "signature does not belong to this job"),
        ("altered_parameters", "WrongReference", "another parameters than the job that the researcher signed"),
        ("swapped_keys", "UnknownSigner", "roster is signed by a key that may not sign it"),
        ("fewer_cohorts", "WrongReference", "another cohorts than the job that the researcher signed"),
        ("asked_twice", "AlreadyAnswered", "answered round"),
        ("other_statistic", "AlreadyAnswered", "answered round 1"),
    ],
)
def test_what_a_coordinator_tries_is_refused_and_journalled_by_every_node(crooked, attack, kind, words):
    before = {cohort: len(crooked.refusals(cohort)) for cohort in COHORTS}
    crooked.attack(attack)
    with pytest.raises(CohortiumError, match=words) as caught:
        ask(crooked).result(timeout=60)
    assert type(caught.value).__name__ == kind
    for cohort in COHORTS:
        assert crooked.refusals(cohort)[before[cohort] :] == [kind]
    crooked.attack("")
    assert ask(crooked).result(timeout=60).n == 855, "nothing else suffers"


@pytest.mark.parametrize(
    ("attack", "words"),
    [("altered_answer", "south: The answer was signed for another vector"), ("exchanged_answers", "south: ")],
)
def test_answers_that_were_changed_on_the_way_do_not_add_up(crooked, attack, words):
    crooked.attack(attack)
    with pytest.raises(Untrusted, match=words):
        ask(crooked).result(timeout=60)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("altered_result", "`result.n`"),
        ("slightly_altered_result", r"`result.coefficients.*estimate`"),
        ("dropped_answer", "answers to question 1 are not those of the cohorts"),
        ("altered_proof", "south: The answer was signed for another vector"),
        ("dropped_round", "the proof ends before it"),
        ("other_question", "other values than the analysis gives"),
    ],
)
def test_what_a_coordinator_hands_out_is_verified(crooked, attack, words):
    crooked.attack(attack)
    result = ask(crooked).result(timeout=60)
    proof = unpack(result.proof())
    with pytest.raises(Untrusted, match=words):
        verify(result, proof, crooked.ceremony.authority_key)
    crooked.attack("")
    honest = ask(crooked).result(timeout=60)
    assert verify(honest, unpack(honest.proof()), crooked.ceremony.authority_key).identical


def test_a_job_is_taken_in_once(crooked):
    crooked.attack("")
    job = ask(crooked)
    job.result(timeout=60)
    text = unpack(job.service.proof(job.id)).job.to_bytes().decode()
    response = job.service._http.post("/jobs", json={"document": text})
    assert response.status_code == 409
    assert "submitted before" in response.json()["message"]


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("wrong_shape", "west answered in another layout"),
        ("another_key", "west: .*key that may not sign it"),
        ("unmasked", "`west` is not masked and signed"),
        ("gibberish", "`west` cannot be read"),
        ("nan", "west: .* is not finite"),
        ("huge", "west: .* too large"),
        ("replayed", "west: The answer was signed for another"),
    ],
)
def test_a_node_that_answers_falsely_fails_the_job_and_is_named(with_a_crook, attack, words):
    with_a_crook.attack(attack)
    with pytest.raises(CohortiumError, match=words) as caught:
        ask(with_a_crook).result(timeout=60)
    assert caught.value.cohort == "west"
    with_a_crook.attack("")
    expected = simulated(with_a_crook).glm(formula="sick ~ x + sex", family="binomial").result()
    assert ask(with_a_crook).result(timeout=60).model_dump_json() == expected.model_dump_json()


def test_garbage_under_a_good_signature_fails_the_job_without_a_name(with_a_crook):
    with_a_crook.attack("garbage")
    with pytest.raises(NodeFailed, match=r"cannot be|fractions|more votes"):
        ask(with_a_crook).result(timeout=60)
    with_a_crook.attack("")
    assert ask(with_a_crook).result(timeout=60).n == 855
