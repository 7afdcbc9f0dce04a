"""A node's refusals: those that look at its rows are votes, signed and kept like answers; the others name it."""

from types import MappingProxyType

import numpy as np
import pytest
from trusted_net import COHORTS, Net, asked, problem, totals, vector

from cohortium import analysis as contract
from cohortium.analysis import find
from cohortium.asking import combine_signed
from cohortium.errors import Refused
from cohortium.messages import AnswerMessage
from node.disclosure import Policy


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})
    known = MappingProxyType({"totals": contract.analysis(totals)})
    monkeypatch.setattr(contract, "registry", lambda: known)


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path)


def put(net, job, scale=1.0):
    replies = {cohort: net.ask(cohort, net.question(job), scale=scale) for cohort in COHORTS}
    return combine_signed(find("totals"), asked(job, scale), net.ceremony.roster.document, replies)


@pytest.mark.parametrize("strict", [("north",), ("south", "west"), COHORTS])
def test_the_coordinator_hears_that_somebody_refused_and_not_who(net, strict):
    for cohort in strict:
        net.nodes[cohort].node.policy = Policy(min_people=100)
    with pytest.raises(Refused) as refused:
        put(net, net.job())
    assert (refused.value.rule, refused.value.cohort) == ("min_people", None)
    assert not any(cohort in str(refused.value.explain()) for cohort in COHORTS)


def test_the_own_journal_says_what_was_refused_and_why(net):
    net.nodes["north"].node.policy = Policy(min_people=100)
    job = net.job()
    reply = net.ask("north", net.question(job))
    entry = net.events("north")[-1]
    assert (entry.event, entry.details["rule"]) == ("refused", "min_people")
    assert "min_people" in entry.details["why"]
    assert entry.details["vector"] == vector(reply).digest()


def test_a_refusal_is_signed_and_as_long_as_an_answer(net):
    job = net.job()
    net.nodes["north"].node.policy = Policy(min_people=100)
    refusing, answering = (net.ask(cohort, net.question(job)) for cohort in ("north", "south"))
    first, second = (AnswerMessage.from_bytes(reply)[0] for reply in (refusing, answering))
    assert first.problem is None
    assert first.layout == second.layout
    assert abs(len(refusing) - len(answering)) <= 2, "but for the length of the cohort's name"


def test_it_is_the_same_bytes_after_a_restart(net):
    net.policy = Policy(min_people=100)
    net.nodes["north"] = net.node("north")
    job = net.job()
    first = net.ask("north", net.question(job))
    net.nodes["north"] = net.node("north")
    assert net.ask("north", net.question(job)) == first


def test_what_does_not_look_at_the_rows_names_the_cohort(net):
    assert problem(net.ask("north", net.question(net.job(("north", "south"))))).rule == "insecure"
    assert problem(net.ask("north", net.question(net.job()), scale=np.nan)).rule == "broadcast"
    single = net.job(("north",))
    assert problem(net.ask("north", net.question(single))).rule == "release_per_cohort"


@pytest.mark.parametrize("scale", [17.0, 1e300])
def test_what_goes_wrong_with_its_own_rows_only_is_a_vote_too(net, scale):
    """Whether an error comes, in a cohort that is named, is an answer to a question about single rows."""
    job = net.job()
    with pytest.raises(Refused) as refused:
        put(net, job, scale=scale)
    assert (refused.value.rule, refused.value.cohort) == ("unfit_data", None)
    assert "somebody" not in refused.value.message
    (entry,) = [e for e in net.events("north") if e.event == "refused"]
    assert entry.details["kind"] == "NodeFailed"
    assert "somebody" not in entry.details["why"]


def test_what_goes_wrong_with_nobodys_rows_too_is_told_openly(net):
    reply = problem(net.ask("north", net.question(net.job()), scale=13.0))
    assert (reply.kind, "reference" in reply.message) == ("NodeFailed", True)


def test_a_cohorts_own_figures_are_refused_under_its_name(tmp_path):
    net = Net(tmp_path, Policy(release_per_cohort=True, min_people=100))
    reply = net.ask("north", net.question(net.job(("north",))))
    assert problem(reply).rule == "min_people"
