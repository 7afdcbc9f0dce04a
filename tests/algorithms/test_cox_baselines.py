"""A baseline hazard for all cohorts on few intervals: constant within them, or free on a grid that is merged."""

import numpy as np
import pandas as pd
import pytest
from datasets import gbsg2, named, rossi, split
from hazards import FORMULA, GBSG2, ROSSI, ask_node, at_random, close, design, errors, estimates, people
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.errors import InvalidQuestion, Refused, Separation
from node.disclosure import Policy
from node.releases import Asker
from simulation import network

FOUR = "Surv(time, cens) ~ horTh + age + tsize + pnodes"


def by_poisson(frame, ends, x, *, strata=None, weights=None):
    """The Poisson regression of rows that are split at `ends`, by statsmodels: its model, and the row of each piece."""
    import statsmodels.api as sm

    start = frame["start"].to_numpy() if "start" in frame else np.zeros(len(frame))
    stop, dead = frame["time"].to_numpy(float), frame["dead"].to_numpy(bool)
    strata = np.zeros(len(frame), int) if strata is None else strata
    pieces = []
    for j, (a, b) in enumerate(zip([0.0, *ends[:-1]], ends, strict=True)):
        spent = np.minimum(stop, b) - np.maximum(start, a)
        for i in np.flatnonzero(spent > 0):
            happens = dead[i] and a < stop[i] <= b
            pieces.append((i, strata[i] * len(ends) + j, spent[i], happens))
    row, cell, spent, event = map(np.array, zip(*pieces, strict=True))
    cells = pd.get_dummies(cell).to_numpy(float)
    model = sm.GLM(
        event.astype(float), np.hstack([cells, x[row]]), family=sm.families.Poisson(), offset=np.log(spent),
        freq_weights=None if weights is None else weights[row],
    )  # fmt: skip
    return model, row


