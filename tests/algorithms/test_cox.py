"""Cox regression against R's survival package, statsmodels, lifelines, and sums written out person by person."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from datasets import gbsg2, heart, mgus2, named, rossi, split
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.numerics.concordance import concordance
from algorithms.numerics.risk_sets import own_risk_sets
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import (
    CannotEstimate,
    Collinear,
    FormulaError,
    InvalidQuestion,
    Refused,
    Separation,
)
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "Surv(time, dead) ~ age + sex", "by_cohort": True},
    {"formula": "Surv(time, dead) ~ age * arm"},
    {"formula": "Surv(time, dead) ~ sex + age + strata(arm)", "cohort_effect": "common", "interval": 10},
    {"formula": "Surv(time, dead) ~ sex + offset(log(years)) + cluster(visits)", "weights": "years"},
    {"formula": "Surv(time, dead) ~ bmi", "cohort_effect": "common", "interval": 20, "robust": True},
    {"formula": "Surv(time, dead) ~ sex", "time_transform": "km", "ties": "breslow"},
]
GBSG2 = "Surv(time, cens) ~ horTh + age + menostat + tsize + tgrade + pnodes + progrec + estrec"
ROSSI = "Surv(week, arrest) ~ fin + age + race + wexp + mar + paro + prio"


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def people(n=300, seed=0, step=1.0):
    """Made-up people with ties, late entry, strata, weights and families."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "dose": rng.gamma(2.0, 1.0, n),
            "sex": rng.choice(["f", "m"], n),
            "arm": rng.choice(["a", "b", "c"], n),
            "centre": rng.choice(["x", "y"], n),
            "w": rng.integers(1, 4, n).astype(float),
            "family": rng.integers(0, max(n // 3, 1), n),
            "z": rng.normal(0, 0.3, n),
        }
    )
    eta = 0.03 * frame["age"] + 0.3 * (frame["sex"] == "m") - 0.2 * frame["dose"] + frame["z"]
    time = rng.exponential(30 * np.exp(2 - eta))
    frame["time"] = np.ceil(time.clip(None, 60) / step) * step
    frame["start"] = np.floor(rng.uniform(0, 1, n) * frame["time"])
    frame["dead"] = (time <= 60) & (rng.random(n) < 0.8)
    return frame


def at_random(frame, cohorts, seed):
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)]), where


