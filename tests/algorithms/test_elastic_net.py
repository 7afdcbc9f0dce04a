"""Elastic net: scikit-learn, conditions of a minimum on pooled records, cross-validation by hand."""

import numpy as np
import pandas as pd
import pytest
from datasets import diabetes, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import ElasticNet, Ridge
from test_glm import close, people

from algorithms.numerics.coordinate_descent import solve
from algorithms.numerics.folds import folds_of
from cohortium.errors import CannotEstimate, InvalidQuestion, Refused, Separation, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ age * arm + sex"},
    {"formula": "dead ~ age + sex + bmi", "family": "binomial", "mix": 0.5, "folds": 3, "many": 5},
    {
        "formula": "dead ~ sex + bmi",
        "family": "binomial",
        "penalties": (0.01, 0.1),
        "folds": 0,
        "cohort_effect": "common",
    },
]

DIABETES = "target ~ " + " + ".join(diabetes().columns[:-1])


def standardised(result):
    return np.array(list(result.standardised.values()))


def breast_cancer():
    frame = load_breast_cancer(as_frame=True).frame
    frame.columns = [name.replace(" ", "_") for name in frame]
    chosen = frame.columns[:10]
    return frame[chosen].assign(benign=frame["target"] == 1), "benign ~ " + " + ".join(chosen)


class TestPublished:
    @pytest.mark.parametrize(
        ("mix", "expected"),
        [
            (0.0, [1.60221047375286, -1.95206914323163, 10.6084767376018, 7.2395305512891, 0.996078978739231,
                   -0.130779633530691, -5.75840966282494, 4.93333257370552, 9.27993438974789, 4.73120279162684]),
            (1.0, [0.0, -7.56819838274304, 24.6228315662583, 13.17784687399, -2.71689971396069, 0.0,
                   -10.0535883359367, 0.0, 23.1479230125903, 1.69037144091167]),
            (0.5, [0.980290353711573, -3.23413790544345, 14.3195970406013, 9.25579762709503, 0.0, -0.45993609982493,
                   -6.82863873808329, 5.12483908711961, 12.3450747992415, 5.02072616690112]),
        ],
    )  # fmt: skip
    def test_least_squares(self, ask, mix, expected):  # scikit-learn 1.9.1
        result = ask("elastic_net", split(diabetes(), "blk3@bmi"), formula=DIABETES, cohort_effect="common",
                     penalties=(2.0,), mix=mix, folds=0)  # fmt: skip
        close(standardised(result), expected)
        assert result.rounds == 2

    def test_logit(self, ask):  # scikit-learn 1.9.1, saga
        frame, formula = breast_cancer()
        result = ask("elastic_net", split(frame, "blk3"), formula=formula, family="binomial", cohort_effect="common",
                     penalties=(0.02,), mix=0.5, folds=0)  # fmt: skip
        close(
            standardised(result),
            [-0.728614400366658, -0.767114975620037, -0.707632917632936, -0.64052248503013, -0.363184834162955, 0.0,
             -0.506186895773508, -1.05324253811847, -0.173176334791858, 0.0],
        )  # fmt: skip
        means = frame.mean(numeric_only=True)
        centred = sum(b * means[name] for name, b in result.coefficients.items() if name != "(Intercept)")
        close(result.coefficients["(Intercept)"] + centred, 0.586017938303455)
        assert result.rounds <= 12