class TestPiecewise:
    @settings(max_examples=6)
    @given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 9), late=st.booleans(), count=st.integers(1, 6))
    def test_is_the_poisson_regression_of_split_rows(self, seed, cohorts, late, count):
        frame = people(250, seed)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        frames, _ = at_random(frame, cohorts, seed)
        surv = "Surv(start, time, dead)" if late else "Surv(time, dead)"
        result = (
            network(frames)
            .study()
            .cox(formula=f"{surv} ~ {FORMULA}", cohort_effect="common", baseline="piecewise", intervals=count)
            .result(progress=False)
        )
        own = frame if late else frame.drop(columns="start")
        ends = [i.end for i in result.intervals]
        x = design(frame).astype(float)
        model, _ = by_poisson(own, ends, x)
        fit = model.fit(tol=1e-14, maxiter=100)
        close(estimates(result), fit.params[-x.shape[1] :], rtol=1e-6)
        close(errors(result), fit.bse[-x.shape[1] :], rtol=1e-6)
        # Poisson's log-likelihood has the logarithm of each event's person-time besides.
        close(result.log_likelihood, fit.llf - model.offset[model.endog > 0].sum())
        hazard = np.exp(fit.params[: len(ends)]) * np.diff([0.0, *ends])
        close(result.baseline["all"].cumulative_hazard, np.cumsum(hazard), rtol=1e-5)
        assert [i.events for i in result.intervals] == [
            int(((own["time"] > i.start) & (own["time"] <= i.end) & own["dead"]).sum()) for i in result.intervals
        ]
        assert result.rounds <= result.iterations + 6

    def test_strata_weights_and_families(self, ask):
        frame = people(300, 3).drop(columns="start")
        frames = named([frame[frame["family"] % 3 == k] for k in range(3)])
        result = ask(
            "cox", frames, formula=f"Surv(time, dead) ~ {FORMULA} + strata(centre) + cluster(family)", weights="w",
            cohort_effect="common", baseline="piecewise", intervals=4,
        )  # fmt: skip
        x = design(frame).astype(float)
        model, row = by_poisson(
            frame, [i.end for i in result.intervals], x, strata=(frame["centre"] == "y").to_numpy(int),
            weights=frame["w"].to_numpy(),
        )  # fmt: skip
        fit = model.fit(tol=1e-14, maxiter=100)
        close(estimates(result), fit.params[-5:], rtol=1e-6)
        close(list(result.model_std_errors.values()), fit.bse[-5:], rtol=1e-6)
        w = frame["w"].to_numpy()[row]
        scores = (w * (model.endog - fit.mu))[:, None] * model.exog
        by_family = pd.DataFrame(scores).groupby(frame["family"].to_numpy()[row]).sum().to_numpy()
        bread = np.linalg.inv((model.exog.T * (w * fit.mu)) @ model.exog)
        close(np.array(result.covariance), (bread @ by_family.T @ by_family @ bread)[-5:, -5:], rtol=1e-6)
        assert set(result.baseline) == {"centre[x]", "centre[y]"}

    def test_robust_errors_are_by_person_not_by_piece(self, ask):
        frame = people(300, 4).drop(columns="start")
        options = {"cohort_effect": "common", "baseline": "piecewise", "robust": True}
        result = ask("cox", split(frame, "mod3"), formula=f"Surv(time, dead) ~ {FORMULA}", **options)
        named_people = frame.assign(person=np.arange(300))
        formula = f"Surv(time, dead) ~ {FORMULA} + cluster(person)"
        close(errors(result), errors(ask("cox", split(named_people, "mod3"), formula=formula, **options)))
        assert result.tests["robust score"].df == 5

    def test_tests_of_the_model_are_those_of_the_poisson_regression(self, ask):
        frame = people(300, 5).drop(columns="start")
        options = {"cohort_effect": "common", "baseline": "piecewise"}
        result = ask("cox", split(frame, "blk3"), formula=f"Surv(time, dead) ~ {FORMULA}", **options)
        model, _ = by_poisson(frame, [i.end for i in result.intervals], design(frame).astype(float))
        cells = len(result.intervals)
        null = type(model)(
            model.endog, model.exog[:, :cells], family=model.family, offset=model.offset
        ).fit(tol=1e-14)  # fmt: skip
        full = model.fit(tol=1e-14)
        close(result.tests["likelihood ratio"].statistic, 2 * (full.llf - null.llf), rtol=1e-6)
        score = model.exog.T @ (model.endog - null.mu)
        information = (model.exog.T * null.mu) @ model.exog
        close(result.tests["score"].statistic, score @ np.linalg.solve(information, score), rtol=1e-6)

    @pytest.mark.parametrize(("count", "apart"), [(5, 0.056), (10, 0.040), (20, 0.040)])
    def test_gbsg2_is_as_close_to_the_exact_fit_as_methods_say(self, ask, count, apart):
        frames = split(gbsg2(), "blk4@age")
        exact = ask("cox", frames, formula=GBSG2, cohort_effect="common", interval=1)
        result = ask("cox", frames, formula=GBSG2, cohort_effect="common", baseline="piecewise", intervals=count)
        assert len(result.intervals) == count
        found = np.max(np.abs(estimates(result) - estimates(exact)) / errors(exact))
        assert found == pytest.approx(apart, abs=0.001)
        assert np.max(np.abs(errors(result) / errors(exact) - 1)) < 0.005
        assert any(f"constant within {count} intervals" in w for w in result.warnings)
        assert (result.baseline_form, result.ties) == ("piecewise", "none")

    @pytest.mark.parametrize("transform", ["identity", "log", "km", "rank"])
    def test_proportional_hazards_by_the_score_test_of_the_poisson_regression(self, ask, transform):
        frame = people(300, 6).drop(columns="start")
        options = {"cohort_effect": "common", "baseline": "piecewise", "time_transform": transform}
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose", **options)
        ends = np.array([i.end for i in result.intervals])
        middle = 0.5 * (np.array([i.start for i in result.intervals]) + ends)
        leaving = np.array([i.leaving for i in result.intervals])
        hazard = np.array([i.events / i.at_risk for i in result.intervals])
        g = {
            "identity": middle, "log": np.log(middle), "rank": leaving.cumsum() - leaving / 2,
            "km": 1 - np.exp(-(hazard.cumsum() - hazard / 2)),
        }[transform]  # fmt: skip
        x = design(frame)[:, :2].astype(float)
        model, row = by_poisson(frame, ends, x)
        fit = model.fit(tol=1e-14)
        timed = x[row] * (model.exog[:, : len(ends)] @ g)[:, None]
        wide = np.hstack([model.exog, timed])
        score, information = timed.T @ (model.endog - fit.mu), (wide.T * fit.mu) @ wide
        k = model.exog.shape[1]
        # The coefficients are swept out; so are the hazards, which the score of a piece in time does not touch.
        left = information[k:, k:] - information[k:, :k] @ np.linalg.solve(information[:k, :k], information[:k, k:])
        found = result.proportional_hazards
        close(found["age"].statistic, score[0] ** 2 / left[0, 0], rtol=1e-6)
        close(found["GLOBAL"].statistic, score @ np.linalg.solve(left, score), rtol=1e-6)

    def test_people_without_any_time_are_counted_and_left_out(self, ask):
        frame = people(300, 7).drop(columns="start")
        frame.loc[:4, ["time", "dead"]] = [0.0, True]
        options = {"cohort_effect": "common", "baseline": "piecewise"}
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", **options)
        kept = ask("cox", split(frame[5:], "mod3"), formula="Surv(time, dead) ~ age", **options)
        close(estimates(result), estimates(kept), rtol=1e-6)
        assert (result.no_follow_up, result.n) == (5, 295)

    def test_a_group_without_events_is_a_monotone_likelihood(self, ask):
        frame = people(300, 30)
        frame.loc[frame["arm"] == "c", "dead"] = False
        with pytest.raises(Separation, match=r"`arm\[c\]`"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + arm", cohort_effect="common",
                baseline="piecewise")  # fmt: skip

    def test_cohorts_that_have_few_events_make_the_intervals_wider(self, ask):
        frame, formula = people(900, 8), "Surv(time, dead) ~ age + dose"
        options = {"formula": formula, "cohort_effect": "common", "baseline": "piecewise", "intervals": 20}
        result = ask("cox", split(frame, "mod3"), policy=Policy(), **options)
        assert 3 <= len(result.intervals) < 20
        assert all(i.events >= 30 for i in result.intervals)
        assert any("fewer intervals than asked" in w for w in result.warnings)
        free = ask("cox", split(frame, "mod3"), **(options | {"intervals": len(result.intervals)}))
        assert np.all(np.abs(estimates(result) - estimates(free)) < 0.2 * errors(free))

    def test_intervals_with_one_person_are_refused(self):
        """A coordinator that chooses where intervals end, around one person's exit, is not answered."""
        frame = people(200, 9).drop(columns="start")
        frame["time"] = np.arange(1.0, 201)
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ age", "cohort_effect": "common", "baseline": "piecewise"}
        ends = np.array([99.5, 100.5, 200.0])
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        hazard = {"ends": ends, "hazard": np.zeros((1, 3))}
        free = ask_node(node, "piecewise_sums", params, Policy.none(), **broadcast, **hazard)
        after, inside = free.exposure_x[0, 2, 0] / 100, free.exposure_x[0, 1, 0]
        assert free.leaving[0, 1] == 1
        assert after != inside
        with pytest.raises(Refused, match="min_interval"):
            ask_node(node, "piecewise_sums", params, Policy(), **broadcast, **hazard)