class TestReferenceValues:
    """R 4.2.2, survival 3.5-3."""

    @pytest.mark.parametrize(
        ("ties", "coefficients", "std_errors", "robust", "likelihoods", "tests", "baseline"),
        [
            (
                "efron",
                [-0.37942216687121, -0.0574377430137612, 0.313899785949295, -0.149795697222788, -0.433703876690251,
                 -0.0848710829908368, 0.0914970793511207],
                [0.191379480712809, 0.0219994706279538, 0.307992776392939, 0.212224296158164, 0.381868057464922,
                 0.195756671920923, 0.0286485500734706],
                [0.195541778880588, 0.0253361463208247, 0.292328555108875, 0.218060315186137, 0.380244465386073,
                 0.199200829565688, 0.0289745948116107],
                [-675.380632346871, -658.747659446086],
                [33.2659458015701, 33.5286888997077, 32.1126101919369],
                [0.104038413783003, 0.403914297759959, 0.956499233885024],
            ),
            (
                "breslow",
                [-0.379021887795027, -0.0572459253635571, 0.314129765068245, -0.151114599627457, -0.432782572549051,
                 -0.0849828357516055, 0.0911115405004656],
                [0.191364425859019, 0.0219831857514714, 0.308017279578757, 0.21212316079632, 0.38179493506431,
                 0.195748207323212, 0.0286312530668248],
                [0.194687740093362, 0.0252287002050108, 0.291077723347439, 0.216960903499162, 0.378891216798179,
                 0.198342010867714, 0.0287483870929288],
                [-675.683389417497, -659.120605677328],
                [33.1255674803372, 33.3828204240907, 31.9810169858554],
                [0.103576024188295, 0.401708836067688, 0.950727394894514],
            ),
        ],
    )  # fmt: skip
    def test_rossi(self, ask, ties, coefficients, std_errors, robust, likelihoods, tests, baseline):  # noqa: PLR0917
        frames = split(rossi(), "blk3@prio")
        result = ask("cox", frames, formula=ROSSI, cohort_effect="common", ties=ties)
        close(estimates(result), coefficients)
        close(errors(result), std_errors)
        close([result.null_log_likelihood, result.log_likelihood], likelihoods)
        close([result.tests[name].statistic for name in ("likelihood ratio", "score", "Wald")], tests)
        curve = result.baseline["all"]
        close([curve.cumulative_hazard[curve.time.index(t)] for t in (10, 26, 52)], baseline)
        assert (result.n, result.n_events, result.n_excluded, result.cohort_effect) == (432, 114, 0, "common")
        assert result.rounds <= result.iterations + 4
        sandwich = ask("cox", frames, formula=ROSSI, cohort_effect="common", ties=ties, robust=True)
        close(errors(sandwich), robust)
        close(list(sandwich.model_std_errors.values()), std_errors)
        alone = ask("cox", {"a": rossi()}, formula=ROSSI, ties=ties, robust=True)
        close(estimates(alone), coefficients)
        close(errors(alone), robust)
        assert alone.baseline is None

    @pytest.mark.parametrize(
        ("ties", "transform", "expected"),
        [
            ("efron", "identity", [0.00895055826554622, 6.61594379790832, 2.14442625260625, 3.8767551298427,
                                   1.0313483188442, 0.0281765986864225, 0.424798411107574, 18.1826870813889]),
            ("efron", "log", [0.137599435179095, 8.23149835044422, 1.6170849367858, 2.08585484515458,
                              1.12597331496406, 0.219202810351746, 0.013479071364258, 17.6615705937228]),
            ("efron", "km", [0.0624297500893762, 5.9739816611519, 2.06826538335464, 4.22459563869861,
                             1.01102156455446, 0.0183832991358405, 0.520584267006146, 17.6944152960279]),
            ("breslow", "identity", [0.00859180637696404, 6.57910385729408, 2.13080562073469, 3.84577212649549,
                                     1.02512791112834, 0.0289138103562625, 0.41545274167328, 18.0597432986957]),
            ("breslow", "log", [0.13932367592614, 8.19071687688643, 1.60661982461256, 2.07098512594517,
                                1.12093816666794, 0.220839819658564, 0.0144245926960834, 17.5725259953421]),
            ("breslow", "km", [0.0613846353541132, 5.94084673551874, 2.05537152700593, 4.19071463518264,
                               1.00500678290822, 0.0189931777784128, 0.510018855219349, 17.5732788148552]),
        ],
    )  # fmt: skip
    def test_rossi_proportional_hazards(self, ask, ties, transform, expected):
        options = {"formula": ROSSI, "ties": ties, "time_transform": transform}
        for frames, effect in ((split(rossi(), "blk3@prio"), "common"), ({"a": rossi()}, "stratified")):
            found = ask("cox", frames, cohort_effect=effect, **options).proportional_hazards
            close([test.statistic for test in found.values()], expected)
            assert list(found)[-1] == "GLOBAL"
            assert found["GLOBAL"].df == 7

    @pytest.mark.parametrize(
        ("ties", "counts", "c"),
        [
            ("efron", [27242, 15291, 49, 111, 0], [0.640329247099714, 0.0266581227726475]),
            ("breslow", [27246, 15287, 49, 111, 0], [0.640423183504767, 0.0266476562235689]),
        ],
    )
    def test_rossi_concordance(self, ask, ties, counts, c):
        found = ask("cox", {"a": rossi()}, formula=ROSSI, ties=ties).concordance
        names = ("concordant", "discordant", "tied_score", "tied_time", "tied_both")
        assert [getattr(found, name) for name in names] == counts
        close([found.concordance, found.std_error], c)

    def test_gbsg2_stratified_by_cohort(self, ask):
        result = ask("cox", split(gbsg2(), "blk4@age"), formula=GBSG2)
        # R's reference level of menostat is Pre there, Post here.
        expected = [
            -0.388651725900713, -0.0377791994898478, -0.0389229949376678, 0.00946175062176437, 0.607961257161369,
            0.709991377394685, 0.0476425206907494, -0.00216304699472339, 0.00027207823610073,
        ]  # fmt: skip
        close(estimates(result), expected)
        close(
            errors(result),
            [0.1308107866038, 0.0157145099622819, 0.206231975237854, 0.00396028935539253, 0.249804778704412,
             0.2693863661382, 0.0076146173843437, 0.000581629585041599, 0.000465553214309919],
        )  # fmt: skip
        close([result.log_likelihood, result.null_log_likelihood], [-1349.00358720285, -1403.32168227235])
        c = result.concordance
        assert [c.concordant, c.discordant, c.tied_score, c.tied_time, c.tied_both] == [27337, 12245, 0, 12, 0]
        close([c.concordance, c.std_error], [0.690642211106058, 0.0158393699336111])
        assert (result.n, result.n_events) == (686, 299)
        close(result.bic, -2 * result.log_likelihood + 9 * np.log(299))

    @pytest.mark.parametrize(
        ("interval", "expected", "std_errors", "log_likelihood"),
        [
            (1, [-0.346278427620579, -0.00945923891341082, -0.25844484086586, 0.00779608385216718, 0.63611170455332,
                 0.779654242858245, 0.0487886003524266, -0.00221723568064824, 0.000197310710853675],
             [0.129074735223003, 0.00930059479708494, 0.183476451697747, 0.00393901773538434, 0.249202492015079,
              0.268480147338325, 0.00744708951978793, 0.000573528557034167, 0.000450367926763355], -1735.73210425795),
            (30.4375, [-0.345060595474055, -0.00950491064702928, -0.259761509339356, 0.0078102530587293,
                       0.64364162639646, 0.783618130687095, 0.0485971062782999, -0.00220731374874439,
                       0.000209605680262067],
             [0.129037021705509, 0.00929898615299431, 0.183538952098663, 0.00393834294296941, 0.249168297918411,
              0.268483656622996, 0.00742954545692569, 0.000572933868732518, 0.000451646934951475], -1738.49587412029),
        ],
        ids=["days", "months"],
    )  # fmt: skip
    def test_gbsg2_common(self, ask, interval, expected, std_errors, log_likelihood):
        result = ask("cox", split(gbsg2(), "blk4@age"), formula=GBSG2, cohort_effect="common", interval=interval)
        close(estimates(result), expected)
        close(errors(result), std_errors)
        close(result.log_likelihood, log_likelihood)
        alone = ask("cox", {"a": gbsg2()}, formula=GBSG2, interval=interval)
        close(estimates(alone), expected)
        if interval == 1:
            close(result.null_log_likelihood, -1788.10473712307)
            c = alone.concordance
            assert [c.concordant, c.discordant, c.tied_score, c.tied_time, c.tied_both] == [92066, 41006, 0, 32, 0]
            close([c.concordance, c.std_error], [0.691851028014909, 0.0149586967176198])

    @pytest.mark.parametrize("cohorts", [1, 3])
    def test_heart_with_covariates_that_change_in_time(self, ask, cohorts):
        frame = heart()
        frames = named([frame[frame["id"] % cohorts == k] for k in range(cohorts)])
        effect = {"cohort_effect": "common", "interval": 0.5} if cohorts > 1 else {}
        formula = "Surv(start, stop, event) ~ age + year + surgery + transplant + cluster(id)"
        result = ask("cox", frames, formula=formula, **effect)
        close(
            estimates(result),
            [0.0271666409576771, -0.146346345674198, -0.63720988996813, -0.0102507724090774],
        )
        close(
            list(result.model_std_errors.values()),
            [0.0137141152103179, 0.0704679795188534, 0.367225996180473, 0.313754798337487],
        )
        close(errors(result), [0.0138918929240804, 0.0730798592393635, 0.358210202384587, 0.316882349062489])
        close([result.log_likelihood, result.null_log_likelihood], [-290.56561621849, -298.121355672984])
        assert (result.n, result.clusters, result.std_error_type) == (172, 103, "robust by id")

    @pytest.mark.parametrize(
        ("cause", "expected", "std_errors", "log_likelihood"),
        [
            ("pcm", [0.0130385698370914, -0.0251377892665907], [0.00825868591210803, 0.188455848192887],
             -720.595073105828),
            ("death", [0.0648236635629092, 0.393225863731626], [0.00362027556808525, 0.0696981045796855],
             -5432.29740032151),
        ],
    )  # fmt: skip
    def test_cause_specific_hazards(self, ask, cause, expected, std_errors, log_likelihood):
        frame = mgus2()
        frame = frame.assign(event=frame["end"] == cause)[["months", "event", "age", "sex"]]
        result = ask("cox", split(frame, "blk4@age"), formula="Surv(months, event) ~ age + sex", cohort_effect="common")
        close(estimates(result), expected)
        close(errors(result), std_errors)
        close(result.log_likelihood, log_likelihood)


