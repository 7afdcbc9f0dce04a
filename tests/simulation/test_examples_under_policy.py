"""The example of every page, asked of cohorts that keep the default policy: a result, or a reason; never a failure."""

from contextlib import suppress

import pytest

from cohortium.analysis import registry
from cohortium.errors import CannotEstimate, Refused
from node.disclosure import Policy
from simulation import cohorts, network
from tests.simulation.test_handbook import FOLDER, handbook

EXAMPLES = handbook.examples(FOLDER)
# A time, a group or a cohort's estimate that few people stand behind.
REFUSED = {"competing_risks", "incidence_rates", "kaplan_meier", "meta_analysis", "propensity", "rank_test"}


@pytest.fixture(scope="module")
def frames():
    return {name: cohorts.people(name, 2000, seed=2) for name in handbook.HOLDERS}


@pytest.mark.parametrize("analysis", list(registry()))
def test_it_gives_a_result_or_a_reason(frames, analysis):
    job = network(frames, cohorts.PEOPLE, Policy()).study("s").run(analysis, **EXAMPLES[analysis])
    reasons = (Refused, CannotEstimate) if analysis in REFUSED else ()
    with suppress(*reasons):
        assert job.result(progress=False).n > 0