def rounded(frame, ends, time="time"):
    """Times rounded up to the end of their interval."""
    return frame.assign(**{time: np.asarray(ends)[np.searchsorted(ends, frame[time])]})


class TestAdaptive:
    @pytest.mark.parametrize("ties", ["efron", "breslow"])
    def test_is_the_pooled_fit_with_times_rounded_up(self, ask, ties):
        result = ask(
            "cox", split(gbsg2(), "blk4@age"), formula=FOUR, cohort_effect="common", baseline="adaptive", ties=ties,
            robust=True,
        )  # fmt: skip
        assert all(i.events >= 10 and i.leaving - i.events not in range(1, 10) for i in result.intervals)
        merged = rounded(gbsg2(), [i.end for i in result.intervals])
        pooled = ask("cox", {"a": merged}, formula=FOUR, ties=ties, robust=True)
        close(estimates(result), estimates(pooled))
        close(errors(result), errors(pooled))
        close(result.log_likelihood, pooled.log_likelihood)
        for name, test in pooled.tests.items():
            close(result.tests[name].statistic, test.statistic)
        for name, test in pooled.proportional_hazards.items():
            close(result.proportional_hazards[name].statistic, test.statistic)

    def test_gbsg2_is_as_close_to_the_exact_fit_as_methods_say(self, ask):
        """METHODS count exits with the events: 30 intervals, 0.11. Each kind for itself leaves 19."""
        frames = split(gbsg2(), "blk4@age")
        exact = ask("cox", frames, formula=FOUR, cohort_effect="common", interval=1)
        result = ask("cox", frames, formula=FOUR, cohort_effect="common", baseline="adaptive")
        assert len(result.intervals) == 19
        assert np.max(np.abs(estimates(result) - estimates(exact)) / errors(exact)) < 0.11
        assert any("rounded up to the end of 19 intervals" in w for w in result.warnings)

    def test_late_entry_counts_from_the_start_of_its_interval(self, ask):
        frame = people(500, 12)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        formula = "Surv(start, time, dead) ~ age + dose + strata(centre)"
        result = ask("cox", split(frame, "mod3"), formula=formula, cohort_effect="common", baseline="adaptive")
        ends = np.array([0.0, *(i.end for i in result.intervals)])
        merged = rounded(frame, ends[1:])
        merged["start"] = ends[np.searchsorted(ends, frame["start"], side="right") - 1]
        close(estimates(result), estimates(ask("cox", {"a": merged}, formula=formula)))

    def test_default_policies_agree_to_intervals(self, ask):
        frame = people(1500, 13)
        formula = "Surv(time, dead) ~ age + dose + sex"
        options = {"formula": formula, "cohort_effect": "common", "baseline": "adaptive"}
        result = ask("cox", split(frame, "blk3"), policy=Policy(), **options)
        assert len(result.intervals) >= 3
        pooled = ask("cox", {"a": rounded(frame, [i.end for i in result.intervals])}, formula=formula)
        close(estimates(result), estimates(pooled))

    def test_a_grid_of_single_exits_is_answered_on_wider_intervals_only(self, ask):
        """METHODS T1.10: the attack on a fine grid, put as an honest question, gets no interval with few exits."""
        frame = people(600, 14)
        frame["time"] = np.arange(600) / 10 + 0.1
        options = {"cohort_effect": "common", "baseline": "adaptive", "interval": 0.1, "until": 60}
        result = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ age", **options)
        assert all(i.events >= 30 for i in result.intervals)
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ age", **options}
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        with pytest.raises(Refused, match="min_interval"):
            ask_node(node, "grid_likelihoods", params, Policy(), **broadcast, edges=np.array([300.0, 301.0, 600.0]))

    def test_votes_tell_nothing_about_the_people_of_a_group(self):
        """However finely a coordinator asks, the groups alone decide: moving people within one changes no vote."""
        frame = people(120, 15).drop(columns="start").assign(dead=True)
        frame["time"] = np.arange(1.0, 121)
        moved = frame.copy()
        moved.loc[41:48, "time"] = 45.5
        params = {"formula": "Surv(time, dead) ~ age", "cohort_effect": "common", "baseline": "adaptive"}
        params |= {"interval": 0.5, "until": 120}
        candidates = np.array([[a, a + 1, 240.0] for a in range(80, 100)], dtype=float)
        votes = []
        for own in (frame, moved):
            (node,) = network(named([own]), policy=Policy()).service.nodes.values()
            votes.append(ask_node(node, "objections", params, Policy(), candidates=candidates).objections)
        assert np.array_equal(*votes)
        # Only between two groups, as at 40, an interval without anybody cuts through none.
        assert votes[0].tolist() == [0.0] + [1.0] * 19