def design(frame):
    return np.column_stack([frame["age"], frame["dose"], frame["sex"] == "m", frame["arm"] == "b", frame["arm"] == "c"])


FORMULA = "age + dose + sex + arm"


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


def written_out(frame, x, beta, ties, *, strata=None, weights=None):
    """Log-likelihood, score, information and weighted score residuals, event time by event time."""
    n, p = x.shape
    weights = np.ones(n) if weights is None else weights
    strata = np.zeros(n) if strata is None else strata
    start, stop, dead = (frame[c].to_numpy() for c in ("start", "time", "dead"))
    relative = np.exp(x @ beta)
    ll, residual, information = 0.0, np.zeros((n, p)), np.zeros((p, p))
    for s, t in set(zip(strata[dead], stop[dead], strict=True)):
        risk = (strata == s) & (start < t) & (t <= stop)
        events = risk & dead & (stop == t)
        d = events.sum()
        ll += np.sum((weights * (x @ beta))[events])
        for k in range(d):
            share = k / d if ties == "efron" else 0.0
            w = weights * relative * (risk - share * events)
            wave = weights[events].mean()
            mean = w @ x / w.sum()
            ll -= wave * np.log(w.sum())
            information += wave * ((x - mean).T * w) @ (x - mean) / w.sum()
            residual[events] += (x[events] - mean) / d
            lived = (risk - share * events) * relative * wave / w.sum()
            residual -= lived[:, None] * (x - mean)
    return ll, residual * weights[:, None], information


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


