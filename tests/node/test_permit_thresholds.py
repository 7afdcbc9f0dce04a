"""A permit may only tighten what a cohort's policy lets out."""

from types import MappingProxyType

import pytest
from trusted_net import Net, problem, totals

from cohortium import analysis as contract
from cohortium.documents import Options
from cohortium.messages import AnswerMessage
from node.disclosure import InvalidPolicy, Policy

LENIENT = Policy(min_people=5)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})
    known = MappingProxyType({"totals": contract.analysis(totals)})
    monkeypatch.setattr(contract, "registry", lambda: known)


def asked(tmp_path, policy, **thresholds):
    net = Net(tmp_path, policy)
    permit = net.ceremony.permit("s", options=Options(thresholds=thresholds))
    return net, net.ask("north", net.question(net.job(permit=permit), permit))


def was_refused(net):
    return [e.details["rule"] for e in net.events("north") if e.event == "refused"]


def test_a_stricter_threshold_of_the_permit_holds(tmp_path):
    net, _ = asked(tmp_path, LENIENT, min_people=21)  # each cohort has 20 people
    assert was_refused(net) == ["min_people"]


@pytest.mark.parametrize("least", [1, 5, 20])
def test_a_laxer_or_an_equal_one_changes_nothing(tmp_path, least):
    net, reply = asked(tmp_path, LENIENT, min_people=least)
    assert AnswerMessage.from_bytes(reply)[0].problem is None
    assert was_refused(net) == []


def test_a_laxer_one_does_not_loosen(tmp_path):
    net, _ = asked(tmp_path, Policy(min_people=25), min_people=1)
    assert was_refused(net) == ["min_people"]


def test_a_threshold_that_is_none_is_told(tmp_path):
    _, reply = asked(tmp_path, LENIENT, min_persons=20)
    assert "min_people" in problem(reply).message  # did you mean


def test_the_node_keeps_its_rows_and_its_ledger(tmp_path):
    node = Net(tmp_path, LENIENT).nodes["north"].node
    stricter = node.under({"min_people": 30})
    assert stricter is node.under({"min_people": 30}) is not node
    assert node.under({"min_people": 2}) is node
    assert (stricter.ledger, stricter.account) == (node.ledger, node.account)
    assert stricter.data.least_group == 30
    with pytest.raises(InvalidPolicy):
        node.under({"release_per_cohort_": 1})