class TestPooledConcordance:
    def test_is_that_of_the_pooled_data_up_to_the_bins(self, ask):
        for frame, formula, exact in (
            (gbsg2(), GBSG2, (0.691851028014909, 0.0149586967176198)),
            (rossi(), ROSSI, (0.640329247099714, 0.0266581227726475)),
        ):
            result = ask("cox", split(frame, "mod3"), formula=formula, cohort_effect="common", interval=1)
            found = result.pooled_concordance
            close([found.concordance, found.std_error], exact, rtol=0, atol=4e-4)

    def test_is_exact_where_bins_hold_one_score_and_one_time(self, ask):
        frame = people(300, 20).drop(columns="start").assign(w=lambda f: f["w"] - 2.0)
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ w", cohort_effect="common", interval=1)
        pooled = ask("cox", {"a": frame}, formula="Surv(time, dead) ~ w").concordance
        assert result.pooled_concordance.model_dump() == pytest.approx(pooled.model_dump())

    def test_is_not_given_where_it_cannot_be(self, ask):
        frame = people(900, 21)
        assert ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age").pooled_concordance is None
        options = {"cohort_effect": "common", "baseline": "piecewise"}
        held = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ age", **options)
        assert held.pooled_concordance is None
        assert any("Concordance over all cohorts is withheld" in w for w in held.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "piecewise"}, "cohort_effect='common'"),
        ({"baseline": "piecewise", "cohort_effect": "common", "interval": 5}, "exact times"),
        ({"baseline": "smooth", "cohort_effect": "common"}, "baseline"),
        ({"baseline": "piecewise", "cohort_effect": "common", "intervals": 0}, "intervals"),
        ({"baseline": "adaptive", "cohort_effect": "common", "per_interval": 1}, "per_interval"),
    ],
)
def test_wrong_questions_about_baselines(ask, options, message):
    with pytest.raises(InvalidQuestion, match=message):
        ask("cox", split(people(), "mod3"), formula="Surv(time, dead) ~ age", **options)