def pairs_written_out(start, stop, dead, *, stratum, score, weight):
    counts, mine = np.zeros(5), np.zeros((len(stop), 2))
    for i, j in itertools.permutations(range(len(stop)), 2):
        if stratum[i] != stratum[j] or not dead[i] or start[j] >= stop[i] or start[i] >= stop[i]:
            continue
        w = weight[i] * weight[j]
        if stop[j] > stop[i] or (stop[j] == stop[i] and not dead[j]):
            kind = 0 if score[j] < score[i] else 1 if score[j] > score[i] else 2
            counts[kind] += w
            for a, b in ((i, j), (j, i)):
                mine[a] += weight[a] * weight[b] * np.array([(kind == 0) - (kind == 1.0), 1.0])
        elif stop[j] == stop[i] and dead[j] and i < j:
            counts[4 if score[i] == score[j] else 3] += w
    return counts, np.array([mine[:, 0] @ mine[:, 0], mine[:, 0] @ mine[:, 1], mine[:, 1] @ mine[:, 1]])


class TestConcordance:
    @settings(max_examples=40)
    @given(seed=st.integers(0, 10**6), n=st.integers(0, 60), late=st.booleans(), weighted=st.booleans())
    def test_counts_every_pair(self, seed, n, late, weighted):
        rng = np.random.default_rng(seed)
        stop = rng.integers(1, 12, n).astype(float)
        start = np.floor(rng.uniform(0, 1, n) * stop) if late else None
        dead, stratum = rng.random(n) < 0.5, rng.integers(0, 3, n)
        score, weight = rng.integers(0, 6, n) / 3.0, rng.integers(1, 4, n).astype(float)
        sets = own_risk_sets(start, stop, dead, stratum)
        if weighted:
            object.__setattr__(sets, "weight", weight)
        found = concordance(sets, score)
        begin = np.full(n, -1.0) if start is None else start
        counts, squares = pairs_written_out(
            begin, stop, dead, stratum=stratum, score=score, weight=weight if weighted else np.ones(n)
        )
        close(found.counts, counts)
        close(found.squares, squares)

    def test_the_same_covariates_are_tied_whatever_rounding_does(self):
        score = np.array([0.1 + 0.2, 0.3, 0.7])
        sets = own_risk_sets(None, np.array([1.0, 2.0, 3.0]), np.array([True, False, False]), np.zeros(3, int))
        close(concordance(sets, score).counts, [0, 1, 1, 0, 0])