class TestLeastSquares:
    @pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
    def test_the_whole_path_is_that_of_scikit_learn(self, ask, mix):
        frame = diabetes()
        X, y = frame.drop(columns="target"), frame["target"]
        Z = (X - X.mean()) / X.std(ddof=0)
        penalties = (0.5, 2.0, 7.0)
        result = ask("elastic_net", split(frame, "mod3"), formula=DIABETES, cohort_effect="common",
                     penalties=penalties, mix=mix, folds=0)  # fmt: skip
        assert [p.penalty for p in result.path] == [7.0, 2.0, 0.5]
        for point in result.path:
            model = (
                Ridge(alpha=point.penalty * len(y), solver="cholesky")
                if mix == 0
                else ElasticNet(alpha=point.penalty, l1_ratio=mix, tol=1e-14, max_iter=10**6)
            ).fit(Z, y)
            close(point.standardised, model.coef_, rtol=1e-7)
            close(point.explained, model.score(Z, y))
        close(result.coefficients["(Intercept)"] + sum(
            b * X[name].mean() for name, b in result.coefficients.items() if name in X), y.mean())  # fmt: skip

    def test_an_intercept_per_cohort_is_that_of_centred_cohorts(self, ask):
        frames = split(diabetes(), "blk3@bmi")
        result = ask("elastic_net", frames, formula=DIABETES, penalties=(1.0,), mix=0.5, folds=0)
        centred = pd.concat([f - f.mean() for f in frames.values()])
        X, y = centred.drop(columns="target"), centred["target"]
        model = ElasticNet(alpha=1.0, l1_ratio=0.5, tol=1e-14, max_iter=10**6, fit_intercept=False)
        close(standardised(result), model.fit(X / np.sqrt((X**2).mean()), y).coef_, rtol=1e-7)
        assert "(Intercept)" not in result.coefficients

    def test_the_path_starts_where_all_effects_are_zero(self, ask):
        result = ask("elastic_net", split(diabetes(), "mod3"), formula=DIABETES, folds=0, many=10)
        assert result.path[0].nonzero == 0
        assert result.path[1].nonzero > 0
        close(result.path[-1].penalty / result.path[0].penalty, 1e-3)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_units_change_nothing(self, ask, effect):
        frame = diabetes()
        moved = frame.assign(bmi=frame["bmi"] * 1e6 + 1e8, target=frame["target"] + 1e6)
        asked = {"formula": DIABETES, "folds": 5, "mix": 0.5, "cohort_effect": effect}
        first, second = (ask("elastic_net", split(f, "mod3"), **asked) for f in (frame, moved))
        close(standardised(second), standardised(first), rtol=1e-6)
        close([p.error for p in second.path], [p.error for p in first.path], rtol=1e-6)


class TestCrossValidation:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_least_squares_by_hand(self, ask, effect):
        frame = diabetes().assign(person=np.arange(442))
        frames = split(frame, "blk3")
        result = ask("elastic_net", frames, formula=DIABETES, cohort_effect=effect, folds=5, mix=0.5, fold_by="person",
                     penalties=(0.5, 3.0), seed=3)  # fmt: skip
        fold = self._folds(frames, "person", 5, 3)
        table = pd.concat([f.assign(cohort=k) for k, f in frames.items()], ignore_index=True)
        columns = list(diabetes().columns[:-1])
        for point in result.path:
            errors, people_ = [], []
            for k in range(5):
                train, test = table[fold != k], table[fold == k]
                groups = train["cohort"] if effect == "stratified" else pd.Series("all", train.index)
                means = train[[*columns, "target"]].groupby(groups).mean()
                mine, out = (
                    t[[*columns, "target"]].to_numpy()
                    - means.loc[t["cohort"] if effect == "stratified" else ["all"] * len(t)].to_numpy()
                    for t in (train, test)
                )
                scale = np.sqrt((mine[:, :-1] ** 2).mean(axis=0))
                model = ElasticNet(alpha=point.penalty, l1_ratio=0.5, tol=1e-14, max_iter=10**6, fit_intercept=False)
                b = model.fit(mine[:, :-1] / scale, mine[:, -1]).coef_ / scale
                errors.append(np.mean((out[:, -1] - out[:, :-1] @ b) ** 2))
                people_.append(len(test))
            mean = np.average(errors, weights=people_)
            close(point.error, mean, rtol=1e-7)
            close(point.error_se, np.sqrt(np.average((errors - mean) ** 2, weights=people_) / 4), rtol=1e-7)
        assert result.rounds == 2

    def test_logit_by_hand(self, ask):
        frame, formula = breast_cancer()
        frames = split(frame, "blk3")
        result = ask("elastic_net", frames, formula=formula, family="binomial", cohort_effect="common", folds=3,
                     mix=0.5, penalties=(0.05,), seed=1)  # fmt: skip
        table = pd.concat(frames.values(), ignore_index=True)
        fold = self._folds(frames, None, 3, 1)
        columns, total = table.columns[:-1], 0.0
        for k in range(3):
            train, test = table[fold != k], table[fold == k]
            mean, scale = train[columns].mean(), train[columns].std(ddof=0)
            inner = ask("elastic_net", named([train]), formula=formula, family="binomial", cohort_effect="common",
                        folds=0, mix=0.5, penalties=(0.05,))  # fmt: skip
            b = np.array([inner.coefficients[name] for name in columns]) * scale
            minimum_of_logit((train[columns] - mean) / scale, train["benign"], b, penalty=0.05, mix=0.5)
            eta = inner.coefficients["(Intercept)"] + test[columns] @ (b / scale)
            total += -2 * np.sum(test["benign"] * eta - np.logaddexp(0, eta))
        close(result.path[0].error, total / len(table), rtol=1e-7)

    def test_one_standard_error_rule_takes_a_larger_penalty(self, ask):
        asked = {"formula": DIABETES, "folds": 5}
        least, sparse = (ask("elastic_net", split(diabetes(), "mod3"), choose=rule, **asked) for rule in ("min", "1se"))
        best = min(least.path, key=lambda p: p.error)
        assert least.penalty == best.penalty
        within = [p.penalty for p in sparse.path if p.error <= best.error + best.error_se]
        assert sparse.penalty == max(within) > least.penalty

    def test_rows_of_a_person_stay_together(self):
        frame = people(300).assign(person=np.repeat(np.arange(60), 5))
        data = next(iter(network({"only": frame}).service.nodes.values())).data
        folds = folds_of(data, "person", 10, 0)
        assert pd.Series(folds).groupby(frame["person"]).nunique().max() == 1
        assert not np.array_equal(folds, folds_of(data, "person", 10, 1))
        alone = folds_of(data, None, 10, 0)
        assert np.all(np.bincount(alone, minlength=10) > 10)

    def test_small_folds_are_not_told(self, ask):
        with pytest.raises(Refused, match="test"):
            ask("elastic_net", split(people(180), "mod3"), formula="bmi ~ age + dose", policy=Policy())
        assert (
            ask("elastic_net", split(people(240), "mod3"), formula="bmi ~ age + dose", folds=2, policy=Policy()).n
            == 240
        )

    @staticmethod
    def _folds(frames, name, folds, seed):
        nodes = network(frames).service.nodes.values()
        return np.concatenate([folds_of(node.data, name, folds, seed) for node in nodes])


