"""Answers with noise in a real network: what permit and policy grant, what a study has spent, and what it is told."""

import numpy as np
import pytest
from trusted_net import problem

from algorithms.private_summary import NoisyCells
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.documents import Options
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.secure_sum import Vector, add_masked
from node.answer import CohortNode
from node.disclosure import Policy
from node.memory import Memory
from node.noise import PrivacyAccount
from node.trusted import Trust, TrustedNode
from simulation.ceremony import Ceremony

DICTIONARY = Dictionary(name="d", version="1", variables={"ill": Variable(type="boolean")})
COHORTS = ("north", "south", "west")
ROWS = 50


class Net:
    def __init__(self, folder, policy, options):
        self.folder, self.policy = folder, policy
        self.ceremony = Ceremony("net", COHORTS)
        self.permit = self.ceremony.permit("s", options=options)
        self.nodes = {cohort: self.node(cohort) for cohort in COHORTS}

    def node(self, cohort):
        keys = self.ceremony.nodes[cohort]
        memory = Memory(self.folder / f"{cohort}.db", cohort, keys.identity)
        account = PrivacyAccount("d", self.folder / f"{cohort}-privacy.db")
        data = Data(DICTIONARY, {"ill": np.arange(ROWS) % 2.0}, ROWS)
        trust = Trust("net", self.ceremony.authority_key, keys)
        node = CohortNode(cohort, data, self.policy, account=account)
        return TrustedNode(node, trust, memory, clock=lambda: self.ceremony.now)

    def job(self, rho, analysis="private_summary"):
        params = {"variables": ["ill"], **({"rho": rho} if rho else {})}
        return self.ceremony.job(self.permit, analysis, params, DICTIONARY.digest)

    def ask(self, cohort, job, statistic="noisy_cells", round_=1):
        document = job.document
        question = QuestionMessage(
            job=document.digest(),
            round=round_,
            analysis=document.analysis,
            statistic=statistic,
            params=document.params,
            dictionary=document.dictionary,
            cohorts=document.cohorts,
            papers=self.ceremony.papers(self.permit, job),
        )
        return self.nodes[cohort].answer("question", question.to_bytes({}))

    def total(self, job):
        answers = {}
        for cohort in COHORTS:
            message, arrays = AnswerMessage.from_bytes(self.ask(cohort, job))
            assert message.problem is None, message.problem
            answers[cohort] = Vector.from_bytes(message.layout, arrays["vector"].tobytes())
        return add_masked(NoisyCells, answers)

    def spent(self):
        return [node.node.account.spent("s") for node in self.nodes.values()]


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path, Policy(privacy_budget=0.5), Options(privacy_budget=0.2))


def test_the_masked_total_has_the_noise_and_everybody_is_charged(net):
    total = net.total(net.job(0.2))
    assert np.all(total.counts == np.rint(total.counts))
    assert abs(total.counts.sum() - 3 * ROWS) < 30
    assert net.spent() == [pytest.approx(0.2)] * 3


def test_the_same_question_has_the_same_answer_and_costs_once(net):
    job = net.job(0.2)
    assert net.ask("north", job) == net.ask("north", job)
    assert net.spent()[0] == pytest.approx(0.2)
    net.nodes["north"] = net.node("north")
    assert net.ask("north", job)
    assert net.spent()[0] == pytest.approx(0.2)


@pytest.mark.parametrize(("policy", "permit"), [(0.5, 0.2), (0.2, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_what_is_beyond_permit_or_policy_is_refused_and_not_charged(tmp_path, policy, permit):
    net = Net(tmp_path, Policy(privacy_budget=policy), Options(privacy_budget=permit))
    assert problem(net.ask("north", net.job(0.3))).rule == "privacy_budget"
    assert net.spent() == [0, 0, 0]


def test_another_round_of_the_same_job_costs_again(net):
    job = net.job(0.1)
    first, second = (net.ask("north", job, round_=r) for r in (1, 2))
    assert first != second
    assert net.spent()[0] == pytest.approx(0.2)
    assert problem(net.ask("north", job, round_=3)).rule == "privacy_budget"


def test_a_permit_may_allow_noise_only(tmp_path):
    options = Options(privacy_budget=0.2, only_with_noise=True)
    net = Net(tmp_path, Policy(), options)
    refused = problem(net.ask("north", net.job(None, "describe"), statistic="totals"))
    assert refused.kind == "NotPermitted"
    assert AnswerMessage.from_bytes(net.ask("north", net.job(0.1)))[0].problem is None