class TestSplits:
    @pytest.mark.parametrize("rule", ["mod3", "blk3", "blk4@age", "mod13", "by@arm"])
    def test_common_is_the_pooled_fit(self, ask, rule):
        frame = people(400, 11)
        formula = "Surv(time, dead) ~ age * sex + dose + arm"
        pooled = ask("cox", {"a": frame}, formula=formula)
        result = ask("cox", split(frame, rule), formula=formula, cohort_effect="common")
        close(estimates(result), estimates(pooled))
        close(errors(result), errors(pooled))
        close(result.tests["score"].statistic, pooled.tests["score"].statistic)

    def test_stratified_is_the_fit_with_a_stratum_per_cohort(self, ask):
        frame = people(400, 12)
        frames = split(frame, "blk4@dose")
        together = pd.concat([f.assign(cohort=name) for name, f in frames.items()], ignore_index=True)
        result = ask("cox", frames, formula=f"Surv(time, dead) ~ {FORMULA}", robust=True)
        pooled = ask("cox", {"a": together}, formula=f"Surv(time, dead) ~ {FORMULA} + strata(cohort)", robust=True)
        close(estimates(result), estimates(pooled))
        close(errors(result), errors(pooled))
        for name in pooled.proportional_hazards:
            close(result.proportional_hazards[name].statistic, pooled.proportional_hazards[name].statistic)
        close(result.concordance.std_error, pooled.concordance.std_error)

    def test_levels_that_cohorts_lack_and_cohorts_without_anybody(self, ask):
        frame = people(400, 13)
        parts = [frame.iloc[:150], frame.iloc[150:300], frame.iloc[300:]]
        for level in ("a", "b", "c"):  # the reference level, then others, at the first or the last cohort only
            for where in (0, 2):
                frames = [p if k == where else p[p["arm"] != level] for k, p in enumerate(parts)]
                frames.append(frame.iloc[:0])
                together = pd.concat([p.assign(cohort=str(k)) for k, p in enumerate(frames)], ignore_index=True)
                result = ask("cox", named(frames), formula="Surv(time, dead) ~ arm + age")
                pooled = ask("cox", {"a": together}, formula="Surv(time, dead) ~ arm + age + strata(cohort)")
                close(estimates(result), estimates(pooled))

    def test_order_of_cohorts_does_not_change_a_bit(self, ask):
        frames = split(people(300, 14), "blk3")
        turned = dict(zip("zyx", frames.values(), strict=True))
        for options in ({}, {"cohort_effect": "common", "interval": 2, "robust": True}):
            first, second = (
                ask("cox", f, formula=f"Surv(time, dead) ~ {FORMULA}", **options) for f in (frames, turned)
            )
            assert first.model_dump(exclude={"cohorts"}) == second.model_dump(exclude={"cohorts"})

    @pytest.mark.parametrize("effect", ["stratified", "common"])
    def test_scale_and_origin_of_a_covariate_do_not_matter(self, ask, effect):
        frame = people(300, 15)
        plain = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose", cohort_effect=effect)
        moved = frame.assign(age=frame["age"] * 1e6 + 1e8)
        result = ask("cox", split(moved, "mod3"), formula="Surv(time, dead) ~ age + dose", cohort_effect=effect)
        close(estimates(result) * [1e6, 1], estimates(plain), rtol=1e-7)
        close(errors(result) * [1e6, 1], errors(plain), rtol=1e-7)

    def test_missing_values(self, ask):
        frame = people(300, 16)
        frame.loc[::10, "arm"] = None
        frame.loc[::15, "time"] = np.nan
        frame.loc[::7, "w"] = np.nan
        result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ arm + age", weights="w")
        complete = frame.dropna(subset=["arm", "time", "w"])
        assert (result.n, result.n_excluded) == (len(complete), 300 - len(complete))
        assert result.missing == {"time": 20, "dead": 0, "arm": 30, "age": 0, "w": 43}
        assert "Missing values" in result.summary()


class TestTimes:
    def test_times_that_differ_by_rounding_are_tied(self, ask):
        frame = people(200, 20)
        tenths = frame.assign(time=frame["time"] * 0.1)
        sums = frame.assign(time=[sum([0.1] * int(t)) for t in frame["time"]])
        assert (tenths["time"] != sums["time"]).any()
        results = [ask("cox", split(f, "mod3"), formula="Surv(time, dead) ~ age") for f in (frame, tenths, sums)]
        for result in results[1:]:
            close(result.log_likelihood, results[0].log_likelihood)
            assert result.concordance.tied_time == results[0].concordance.tied_time

    def test_until_censors_later_exits(self, ask):
        frame = people(300, 21)
        cut = frame.assign(time=frame["time"].clip(upper=20), dead=frame["dead"] & (frame["time"] <= 20))
        for effect in ("stratified", "common"):
            expected = ask("cox", split(cut, "mod3"), formula="Surv(time, dead) ~ age", cohort_effect=effect)
            result = ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", cohort_effect=effect, until=20)
            close(estimates(result), estimates(expected))
            assert result.n_events == expected.n_events

    def test_rows_that_stop_when_they_start_are_counted_and_left_out(self, ask):
        frame = people(300, 22)
        frame.loc[:9, "start"] = frame.loc[:9, "time"]
        kept = frame[frame["start"] < frame["time"]].reset_index(drop=True)
        for effect in ("stratified", "common"):
            options = {"formula": "Surv(start, time, dead) ~ age", "cohort_effect": effect, "robust": True}
            result = ask("cox", {"a": frame}, **options)
            expected = ask("cox", {"a": kept}, **options)
            close(estimates(result), estimates(expected))
            close(errors(result), errors(expected))
            assert (result.n, result.no_follow_up) == (len(kept), 300 - len(kept))
            assert any("stop when they start" in w for w in result.warnings)

    def test_an_event_at_time_0_counts_as_in_r(self, ask):
        frame = people(200, 23)
        frame.loc[:20, ["time", "dead"]] = [0.0, True]
        later = frame.assign(time=frame["time"] + 1)
        for effect in ("stratified", "common"):
            formula = "Surv(time, dead) ~ age + dose"
            now, then = (ask("cox", {"a": f}, formula=formula, cohort_effect=effect) for f in (frame, later))
            close(estimates(now), estimates(then))
        with pytest.raises(CannotEstimate, match="time 0"):
            ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age", time_transform="log")

    def test_rows_of_one_person_that_overlap_are_told(self, ask):
        frame = pd.concat([people(100, 24)] * 2, ignore_index=True).assign(id=[*range(100)] * 2)
        frame["start"] = frame["time"] - 1
        result = ask("cox", {"a": frame}, formula="Surv(start, time, dead) ~ age + cluster(id)")
        assert any("`id` have rows at risk at the same time" in w for w in result.warnings)

    def test_strata_may_be_many_and_small(self, ask):
        frame = people(400, 25)
        result = ask("cox", {"a": frame}, formula="Surv(time, dead) ~ age + dose + strata(family)")
        x, start = design(frame)[:, :2].astype(float), frame.assign(start=-1.0)
        ll, residual, _ = written_out(start, x, estimates(result), "efron", strata=frame["family"].to_numpy())
        close(result.log_likelihood, ll)
        assert np.abs(residual.sum(axis=0)).max() < 1e-6


