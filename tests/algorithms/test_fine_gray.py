"""Fine-Gray regression against R's finegray and coxph, lifelines, and the weighted likelihood written out."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from datasets import mgus2, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from algorithms.fine_gray import squared_residuals
from algorithms.numerics.fine_gray_params import FineGrayParams
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, Separation
from node.disclosure import Policy, check
from simulation import network

EXAMPLES = [
    {"formula": "Surv(time, arm) ~ bmi", "cause": "b"},
    {"formula": "Surv(time, arm) ~ bmi + sex", "cause": "c", "cohort_effect": "common", "ties": "breslow"},
]


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=150, seed=0, *, ties=True):
    rng = np.random.default_rng(seed)
    x, sex = rng.normal(size=n), rng.choice(["f", "m"], n)
    time = rng.exponential(np.exp(-0.5 * x)) * 12
    return pd.DataFrame(
        {
            "time": np.ceil(time).clip(1, 40) if ties else time,
            "end": rng.choice(["alive", "heart", "cancer"], n, p=[0.35, 0.4, 0.25]),
            "x": x,
            "sex": sex,
            "m": (sex == "m").astype(int),
        }
    )


def expanded(frame):
    """Intervals at risk of `heart` with their weights, as finegray of R's survival package makes them."""
    time, end = frame["time"].to_numpy(float), frame["end"].to_numpy()
    moments = np.unique(time)
    staying, left = {}, 1.0
    for t in moments:
        staying[t] = left
        watched = (time > t).sum() + ((time == t) & (end == "alive")).sum()
        gone = ((time == t) & (end == "alive")).sum()
        left *= 1 - gone / watched if gone else 1
    rows = []
    for i, p in enumerate(frame.itertuples()):
        rows.append((i, 0.0, p.time, 1.0, p.end == "heart", p.x, p.m))
        if p.end == "cancer":
            after = moments[moments > p.time]
            rows += [
                (i, a, b, staying[b] / staying[p.time], False, p.x, p.m)
                for a, b in pairwise([p.time, *after])
                if staying[b] > 0
            ]
    return pd.DataFrame(rows, columns=["id", "start", "stop", "weight", "event", "x", "m"])


def weighted_cox(parts, ties, beta):
    """Log-likelihood, score and information of weighted intervals, stratum by stratum, as they are defined."""
    value, score, information = 0.0, np.zeros(2), np.zeros((2, 2))
    for d in parts:
        z = d[["x", "m"]].to_numpy(float)
        risk = d["weight"].to_numpy() * np.exp(z @ beta)
        for t in np.unique(d["stop"][d["event"]]):
            there = ((d["start"] < t) & (t <= d["stop"])).to_numpy()
            tied = ((d["stop"] == t) & d["event"]).to_numpy()
            for k in range(tied.sum()):
                r = risk * (there - (k / tied.sum() if ties == "efron" else 0.0) * tied)
                mean = r @ z / r.sum()
                value -= np.log(r.sum())
                score -= mean
                information += (z.T * r) @ z / r.sum() - np.outer(mean, mean)
            value += (z[tied] @ beta).sum()
            score += z[tied].sum(axis=0)
    return value, score, information


class TestMgus2:
    """R 4.2.2, survival 3.5-3: finegray, then coxph(..., weights = fgwt, cluster = id), Efron."""

    def test_as_pooled(self, ask):
        frame = mgus2().assign(male=lambda f: (f["sex"] == "M").astype(int))
        question = {"formula": "Surv(months, end) ~ age + male", "cause": "pcm", "cohort_effect": "common"}
        result = ask("fine_gray", split(frame, "blk4@age"), **question)
        close([e.estimate for e in result.coefficients.values()], [-0.0173017050630951, -0.259756791397639], rtol=1e-7)
        close(list(result.model_std_errors.values()), [0.00702219875124654, 0.187048577502268], rtol=1e-7)
        errors = [e.std_error for e in result.coefficients.values()]
        close(errors, [0.00570293163587151, 0.18563469477107], rtol=1e-7)
        close(result.log_likelihood, -789.935826379371)
        assert (result.n_events, result.std_error_type) == (115, "robust (sandwich)")


