"""Attacks on real processes over TLS: what a researcher tries, and what a coordinator of the attacker's own does."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cohortium.errors import CohortiumError
from node.disclosure import Policy
from simulation import attacks
from simulation.attacks.victim import DICTIONARY
from simulation.processes import LocalNetwork

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("end-to-end"), pytest.mark.timeout(180)]


class Attacked(LocalNetwork):
    """A real network whose coordinator is the attacker's."""

    def program(self, name):
        if name == "coordinator":
            script = Path(__file__).parent / "adversary" / "attacking_coordinator.py"
            return [sys.executable, str(script), str(self.folder)]
        return super().program(name)


def rule(local, policy):
    """Start every node again, under this policy."""
    (local.folder.parent / "policy.toml").write_text(policy.to_toml())
    for cohort in local.cohorts:
        local.end(cohort)
        local.start_node(cohort)
    local.wait_until_online(local.cohorts)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "policy.toml").write_text(Policy().to_toml())
    tables = {name: table for name, table in attacks.cohorts().items() if name != "west"}
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    sources = {name: folder / f"{name}.parquet" for name in tables}
    with Attacked(folder / "run", DICTIONARY, sources, folder / "policy.toml", ["attacks"]) as running:
        yield running


def with_coordinator(local, name):
    """What an attacker can do who has the coordinator as well."""

    class Attempt(attacks.Attempt):
        def drive(self, analysis, rounds, cohorts=None, **params):
            self.tries += 1
            (local.folder / "attack").write_text(name)
            try:
                job = self.network.study(self.study).run(analysis, **params)
                view = job.wait(60, progress=False)
            finally:
                (local.folder / "attack").unlink()
            if view.problem is not None:
                raise self._blocked(CohortiumError.from_problem(view.problem))
            return np.load(local.folder / "loot.npy")

    return Attempt


def outcomes(local, names):
    """By attack; as the coordinator where the attack takes one."""
    network = local.connect()
    return {
        attack.name: attack.run(
            network,
            attacks.VICTIM,
            attacks.Attempt if attack.power == "researcher" else with_coordinator(local, attack.name),
        )
        for attack in attacks.find(names)
    }


RESEARCHER = ["two_means", "one_in_a_stratum", "quantile_of_three", "missing_cell", "exact_times"]
COORDINATOR = ["single_exit", "bisected_maximum"]


def test_attacks_recover_nothing_and_all_of_it_once_the_policy_is_gone(local):
    """One test, for to start the nodes under another policy takes longest."""
    for name, outcome in outcomes(local, [*RESEARCHER, *COORDINATOR]).items():
        assert outcome.tried, name
        assert not outcome.recovered, (name, outcome.found)
    elsewhere = attacks.find(["single_exit"])[0].run(local.connect(), attacks.VICTIM)
    assert not elsewhere.tried
    assert elsewhere.why == "needs a malicious coordinator"
    rule(local, Policy.none())
    for name, outcome in outcomes(local, [*RESEARCHER, *COORDINATOR]).items():
        assert outcome.recovered, (name, outcome.why)