class TestNoAnswer:
    def test_a_group_without_events_is_a_monotone_likelihood(self, ask):
        frame = people(300, 30)
        frame.loc[frame["arm"] == "c", "dead"] = False
        for effect in ("stratified", "common"):
            with pytest.raises(Separation, match=r"`arm\[c\]` tells without exception"):
                ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + arm", cohort_effect=effect)

    @pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
    def test_a_covariate_that_orders_the_events_is_a_monotone_likelihood(self, ask, scale):
        frame = people(60, 31).assign(dead=True)
        frame["time"] = np.arange(1.0, 61)
        frame["rank"] = -frame["time"] * scale
        with pytest.raises(Separation, match="by `rank` some people"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ rank + age")

    def test_collinear_columns_are_named(self, ask):
        frame = people(300, 32)
        frame["years"] = 2 * frame["age"] + 3
        with pytest.raises(Collinear, match="`years` is a combination of `age`"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age + dose + years")

    def test_a_column_that_varies_between_cohorts_only(self, ask):
        frame = people(300, 33)
        frames = {name: f.assign(where=float(k)) for k, (name, f) in enumerate(split(frame, "mod3").items())}
        with pytest.raises(CannotEstimate, match="`where` does not vary within any cohort"):
            ask("cox", frames, formula="Surv(time, dead) ~ age + where")
        result = ask("cox", frames, formula="Surv(time, dead) ~ age + where", cohort_effect="common")
        assert "where" in result.coefficients

    def test_nobody_has_the_event_or_is_there(self, ask):
        with pytest.raises(CannotEstimate, match="Nobody has the event"):
            ask("cox", split(people().assign(dead=False), "mod3"), formula="Surv(time, dead) ~ age")
        with pytest.raises(CannotEstimate, match="No cohort has anybody"):
            ask("cox", named([people().assign(age=np.nan)]), formula="Surv(time, dead) ~ age")

    def test_a_cohort_without_events_is_told(self, ask):
        frames = split(people(300, 34), "mod3")
        frames["c1"] = frames["c1"].assign(dead=False)
        two = {name: frames[name] for name in ("c0", "c2")}
        result = ask("cox", frames, formula="Surv(time, dead) ~ age + dose")
        close(estimates(result), estimates(ask("cox", two, formula="Surv(time, dead) ~ age + dose")))
        assert any("In 1 cohort nobody has the event" in w for w in result.warnings)

    def test_a_level_that_nobody_has_is_dropped(self, ask):
        frame = people(300, 35)
        dictionary = network({"a": frame}).service.dictionary()
        kept = frame[frame["arm"] != "b"]
        result = ask("cox", split(kept, "mod3"), dictionary=dictionary, formula="Surv(time, dead) ~ arm + age")
        assert result.dropped == ("arm[b]",)
        close(estimates(result), estimates(ask("cox", split(kept, "mod3"), formula="Surv(time, dead) ~ arm + age")))
        assert result.proportional_hazards["arm"].df == 1

    def test_few_events_are_told(self, ask):
        frame = people(100, 36)
        frame["dead"] &= frame.index < 30
        result = ask("cox", {"a": frame}, formula=f"Surv(time, dead) ~ {FORMULA}")
        assert any("fewer than ten each" in w for w in result.warnings)


class TestWrongQuestions:
    @pytest.mark.parametrize(
        ("formula", "position"),
        [
            ("time ~ age", 0),
            ("Surv(time, dead) ~ 1", 0),
            ("Surv(time, dead) ~ 0 + age", 0),
            ("Surv(time, age) ~ dose", 11),
            ("Surv(sex, dead) ~ age", 5),
            ("Surv(time, dead) ~ family2", 19),
            ("Surv(time, dead) ~ age + (1 | sex)", 30),
            ("Surv(time, dead) ~ age + cluster(family) + cluster(arm)", 51),
        ],
    )
    def test_points_at_the_character(self, ask, formula, position):
        with pytest.raises(FormulaError) as raised:
            ask("cox", split(people(), "mod3"), formula=formula)
        assert raised.value.position == position

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            ({"time": -1.0}, {}, "times before 0"),
            ({"w": 0.0}, {"weights": "w"}, "above 0"),
            ({}, {"weights": "sex"}, "not a weight"),
            ({}, {"cohort_effect": "common", "interval": 1e-5}, "too many cells"),
            ({}, {"ties": "exact"}, "ties"),
            ({}, {"weights": "nothing"}, "nothing"),
        ],
    )
    def test_says_what_to_do(self, ask, change, options, message):
        frame = people().assign(**change) if change else people()
        with pytest.raises(InvalidQuestion, match=message):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", **options)

    def test_a_grid_needs_a_step_and_an_end(self, ask):
        dictionary = Dictionary(
            name="d", version="1",
            variables={"time": Variable(type="number"), "dead": Variable(type="boolean"), "x": Variable(type="number")},
        )  # fmt: skip
        frame = people(60)[["time", "dead"]].assign(x=np.arange(60.0))
        assert ask("cox", {"a": frame}, dictionary=dictionary, formula="Surv(time, dead) ~ x").n == 60
        with pytest.raises(InvalidQuestion, match=r"`interval`|`until`"):
            ask("cox", {"a": frame}, dictionary=dictionary, formula="Surv(time, dead) ~ x", cohort_effect="common")