def minimum_of_logit(Z, y, b, *, penalty, mix, groups=None):
    """The conditions of a minimum, with the intercept (or one per group) at its best."""
    Z, y = np.asarray(Z, float), np.asarray(y, float)
    groups = np.zeros(len(y), dtype=int) if groups is None else np.asarray(groups)
    p = np.empty(len(y))
    for g in np.unique(groups):
        at, a = groups == g, 0.0
        for _ in range(100):
            p[at] = special.expit(a + Z[at] @ b)
            a += np.sum(y[at] - p[at]) / np.sum(p[at] * (1 - p[at]))
    gradient = Z.T @ (y - p) / len(y) - penalty * (1 - mix) * b
    np.testing.assert_allclose(gradient[b != 0], penalty * mix * np.sign(b[b != 0]), atol=1e-9)
    assert np.all(np.abs(gradient[b == 0]) <= penalty * mix + 1e-9)


class TestLogit:
    @pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_every_point_of_the_path_is_a_minimum(self, ask, mix, effect):
        frame, formula = breast_cancer()
        frames = split(frame.sample(frac=1, random_state=0), "blk3")
        result = ask("elastic_net", frames, formula=formula, family="binomial", cohort_effect=effect, mix=mix, folds=0,
                     many=6)  # fmt: skip
        table = pd.concat([f.assign(cohort=k) for k, f in enumerate(frames.values())])
        X = table[frame.columns[:-1]]
        groups = table["cohort"] if effect == "stratified" else None
        centre = X.groupby(groups).transform("mean") if effect == "stratified" else X.mean()
        Z = (X - centre) / np.sqrt(((X - centre) ** 2).mean())
        for point in result.path:
            minimum_of_logit(
                Z, table["benign"], np.array(point.standardised), penalty=point.penalty, mix=mix, groups=groups
            )

    def test_separated_outcomes_have_finite_estimates(self, ask):
        frame = people(150)
        frame["ill"] = frame["age"] > 50
        result = ask("elastic_net", split(frame, "mod3"), formula="ill ~ age + dose", family="binomial", folds=0)
        assert np.isfinite(standardised(result)).all()
        assert abs(standardised(result)[0]) > 1

    def test_a_cohort_with_one_outcome_adds_nothing(self, ask):
        frames = split(people(300), "mod3")
        same = {**frames, "ill": frames["c0"].assign(ill=True)}
        asked = {"formula": "ill ~ age + dose", "family": "binomial", "penalties": (0.01,), "folds": 0}
        close(standardised(ask("elastic_net", same, **asked)), standardised(ask("elastic_net", frames, **asked)))

    def test_nobody_or_everybody(self, ask):
        with pytest.raises(Separation):
            ask("elastic_net", split(people(90).assign(ill=True), "mod3"), formula="ill ~ age", family="binomial",
                cohort_effect="common")  # fmt: skip