class TestDifferencing:
    @pytest.mark.parametrize("baseline", ["adaptive", "piecewise"])
    def test_intervals_that_differ_by_a_few_people_are_not_both_told_of(self, baseline):
        """A coordinator that asks again with one end moved by a day would learn of who left on that day."""
        frame = people(500, 40).drop(columns="start")
        (node,) = network(named([frame]), policy=Policy()).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ age", "cohort_effect": "common", "baseline": baseline}
        bound = node.bound("cox", params)
        asker = Asker(job="j", study="s", researcher="", cohorts=("c0", "c1", "c2"), alone=False)
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": np.array(0.0)}
        statistic = "piecewise_sums" if baseline == "piecewise" else "grid_likelihoods"

        def tell(ends):
            chosen = {"ends": ends, "hazard": np.zeros((1, len(ends)))} if baseline == "piecewise" else {"edges": ends}
            return node.compute("cox", statistic, bound, {**broadcast, **chosen}, asker=asker)

        assert np.any(tell(np.array([10.0, 30.0, 60.0]))["not_finite"]) == 0
        tell(np.array([10.0, 30.0, 60.0]))
        assert 0 < (np.ceil(frame["time"]) == 31).sum() < 10
        with pytest.raises(Refused, match="min_difference"):
            tell(np.array([10.0, 31.0, 60.0]))