def ask_node(node, statistic, params, policy, **broadcast):
    from cohortium.analysis import find
    from node.disclosure import check

    found = find("cox")
    return check(found.statistic(statistic)(node.data, found.params.bind(params, node.dictionary), **broadcast), policy)


class TestDisclosure:
    def test_default_policy_answers_a_stratified_fit(self, ask):
        frame = people(600, 40)
        result = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(time, dead) ~ age + dose + sex")
        close(estimates(result), estimates(ask("cox", split(frame, "mod3"), formula=result.formula)))

    def test_withheld_counts_are_none_and_told(self, ask):
        frame = people(600, 41)
        frame.loc[:4, "age"] = np.nan
        frame.loc[5:7, "start"] = frame.loc[5:7, "time"]
        result = ask("cox", split(frame, "mod3"), policy=Policy(), formula="Surv(start, time, dead) ~ age + dose")
        assert result.n_excluded is None
        assert result.no_follow_up is None
        assert result.missing["age"] is None
        assert any("withheld" in w for w in result.warnings)
        assert json.loads(result.model_dump_json())["n_excluded"] is None

    def test_few_events_at_a_cohort_are_refused(self, ask):
        frames = split(people(600, 42), "mod3")
        frames["c1"].loc[5:, "dead"] = False
        with pytest.raises(Refused, match="`events` counts fewer than 10") as raised:
            ask("cox", frames, policy=Policy(), formula="Surv(time, dead) ~ age")
        assert raised.value.cohort == "c1"

    def test_more_covariates_than_people_support_are_refused(self, ask):
        frame = people(36, 43).assign(dead=True)
        few = Policy(min_carriers=1, min_model_people=1, max_leverage=1)
        with pytest.raises(Refused, match="more parameters"):
            ask("cox", split(frame, "mod3"), policy=few, formula=f"Surv(time, dead) ~ {FORMULA}")

    def test_single_exit_attack_is_refused(self, ask):
        """METHODS T1.10: between two risk sets with one exit the difference of the sums is that person."""
        frame = people(300, 44)
        frame["time"] += np.arange(300) / 1000.0  # nobody leaves together
        frame = frame.sort_values("time").reset_index(drop=True)
        nodes = network(named([frame])).service.nodes
        node, params = nodes["c0"], {"formula": "Surv(time, dead) ~ age + dose", "cohort_effect": "common"}
        params |= {"interval": 0.001, "until": 61}
        broadcast = {"coefficients": np.zeros(2), "centre": np.zeros(2), "per_unit": np.ones(2), "level": 0.0}
        sums = ask_node(node, "grid_likelihoods", params, Policy.none(), **broadcast)
        leaving = (sums.events + sums.censorings)[0]
        alone = np.flatnonzero(leaving == 1)
        assert len(alone) == 300
        stolen = (sums.event_x + sums.censored_x)[0, alone]
        cells = np.ceil(np.round(frame["time"] / 0.001, 9)).astype(int)
        victims = frame.set_index(cells).loc[alone, ["age", "dose"]]
        close(stolen, victims.to_numpy())  # without a policy the covariates of all of them are there
        for statistic, values in (("grid_likelihoods", broadcast), ("moves", {})):
            with pytest.raises(Refused, match="min_interval"):
                ask_node(node, statistic, params, Policy(), **values)
        with pytest.raises(Refused, match="interval"):
            ask("cox", split(frame, "mod3"), policy=Policy(), **params)

    @pytest.mark.parametrize("kind", ["events", "censorings"])
    def test_one_event_among_many_exits_is_refused_as_well(self, kind):
        """Their sums are told apart, so that one who is censored among twenty events is not what is left over."""
        n = 200
        rng = np.random.default_rng(3)
        frame = pd.DataFrame({"time": np.repeat(np.arange(1, 11), n // 10), "x": rng.normal(size=n)})
        frame["dead"] = rng.permuted(np.tile([True, False], (10, n // 20)), axis=1).ravel()
        frame.loc[:19, "dead"] = kind == "censorings"
        frame.loc[7, "dead"] = kind == "events"
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ x", "cohort_effect": "common", "interval": 1}
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        with pytest.raises(Refused, match=f"`{kind}`"):
            ask_node(node, "grid_likelihoods", params, Policy(), **broadcast)

    def test_a_grid_that_is_wide_enough_is_answered(self, ask):
        frame = people(1200, 45)
        options = {"formula": "Surv(time, dead) ~ age + dose + sex", "cohort_effect": "common", "interval": 20}
        result = ask("cox", split(frame, "mod3"), policy=Policy(), **options)
        months = frame.assign(time=np.ceil(frame["time"] / 20) * 20)
        close(estimates(result), estimates(ask("cox", {"a": months}, formula=options["formula"])))
        robust = ask("cox", split(frame, "mod3"), policy=Policy(), robust=True, time_transform="km", **options)
        close(errors(robust), errors(ask("cox", {"a": months}, formula=options["formula"], robust=True)))

    def test_values_per_time_that_single_out_an_interval_are_refused(self):
        """A coordinator that chooses g(t) = 1 at one time only would learn who has the event then."""
        frame = people(200, 46)
        (node,) = network(named([frame])).service.nodes.values()
        params = {"formula": "Surv(time, dead) ~ age", "time_transform": "km"}
        clock = np.zeros(61)
        clock[3] = 1.0
        broadcast = {"coefficients": np.zeros(1), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        with pytest.raises(Refused, match="`moves`"):
            ask_node(node, "diagnostics", params, Policy(), **broadcast, clock=clock, origin=0.0, hazard=np.zeros(0))

    def test_coefficients_that_single_somebody_out_are_not_answered(self):
        """METHODS R12: with a huge coefficient the risk score of one person is all there is."""
        (node,) = network(named([people(200, 47)])).service.nodes.values()
        broadcast = {"coefficients": np.array([50.0]), "centre": np.zeros(1), "per_unit": np.ones(1), "level": 0.0}
        for params, statistic in (({}, "partial_likelihood"), ({"cohort_effect": "common"}, "grid_likelihoods")):
            sums = ask_node(
                node, statistic, {"formula": "Surv(time, dead) ~ age", **params}, Policy.none(), **broadcast
            )
            assert sums.not_finite == 1
            score = sums.score if statistic == "partial_likelihood" else sums.event_risk
            assert not np.any(score)

    def test_a_weight_that_outweighs_everybody_is_refused(self, ask):
        frame = people(300, 48)
        frame.loc[5, "w"] = 1e6
        with pytest.raises(Refused, match="more than half of all weights"):
            ask("cox", split(frame, "mod3"), formula="Surv(time, dead) ~ age", weights="w")


def test_shows_itself(ask):
    result = ask("cox", split(people(300, 50), "mod3"), formula="Surv(time, dead) ~ age + arm")
    text = result.summary()
    for word in ("hazard ratio", "likelihood ratio", "GLOBAL", "Concordance", "stratified"):
        assert word in text
    frame = result.to_frame("pandas")
    close(frame["hazard ratio"], np.exp(estimates(result)))
    assert result.chart().to_dict()["layer"]
