"""Cox regression against statsmodels, lifelines, and sums written out person by person."""

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from hazards import FORMULA, at_random, close, design, errors, estimates, people, written_out
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import network


class TestAgainstStatsmodels:
    """PHReg's score is 0 and its information our covariance at our estimates, however well its own fit converged."""

    @settings(max_examples=8)
    @given(
        seed=st.integers(0, 10**6),
        cohorts=st.integers(1, 13),
        ties=st.sampled_from(["efron", "breslow"]),
        late=st.booleans(),
        strata=st.booleans(),
    )
    def test_any_split(self, seed, cohorts, ties, late, strata):
        import statsmodels.api as sm

        frame = people(200, seed)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        frames, where = at_random(frame, cohorts, seed)
        surv = "Surv(start, time, dead)" if late else "Surv(time, dead)"
        formula = f"{surv} ~ {FORMULA} + offset(z)" + (" + strata(centre)" if strata else "")
        study = network(frames).study()
        # PHReg has somebody at risk at the very time of entry, R and we have not; half a step later nobody differs.
        own = where * 2 + (frame["centre"] == "y") if strata else where
        for effect, groups in (("stratified", own), ("common", (frame["centre"] == "y") * int(strata))):
            result = study.cox(formula=formula, cohort_effect=effect, ties=ties, interval=1).result(progress=False)
            model = sm.PHReg(
                frame["time"], design(frame), status=frame["dead"].to_numpy(int), ties=ties,
                entry=frame["start"] + 0.5 if late else None, strata=np.asarray(groups), offset=frame["z"],
            )  # fmt: skip
            at = estimates(result)
            covariance = np.array(result.covariance)
            score = model.score(at)
            assert score @ covariance @ score < 1e-14
            close(np.linalg.inv(-model.hessian(at)), covariance, rtol=1e-7)
            close(result.log_likelihood, model.loglike(at))
            close(result.null_log_likelihood, model.loglike(0 * at))


class TestAgainstSumsWrittenOut:
    @pytest.mark.parametrize("ties", ["efron", "breslow"])
    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_weights_late_entry_strata_and_families(self, ask, ties, effect):
        frame = people(200, 5)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        # Families live in one cohort.
        frames = named([frame[frame["family"] % 3 == k] for k in range(3)])
        result = ask(
            "cox", frames, formula=f"Surv(start, time, dead) ~ {FORMULA} + strata(centre) + cluster(family)",
            weights="w", ties=ties, cohort_effect=effect, interval=1,
        )  # fmt: skip
        strata = (frame["centre"] == "y") * 1 + (frame["family"] % 3) * 2 * (effect == "stratified")
        x = design(frame).astype(float)
        ll, residual, information = written_out(
            frame, x, estimates(result), ties, strata=strata.to_numpy(), weights=frame["w"].to_numpy()
        )
        inverse = np.linalg.inv(information)
        score = residual.sum(axis=0)
        assert score @ inverse @ score < 1e-16
        close(result.log_likelihood, ll)
        close(list(result.model_std_errors.values()), np.sqrt(np.diag(inverse)))
        by_family = np.array([residual[frame["family"] == f].sum(axis=0) for f in frame["family"].unique()])
        close(np.array(result.covariance), inverse @ by_family.T @ by_family @ inverse)
        assert result.clusters == frame["family"].nunique()

    def test_robust_without_clusters_is_by_row(self, ask):
        frame = people(150, 6).assign(start=-1.0)
        result = ask("cox", {"a": frame}, formula=f"Surv(time, dead) ~ {FORMULA}", robust=True)
        _, residual, information = written_out(frame, design(frame).astype(float), estimates(result), "efron")
        inverse = np.linalg.inv(information)
        close(np.array(result.covariance), inverse @ residual.T @ residual @ inverse)
        assert result.std_error_type == "robust (sandwich)"

    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_robust_score_test_is_that_of_the_residuals_at_no_effect(self, ask, effect):
        """As R's coxph: the score against the squares of what every family adds to it."""
        frame = people(240, 17)
        frame = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        frames = named([frame[frame["family"] % 3 == k] for k in range(3)])
        result = ask(
            "cox", frames, formula=f"Surv(start, time, dead) ~ {FORMULA} + cluster(family)", cohort_effect=effect,
            interval=1,
        )  # fmt: skip
        strata = (frame["family"] % 3 * (effect == "stratified")).to_numpy()
        _, residual, _ = written_out(frame, design(frame).astype(float), np.zeros(5), "efron", strata=strata)
        by_family = np.array([residual[frame["family"] == f].sum(axis=0) for f in frame["family"].unique()])
        score = by_family.sum(axis=0)
        close(result.tests["robust score"].statistic, score @ np.linalg.solve(by_family.T @ by_family, score))
        assert result.tests["robust score"].df == 5
        assert "robust score" not in ask("cox", frames, formula="Surv(time, dead) ~ age").tests

    def test_lifelines_agrees_about_weights(self, ask):
        import lifelines

        frame = people(300, 7)
        result = ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age + dose", weights="w")
        fit = lifelines.CoxPHFitter().fit(
            frame[["time", "dead", "w", "age", "dose"]], "time", "dead", weights_col="w", robust=True,
            fit_options={"precision": 1e-12},
        )  # fmt: skip
        close(estimates(result), fit.params_.to_numpy(), rtol=1e-6)

    def test_a_weight_of_two_is_two_people_when_ties_are_broken_by_breslow(self, ask):
        frame = people(200, 8)
        twice = frame.loc[frame.index.repeat(frame["w"].astype(int))]
        formula = f"Surv(time, dead) ~ {FORMULA}"
        weighted = ask("cox", split(frame, "mod3"), formula=formula, weights="w", ties="breslow", robust=False)
        frames = named([twice[twice.index % 3 == k] for k in range(3)])
        repeated = ask("cox", frames, formula=formula, ties="breslow")
        close(estimates(weighted), estimates(repeated))
        close(errors(weighted), errors(repeated))
        close(weighted.concordance.concordance, repeated.concordance.concordance)

    def test_proportional_hazards_by_numerical_differentiation(self, ask):
        """The test is the score test of x g(t): here from a model with one row per person and event time."""
        frame = people(120, 9, step=5.0).assign(start=-1.0)
        result = ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age + dose", time_transform="rank")
        x, beta = design(frame)[:, :2].astype(float), estimates(result)
        rank = frame["time"].rank()
        rows = []
        for t in np.unique(frame["time"][frame["dead"]]):
            there = frame["time"] >= t
            g = rank[frame["time"] == t].iloc[0]
            part = np.hstack([x[there], x[there] * g])
            rows.append((t, part, (frame["dead"] & (frame["time"] == t))[there].to_numpy()))
        long = pd.DataFrame(
            {
                "start": np.concatenate([np.full(len(p), t - 1e-3) for t, p, _ in rows]),
                "time": np.concatenate([np.full(len(p), t) for t, p, _ in rows]),
                "dead": np.concatenate([e for *_, e in rows]),
            }
        )
        wide = np.vstack([p for _, p, _ in rows])
        _, residual, information = written_out(long, wide, np.concatenate([beta, [0, 0]]), "efron")
        score = residual.sum(axis=0)
        left = information[2:, 2:] - information[2:, :2] @ np.linalg.solve(information[:2, :2], information[:2, 2:])
        expected = [*(score[2:] ** 2 / np.diag(left)), score[2:] @ np.linalg.solve(left, score[2:])]
        close([t.statistic for t in result.proportional_hazards.values()], expected, rtol=1e-6)