@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 6), ties=st.sampled_from(["efron", "breslow"]))
def test_any_split_is_the_maximum_of_the_weighted_likelihood(seed, cohorts, ties):
    frame = people(120, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    frames = [frame[where == k] for k in range(cohorts)]
    study = network(named(frames)).study()
    for effect, parts in (("common", [frame]), ("stratified", frames)):
        result = study.fine_gray(
            formula="Surv(time, end) ~ x + m", cause="heart", cohort_effect=effect, ties=ties
        ).result(progress=False)  # fmt: skip
        beta = np.array([e.estimate for e in result.coefficients.values()])
        value, score, information = weighted_cox([expanded(part) for part in parts], ties, beta)
        close(score, 0.0, atol=1e-7)
        close(result.log_likelihood, value)
        close(list(result.model_std_errors.values()), np.sqrt(np.diag(np.linalg.inv(information))))


@pytest.mark.parametrize("effect", ["common", "stratified"])
def test_lifelines(ask, effect):
    frames = split(people(200, 3), "mod3")
    whole = pd.concat(frames.values()).reset_index(drop=True)
    parts = [expanded(f).assign(cohort=k) for k, f in frames.items()] if effect == "stratified" else [expanded(whole)]
    fit = CoxPHFitter().fit(
        pd.concat(parts), "stop", "event", entry_col="start", weights_col="weight", robust=True,
        fit_options={"precision": 1e-10}, **({"strata": ["cohort"]} if effect == "stratified" else {}),
        formula="x + m",
    )  # fmt: skip
    result = ask("fine_gray", frames, formula="Surv(time, end) ~ x + m", cause="heart", cohort_effect=effect)
    close([e.estimate for e in result.coefficients.values()], fit.params_, rtol=1e-5)  # where lifelines stops


@pytest.mark.parametrize("effect", ["common", "stratified"])
def test_robust_errors_are_the_squared_derivatives_by_weight(ask, effect):
    """Of the score, by how much each person counts; censoring weights stay. (lifelines has none with late entry.)"""
    frame = people(70, 4, ties=False)
    frame["time"] = frame["time"].rank()
    frames = split(frame, "mod3")
    asked = {"formula": "Surv(time, end) ~ x + m", "cause": "heart", "cohort_effect": effect}
    result = ask("fine_gray", frames, **asked)
    beta = np.array([e.estimate for e in result.coefficients.values()])
    parts = [expanded(f) for f in (frames.values() if effect == "stratified" else [frame])]
    squares = np.zeros((2, 2))
    for d in parts:
        for person in d["id"].unique():
            up, down = (score_by_weight(d, beta, person, 1 + step) for step in (1e-5, -1e-5))
            squares += np.outer(up - down, up - down) / 4e-10
    _, _, information = weighted_cox(parts, "breslow", beta)
    inverse = np.linalg.inv(information)
    errors = np.sqrt(np.diag(inverse @ squares @ inverse))
    close([e.std_error for e in result.coefficients.values()], errors, rtol=1e-6)
    close(np.sqrt(np.diag(np.array(result.covariance))), errors, rtol=1e-6)


def score_by_weight(d, beta, person, weight):
    """The score where one person counts as `weight` people; no ties."""
    z, score = d[["x", "m"]].to_numpy(float), np.zeros(2)
    counted = np.where(d["id"] == person, weight, 1.0)
    risk = counted * d["weight"].to_numpy() * np.exp(z @ beta)
    for k in np.flatnonzero(d["event"]):
        there = ((d["start"] < d["stop"].iloc[k]) & (d["stop"].iloc[k] <= d["stop"])).to_numpy()
        score += counted[k] * (z[k] - (risk * there) @ z / (risk * there).sum())
    return score


def test_without_other_causes_it_is_cox(ask):
    frame = people(200, 4)
    frame["ill"] = frame["end"] == "heart"
    frames = split(frame, "mod3")
    for effect in ("common", "stratified"):
        own = ask("fine_gray", frames, formula="Surv(time, ill) ~ x + sex", cohort_effect=effect)
        cox = ask("cox", frames, formula="Surv(time, ill) ~ x + sex", cohort_effect=effect, robust=True)
        for name, estimate in own.coefficients.items():
            close(list(estimate.model_dump().values()), list(cox.coefficients[name].model_dump().values()), atol=1e-9)
        close([own.log_likelihood, own.null_log_likelihood], [cox.log_likelihood, cox.null_log_likelihood])


def test_scale_and_place_of_a_covariate_do_not_matter(ask):
    frame = people(200, 5).assign(far=lambda f: f["x"] * 1e6 + 1e8)
    frames = split(frame, "mod3")
    for effect in ("common", "stratified"):
        near, far = (
            ask("fine_gray", frames, formula=f"Surv(time, end) ~ {name}", cause="heart", cohort_effect=effect)
            for name in ("x", "far")
        )
        close(far.coefficients["far"].estimate * 1e6, near.coefficients["x"].estimate, rtol=1e-7)
        close(far.coefficients["far"].std_error * 1e6, near.coefficients["x"].std_error, rtol=1e-7)


class TestCohorts:
    def test_one_without_events_and_one_without_people(self, ask):
        frame = people(300, 6)
        still = frame[:80].assign(end="alive")
        frames = named([still, frame[80:180], frame[180:], frame[:0]])
        result = ask("fine_gray", frames, formula="Surv(time, end) ~ x + sex", cause="heart")
        assert any(w.startswith("1 of the cohorts") for w in result.warnings)
        same = ask("fine_gray", named([frame[80:180], frame[180:]]), formula="Surv(time, end) ~ x + sex", cause="heart")
        close(result.coefficients["x"].estimate, same.coefficients["x"].estimate)
        assert result.n == 300

    def test_order_does_not_change_a_bit(self, ask):
        frames = split(people(200, 7), "blk3")
        turned = dict(zip("zyx", frames.values(), strict=True))
        for effect in ("common", "stratified"):
            first, second = (
                ask("fine_gray", f, formula="Surv(time, end) ~ x", cause="heart", cohort_effect=effect)
                for f in (frames, turned)
            )
            assert first.coefficients == second.coefficients

    def test_until_censors(self, ask):
        frame = people(200, 8)
        cut = frame.assign(
            end=frame["end"].where(frame["time"] <= 15, "alive"), time=frame["time"].clip(upper=15)
        )  # fmt: skip
        for effect in ("common", "stratified"):
            asked = {"formula": "Surv(time, end) ~ x", "cause": "heart", "cohort_effect": effect}
            first, second = (
                ask("fine_gray", split(frame, "mod3"), **asked, until=15),
                ask("fine_gray", split(cut, "mod3"), **asked),
            )
            close(first.coefficients["x"].estimate, second.coefficients["x"].estimate)
            assert first.n_events == second.n_events


class TestDisclosure:
    def test_a_grid_with_single_exits_is_refused(self, ask):
        """With sums per exact time, the difference of two risk sets is one person's covariates (METHODS T1.10)."""
        policy = Policy(min_people=5, min_interval=5)
        asked = {"formula": "Surv(time, end) ~ x", "cause": "heart", "cohort_effect": "common"}
        with pytest.raises(Refused, match="min_interval"):
            ask("fine_gray", split(people(400, 9, ties=False), "mod3"), policy=policy, **asked, interval=0.01)
        # Cohorts' own exact times are no such sums.
        own = ask(
            "fine_gray",
            split(people(400, 9, ties=False), "mod3"),
            policy=policy,
            **asked | {"cohort_effect": "stratified"},
        )
        assert own.n == 400

    def test_a_grid_of_wide_intervals_is_answered(self, ask):
        policy = Policy(min_people=5, min_interval=5)
        asked = {"formula": "Surv(time, end) ~ x", "cause": "heart", "cohort_effect": "common", "interval": 20}
        assert ask("fine_gray", split(people(600, 10), "mod3"), policy=policy, **asked).interval == 20

    def test_residuals_by_an_invented_hazard_are_refused_on_a_fine_grid(self):
        node = next(iter(network(split(people(300, 11), "mod3")).service.nodes.values()))
        values = {"formula": "Surv(time, end) ~ x", "cause": "heart", "cohort_effect": "common"}
        params = FineGrayParams.bind(values, node.dictionary)
        times = params.points + 1
        one = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        hazard = np.zeros((5, times))
        hazard[0, 7] = 1.0
        with pytest.raises(Refused, match="min_interval"):
            check(squared_residuals(node.data, params, **one, hazard=hazard, still=np.ones(times)), Policy())
        for still in (np.zeros(times), np.full(times, 2.0), np.ones(times - 1)):
            with pytest.raises(Refused, match="shares"):
                squared_residuals(node.data, params, **one, hazard=hazard, still=still)

    def test_a_cohort_with_few_events_is_refused(self, ask):
        frame = people(300, 12)
        frame.loc[:99, "end"] = "alive"
        frame.loc[:2, "end"] = "heart"
        with pytest.raises(Refused, match="min_people"):
            ask("fine_gray", named([frame[:100], frame[100:200], frame[200:]]), policy=Policy(),
                formula="Surv(time, end) ~ x", cause="heart")  # fmt: skip


class TestBadInput:
    def test_missing_values_and_no_length(self, ask):
        frame = people(300, 13)
        frame.loc[::10, "x"] = np.nan
        frame.loc[1:3, "time"] = 0
        result = ask("fine_gray", split(frame, "mod3"), formula="Surv(time, end) ~ x", cause="heart")
        assert (result.n, result.n_excluded, result.missing["x"]) == (270, 30, 30)
        assert any("no length" in w for w in result.warnings)

    def test_a_group_without_events_has_no_finite_ratio(self, ask):
        frame = people(300, 14)
        frame.loc[(frame["sex"] == "m") & (frame["end"] == "heart"), "end"] = "alive"
        for effect in ("common", "stratified"):
            with pytest.raises(Separation, match="sex"):
                ask(
                    "fine_gray",
                    split(frame, "mod3"),
                    formula="Surv(time, end) ~ x + sex",
                    cause="heart",
                    cohort_effect=effect,
                )

    def test_nobody_has_the_event(self, ask):
        with pytest.raises(CannotEstimate, match="cured"):
            ask("fine_gray", split(people(90, 15).assign(cured=False), "mod3"), formula="Surv(time, cured) ~ x")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"formula": "Surv(x, time, end) ~ sex"}, "needs everybody from the start"),
            ({"formula": "Surv(time, end) ~ 1"}, "Give a covariate"),
            ({"formula": "Surv(time, end) ~ x - 1"}, "no intercept"),
            ({"formula": "Surv(time, end) ~ x + strata(sex)"}, "strata"),
            ({"cause": "flu"}, "`cause` is no level"),
            ({"cause": "alive"}, "means censored"),
        ],
    )
    def test_wrong_questions(self, ask, change, words):
        asked = {"formula": "Surv(time, end) ~ x", "cause": "heart", **change}
        with pytest.raises((InvalidQuestion, FormulaError), match=words):
            ask("fine_gray", split(people(60), "mod3"), **asked)
