"""Cox regression of data with mistakes in them: counted and told, or refused, and never left out in silence."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from hazards import close, errors, estimates, people

from algorithms.numerics.partial_likelihood import Rows, Scaling, likelihood
from cohortium.analysis import find
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import InvalidQuestion, Refused
from node.data import InvalidData
from node.disclosure import Policy
from simulation import network

FORMS = [
    {},
    {"cohort_effect": "common", "interval": 1},
    {"cohort_effect": "common", "baseline": "adaptive"},
    {"cohort_effect": "common", "baseline": "piecewise"},
]
FORMULA = "Surv(start, time, dead) ~ age + dose"


@pytest.mark.parametrize("options", FORMS)
class TestEveryForm:
    def test_rows_that_stop_before_they_start_are_counted_apart(self, ask, options):
        frame = people(400, 1)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        odd = frame.copy()
        odd.loc[:3, "start"] = odd.loc[:3, "time"]
        odd.loc[4:6, "start"] = odd.loc[4:6, "time"] + 2
        result = ask("cox", split(odd, "mod3"), formula=FORMULA, **options)
        kept = ask("cox", split(frame, "mod3"), formula=FORMULA, **options)
        assert (result.n, result.no_follow_up, result.backwards) == (len(frame) - 7, 7, 3)
        assert any("stop before they start, a mistake" in w for w in result.warnings)
        assert any("stop when they start" in w for w in result.warnings)
        assert (kept.no_follow_up, kept.backwards) == (0, 0)

    def test_a_cohort_without_events_or_without_anybody(self, ask, options):
        frames = split(people(400, 2), "mod3")
        frames["c0"] = frames["c0"].assign(dead=False)
        frames["c3"] = frames["c0"].iloc[:0]
        result = ask("cox", frames, formula="Surv(time, dead) ~ age + dose", **options)
        assert np.all(np.isfinite(errors(result)))
        assert any("In 1 cohort nobody has the event" in w for w in result.warnings)

    def test_a_group_of_one_is_refused(self, ask, options):
        """Whoever is alone in a level would be all that its column tells of."""
        frame = people(900, 3)
        frame.loc[5, "arm"] = "rare"
        with pytest.raises(Refused, match="min_carriers"):
            ask(
                "cox", split(frame, "mod3"), policy=Policy(min_difference=1, min_interval=1), **options,
                formula="Surv(time, dead) ~ age + arm",
            )  # fmt: skip

    def test_a_time_before_0_is_refused(self, ask, options):
        frame = people(400, 4)
        frame.loc[7, "time"] = -1.0
        with pytest.raises(InvalidQuestion, match=r"before 0|range from 0"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", **options)

    def test_a_time_beyond_the_declared_range_does_not_become_data(self, ask, options):
        frame = people(400, 5)[["time", "dead", "age"]]
        dictionary = network({"a": frame}).service.dictionary()
        frame.loc[9, "time"] = 61.0
        with pytest.raises(InvalidData, match="time: 1 row"):
            ask("cox", split(frame, "mod3"), dictionary=dictionary, formula="Surv(time, dead) ~ age", **options)

    def test_missing_values_leave_the_same_people_in_every_round(self, ask, options):
        frame = people(400, 6)
        frame.loc[::9, "age"] = np.nan
        frame.loc[1::11, "dead"] = None
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose", robust=True, **options)
        complete = frame.dropna(subset=["age", "dead"])
        expected = ask("cox", split(complete, "mod3"), formula="Surv(time, dead) ~ age + dose", robust=True, **options)
        assert (result.n, result.n_excluded) == (len(complete), 400 - len(complete))
        if not options:
            frames = [complete[complete.index % 3 == k] for k in range(3)]
            expected = ask("cox", named(frames), formula="Surv(time, dead) ~ age + dose", robust=True)
        close(estimates(result), estimates(expected), rtol=1e-6)
        close(errors(result), errors(expected), rtol=1e-6)

    def test_tests_and_slopes_belong_together(self, ask, options):
        result = ask("cox", split(people(400, 7), "mod3"), formula="Surv(time, dead) ~ age + dose", **options)
        for name, slope in result.time_slopes.items():
            close((slope.slope / slope.std_error) ** 2, result.proportional_hazards[name].statistic, rtol=1e-6)
            assert 0 < slope.centre < 60
            assert 0 < slope.spread < 30


def test_the_slope_in_time_finds_a_hazard_ratio_that_changes():
    rng = np.random.default_rng(8)
    x = rng.normal(size=4000)
    # The hazard is exp(x) up to 1, and exp(-x) from then on.
    early = rng.exponential(np.exp(-x))
    time = np.where(early < 1, early, 1 + rng.exponential(np.exp(x)))
    frame = pd.DataFrame({"x": x, "time": time.clip(max=3), "dead": time < 3})
    result = network(split(frame, "mod3")).study().cox(formula="Surv(time, dead) ~ x").result(progress=False)
    slope = result.time_slopes["x"]
    assert slope.slope < -10 * slope.std_error
    assert result.proportional_hazards["GLOBAL"].p_value < 1e-6


def memory(n):
    """Bytes that are kept between rounds, and that a round takes besides."""
    rng = np.random.default_rng(9)
    columns = {f"x{k}": rng.normal(size=n) for k in range(2)}
    columns |= {"time": np.ceil(rng.exponential(300, n)).clip(max=3000), "dead": (rng.random(n) < 0.3) * 1.0}
    kinds = {name: Variable(type="boolean" if name == "dead" else "number") for name in columns}
    data = Data(Dictionary(name="d", version="1", variables=kinds), columns, n)
    params = find("cox").params.bind({"formula": "Surv(time, dead) ~ x0 + x1"}, data.dictionary)
    tracemalloc.start()
    try:
        rows = Rows(data, params, Scaling(np.zeros(2), np.ones(2), 0.0))
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert likelihood(rows, np.full(2, 0.1), np.ones((1, rows.sets.nowhere))) is not None
        return kept, tracemalloc.get_traced_memory()[1] - kept
    finally:
        tracemalloc.stop()


def test_a_round_takes_no_more_memory_for_more_rows():
    """Of a row a place of 4 bytes and a few marks are kept; no column is made."""
    kept, few = memory(200_000)
    assert kept < 7 * 200_000
    _, many = memory(800_000)
    assert many < few + 400_000


def test_a_large_cohort_has_pairs_that_fit_a_sum():
    """Squares of a person's pairs grow with the third power of people: they are told as shares of all people."""
    n = 300_000
    rng = np.random.default_rng(10)
    frame = pd.DataFrame({"x": rng.normal(size=n), "time": np.ceil(rng.exponential(300, n)).clip(max=3000)})
    frame["dead"] = rng.random(n) < 0.5
    found = network({"a": frame}).study().cox(formula="Surv(time, dead) ~ x").result(progress=False).concordance
    assert 0.49 < found.concordance < 0.51
    assert 0 < found.std_error < 0.002