class TestQuestions:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"formula": "bmi ~ 0 + age", "cohort_effect": "common"}, InvalidQuestion, "keeps its intercept"),
            ({"penalties": (0.0,)}, InvalidQuestion, "above 0"),
            ({"folds": 1}, InvalidQuestion, "One fold"),
            ({"fold_by": "persn"}, UnknownName, "persn"),
            ({"formula": "bmi ~ 1"}, InvalidQuestion, "no covariates"),
            ({"formula": "bmi ~ age + cluster(sex)"}, InvalidQuestion, "cluster"),
            ({"family": "poisson"}, InvalidQuestion, "family"),
        ],
    )
    def test_that_cannot_be_asked(self, ask, options, error, words):
        with pytest.raises(error, match=words):
            ask("elastic_net", split(people(90), "mod3"), **{"formula": "bmi ~ age", **options})

    def test_more_folds_than_people(self, ask):
        with pytest.raises(CannotEstimate, match="fewer folds"):
            ask("elastic_net", named([people(3)]), formula="bmi ~ age", folds=20, cohort_effect="common", fold_by="arm")

    def test_a_copied_column_is_no_obstacle_to_a_ridge(self, ask):
        frame = people(200).assign(again=lambda f: f["age"])
        result = ask(
            "elastic_net", split(frame, "mod3"), formula="bmi ~ age + again", mix=0.0, penalties=(0.1,), folds=0
        )
        close(result.coefficients["age"], result.coefficients["again"], rtol=1e-6)

    def test_is_shown(self, ask):
        result = ask("elastic_net", split(people(200), "mod3"), formula="bmi ~ age + dose + arm", folds=4, many=8)
        assert [t.title for t in result.tables()] == ["Coefficients", "Path"]
        assert "shrunken" in result.summary()
        assert result.chart().to_dict()
        frame = people(200)
        frame.loc[::9, "age"] = np.nan
        again = ask("elastic_net", split(frame, "mod3"), formula="bmi ~ age", folds=0)
        assert again.n_excluded == 23


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), p=st.integers(1, 15), mix=st.sampled_from([0.0, 0.2, 1.0]))
def test_coordinate_descent_finds_the_minimum(seed, p, mix):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(40, p)) @ rng.normal(size=(p, p))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = X @ rng.normal(size=p) * (rng.random() < 0.8) + rng.normal(size=40)
    G, c, penalty = X.T @ X / 40, X.T @ y / 40, float(10 ** rng.uniform(-2, 0.5))
    b = solve(G, c, penalty, mix, np.zeros(p))
    gradient = c - G @ b - penalty * (1 - mix) * b
    np.testing.assert_allclose(gradient[b != 0], penalty * mix * np.sign(b[b != 0]), atol=1e-8)
    assert np.all(np.abs(gradient[b == 0]) <= penalty * mix + 1e-8)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), family=st.sampled_from(["gaussian", "binomial"]))
def test_any_split_gives_the_same(seed, cohorts, family):
    rng, frame = np.random.default_rng(seed), people(200, seed).assign(person=np.arange(200))
    at = rng.integers(0, cohorts, 200)
    asked = {"formula": f"{'bmi' if family == 'gaussian' else 'ill'} ~ age + dose + arm", "family": family,
             "cohort_effect": "common", "folds": 3, "many": 3, "fold_by": "person", "smallest": 0.05}  # fmt: skip
    first, second = (
        network(frames).study().elastic_net(**asked).result(progress=False)
        for frames in (named([frame]), named([frame[at == k] for k in range(cohorts)]))
    )
    for ours, theirs in zip(first.path, second.path, strict=True):
        close(ours.standardised, theirs.standardised, rtol=1e-7)
        close([ours.error, ours.explained], [theirs.error, theirs.explained], rtol=1e-7)
