"""Trials within cohorts: selection that nobody can steer, and effects against statsmodels, lifelines and by number."""

import stat
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import named, split, twics
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from typer.testing import CliRunner

from algorithms.numerics.random_selection import commitment, joint_key, new_key, select
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate, Collinear, FormulaError, InvalidQuestion, Refused
from node import selection_console
from node.config import DataSettings
from node.console import app
from node.disclosure import Policy
from node.sources import Source, read
from simulation import network

HOLDERS = {"researcher": "11" * 32, "north": "22" * 32, "committee": "33" * 32}
COMMITTED = {holder: commitment(holder, key) for holder, key in HOLDERS.items()}
EXAMPLES = [
    {"where": "age >= 40", "strata": ["sex"], "share": 0.3, "commitments": COMMITTED},
    {
        "selected": "smokes",
        "accepted": "dead",
        "strata": ["sex"],
        "formula": "bmi ~ age",
        "balance": ["age", "arm"],
    },
    {"selected": "smokes", "formula": "Surv(time, dead) ~ age", "strata": ["sex"]},
]
DESIGN = {"strata": ["region"], "share": 0.4, "identifier": "pid", "commitments": COMMITTED}


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(n=600, seed=0):
    """Eligible people; who accepts is healthier."""
    rng = np.random.default_rng(seed)
    age, region, health = rng.normal(60, 8, n), rng.choice(["a", "b", "c"], n), rng.normal(0, 1, n)
    chosen = rng.random(n) < 0.4
    took = chosen & (rng.random(n) < 1 / (1 + np.exp(-0.5 - health)))
    time = rng.exponential(np.exp(0.3 * chosen - 0.02 * (age - 60)) * 20)
    return pd.DataFrame(
        {
            "pid": rng.permutation(np.arange(1, n + 1)) + 1000,
            "age": age,
            "region": region,
            "chosen": chosen,
            "took": took,
            "score": 5 + 0.8 * took + 0.03 * age + health + rng.normal(0, 1 + chosen, n),
            "well": rng.random(n) < 1 / (1 + np.exp(-0.3 - 0.9 * took - health)),
            "clinic": rng.integers(0, 25, n),
            "time": time,
            "dead": rng.random(n) < 0.6,
        }
    )


def selected_by_keys(frame, keys=HOLDERS, share=0.4):
    """The same people with `chosen` as the keys of the trial have it, cohort by cohort."""
    _, stratum = np.unique(frame["region"], return_inverse=True)
    key = joint_key(keys, {holder: commitment(holder, k) for holder, k in keys.items()})
    return frame.assign(chosen=select(frame["pid"].to_numpy(float), stratum, share, key))


def with_identifiers(frames):
    """The dictionary of these cohorts, `pid` being what tells people apart."""
    known = network(frames).service.dictionary()
    return Dictionary(name="trial", version="1", variables={**known.variables, "pid": Variable(type="identifier")})


class TestSelection:
    @given(
        people=st.lists(st.integers(0, 2**52), min_size=1, max_size=60, unique=True),
        share=st.floats(0.05, 0.95),
        data=st.data(),
    )
    @settings(max_examples=50, deadline=None)
    def test_takes_the_share_of_every_stratum_whatever_the_order(self, people, share, data):
        ids, key = np.array(people, dtype=float), b"k" * 32
        stratum = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(ids), max_size=len(ids))))
        chosen = select(ids, stratum, share, key)
        for s in range(3):
            assert chosen[stratum == s].sum() == np.floor(share * (stratum == s).sum() + 0.5)
        order = np.random.default_rng(0).permutation(len(ids))
        assert np.array_equal(select(ids[order], stratum[order], share, key), chosen[order])

    def test_everybody_is_as_likely(self):
        ids, rounds = np.arange(40, dtype=float), 600
        keys = (joint_key({"a": f"{k:064x}"}, {"a": commitment("a", f"{k:064x}")}) for k in range(rounds))
        times = sum(select(ids, np.zeros(40, np.intp), 0.25, key).astype(int) for key in keys)
        expected = rounds / 4
        chi_squared = np.sum((times - expected) ** 2) / (expected * 0.75) * 39 / 40
        assert 15 < chi_squared < 73  # 39 degrees of freedom: 0.1% on either side

    def test_every_part_of_the_key_counts(self):
        ids, one = np.arange(200, dtype=float), np.zeros(200, np.intp)
        first = select(ids, one, 0.5, joint_key(HOLDERS, COMMITTED))
        for holder in HOLDERS:
            keys = {**HOLDERS, holder: "ab" * 32}
            other = joint_key(keys, {h: commitment(h, k) for h, k in keys.items()})
            assert not np.array_equal(select(ids, one, 0.5, other), first)

    def test_nobody_can_reveal_another_key_than_committed_to(self):
        with pytest.raises(InvalidQuestion, match="`north` is not the one that was committed to"):
            joint_key({**HOLDERS, "north": "44" * 32}, COMMITTED)

    def test_nobody_can_copy_anothers_commitment(self):
        assert commitment("researcher", "11" * 32) != commitment("north", "11" * 32)
        with pytest.raises(InvalidQuestion, match="`north` is not"):
            joint_key({"a": "11" * 32, "north": "11" * 32}, dict.fromkeys(("a", "north"), commitment("a", "11" * 32)))

    def test_no_part_can_be_left_out_or_added(self):
        with pytest.raises(InvalidQuestion, match="look at committee"):
            joint_key({h: k for h, k in HOLDERS.items() if h != "committee"}, COMMITTED)
        with pytest.raises(InvalidQuestion, match="64 hexadecimal digits"):
            commitment("north", "1234")

    def test_keys_are_drawn_anew(self):
        assert new_key() != new_key()
        assert len(bytes.fromhex(new_key())) == 32


class TestStages:
    def test_eligibility_is_counted_under_the_commitments(self, ask):
        frames = split(people(seed=1), "blk3")
        result = ask("trial_within_cohort", frames, where="age >= 55", **DESIGN)
        pooled = pd.concat([f.assign(c=c) for c, f in frames.items()])
        eligible = pooled[pooled["age"] >= 55]
        for stratum, found in result.strata.items():
            sizes = eligible[eligible["region"] == stratum].groupby("c").size()
            assert found.eligible == sizes.sum()
            assert found.to_select == np.floor(0.4 * sizes + 0.5).sum()
        assert result.commitments == COMMITTED
        assert (result.n, result.verified, result.itt) == (len(eligible), None, None)

    def test_one_holder_alone_is_warned_about(self, ask):
        one = {"researcher": COMMITTED["researcher"]}
        result = ask("trial_within_cohort", split(people(), "mod3"), **{**DESIGN, "commitments": one})
        assert "One holder alone commits" in result.summary()

    def test_cohorts_confirm_their_selection(self, ask):
        frames = {c: selected_by_keys(f) for c, f in split(people(seed=2), "mod3").items()}
        asked = {**DESIGN, "keys": HOLDERS, "selected": "chosen"}
        assert ask("trial_within_cohort", frames, **asked, policy=Policy()).verified is True
        # One person is given another's place.
        one = frames["c1"].copy()
        swapped = [one.index[one["chosen"]][0], one.index[~one["chosen"]][0]]
        one.loc[swapped, "chosen"] = [False, True]
        result = ask("trial_within_cohort", {**frames, "c1": one}, **asked)
        assert result.verified is False
        assert "the selection is NOT the one" in result.summary()

    def test_somebody_who_was_made_eligible_later_shows(self, ask):
        frames = {c: selected_by_keys(f) for c, f in split(people(seed=3), "mod3").items()}
        late = frames["c0"].iloc[:40].assign(pid=lambda f: f["pid"] + 10**6, chosen=False)
        frames["c0"] = pd.concat([frames["c0"], late], ignore_index=True)
        result = ask("trial_within_cohort", frames, **DESIGN, keys=HOLDERS, selected="chosen")
        assert result.verified is False

    def test_participants_who_join_the_cohort_later_change_nothing(self, ask):
        """Identifiers are text here, and are numbered anew with every participant who joins."""
        frames = {}
        for c, frame in split(people(seed=3), "mod3").items():
            frame["pid"] = [f"LL-{p}" for p in frame["pid"]]
            alone = network({c: frame}, with_identifiers({c: frame})).service.nodes[c].data
            key = joint_key(HOLDERS, COMMITTED)
            _, stratum = np.unique(frame["region"], return_inverse=True)
            joined = frame.iloc[:30].assign(pid=[f"AA-{k}" for k in range(30)], age=20.0, chosen=False)
            chosen = select(alone.keys_of("pid"), stratum, 0.4, key)
            frames[c] = pd.concat([joined, frame.assign(chosen=chosen)], ignore_index=True)
        asked = {**DESIGN, "keys": HOLDERS, "selected": "chosen", "where": "age > 25"}
        assert ask("trial_within_cohort", frames, dictionary=with_identifiers(frames), **asked).verified is True

    def test_a_few_without_an_outcome_stand_in_nobodys_way(self, ask):
        frames = {c: selected_by_keys(f) for c, f in split(people(900, seed=2), "mod3").items()}
        for frame in frames.values():
            frame.loc[frame.index[:3], ["score", "time"]] = np.nan
        asked = {**DESIGN, "keys": HOLDERS, "selected": "chosen", "balance": ["age"]}
        for formula in ("score ~ age", "Surv(time, dead) ~ age"):
            result = ask("trial_within_cohort", frames, **asked, formula=formula, policy=Policy())
            assert (result.verified, result.n_outcome) == (True, 891)

    def test_keys_do_not_choose_whom_an_effect_is_about(self, ask):
        """A made-up key must not make up a random group, whose sums would tell more with every key."""
        frames = {c: selected_by_keys(f) for c, f in split(people(seed=2), "mod3").items()}
        other = dict.fromkeys(HOLDERS, "99" * 32)
        committed = {holder: commitment(holder, key) for holder, key in other.items()}
        asked = {**DESIGN, "selected": "chosen", "formula": "score ~ age"}
        found = [
            ask("trial_within_cohort", frames, **{**asked, "commitments": c}, keys=k)
            for c, k in ((COMMITTED, HOLDERS), (committed, other))
        ]
        assert [result.verified for result in found] == [True, False]
        assert found[0].itt == found[1].itt

    def test_of_a_handful_no_cohort_says_whether_a_key_selects_them(self, ask):
        frames = {c: selected_by_keys(f) for c, f in split(people(seed=4), "mod3").items()}
        few = {c: f[f["chosen"].cumsum() <= 8] for c, f in frames.items()}
        with pytest.raises(Refused, match="Too few people are selected"):
            ask("trial_within_cohort", few, **DESIGN, keys=HOLDERS, selected="chosen", policy=Policy())

    def test_groups_and_refusals(self, ask):
        frame = people(seed=5)
        frame["took"] = frame["took"].astype(object).where(frame["chosen"], None)
        result = ask("trial_within_cohort", split(frame, "mod3"), selected="chosen", accepted="took", balance=["age"])
        chosen, took = frame["chosen"], frame["took"] == True  # noqa: E712 - missing is neither
        assert result.groups == {
            "not selected": (~chosen).sum(), "refused": (chosen & ~took).sum(), "accepted": took.sum()
        }  # fmt: skip
        close(result.refusal_share, (chosen & ~took).sum() / chosen.sum())
        parts = [frame.loc[who, "age"] for who in (~chosen, chosen, chosen & ~took, took)]
        row = result.baseline["age"]
        close(list(row.means.values()), [p.mean() for p in parts])
        close(row.smd, (parts[1].mean() - parts[0].mean()) / np.sqrt((parts[0].var() + parts[1].var()) / 2))
        close(row.smd_accepted, (parts[3].mean() - parts[2].mean()) / np.sqrt((parts[2].var() + parts[3].var()) / 2))

    def test_few_refusers_of_a_cohort_are_not_told_apart(self, ask):
        frames = split(people(900, seed=6), "mod3")
        frames["c0"]["took"] = frames["c0"]["chosen"]
        frames["c0"].loc[frames["c0"].index[frames["c0"]["chosen"]][:3], "took"] = False
        asked = {"selected": "chosen", "accepted": "took", "balance": ["age"]}
        result = ask("trial_within_cohort", frames, **asked, policy=Policy())
        others = pd.concat([frames["c1"], frames["c2"]])
        close(result.baseline["age"].means["refused"], others.loc[others["chosen"] & ~others["took"], "age"].mean())
        assert result.groups["refused"] is None
        assert "too few refused" in result.summary()


class Pooled:
    """All records in one hand: assignment, age and strata, with an indicator per cohort or one intercept."""

    def __init__(self, frames, outcome, *, stratified):
        frame = pd.concat([f.assign(c=c) for c, f in frames.items()], ignore_index=True)
        own = pd.get_dummies(frame["c"]) if stratified else np.ones((len(frame), 1))
        rest = [frame["age"], frame["region"] == "b", frame["region"] == "c"]
        self.own = np.asarray(own).shape[1]
        self.z = np.column_stack([own, frame["chosen"], *rest]).astype(float)
        self.x = np.column_stack([own, frame["took"], *rest]).astype(float)
        self.y, self.frame = frame[outcome].to_numpy(float), frame

    def fit(self, kind):
        chosen = {"cov_type": "cluster", "cov_kwds": {"groups": self.frame["clinic"]}, "use_t": True}
        return sm.OLS(self.y, self.z).fit(**(chosen if kind == "cluster" else {"cov_type": kind}))

    def compliers(self):
        """Two-stage least squares with HC0, by the textbook's matrices."""
        bread = np.linalg.inv(self.z.T @ self.x)
        b = bread @ self.z.T @ self.y
        scores = self.z * (self.y - self.x @ b)[:, None]
        return b, np.sqrt(np.diag(bread @ scores.T @ scores @ bread.T))


def by_clinic(frame):
    """Whole clinics at three cohorts."""
    return named([frame[frame["clinic"] % 3 == k] for k in range(3)])


class TestEffects:
    def test_reference_values(self, ask):  # statsmodels 0.15.0, twics split blk4@age
        result = ask(
            "trial_within_cohort",
            split(twics(), "blk4@age"),
            selected="z",
            accepted="tr",
            formula="y ~ age",
            cohort_effect="common",
        )
        found = result.compliance.coefficients
        assert list(found) == ["(Intercept)", "tr", "age"]
        close([e.estimate for e in found.values()], [0.833144532706951, 0.287962406865484, 0.0353525211287268])
        close([e.std_error for e in found.values()], [0.200740166254873, 0.127946965434778, 0.00381481664254992])
        assert result.rounds == 4

    @pytest.mark.parametrize("stratified", [False, True])
    @pytest.mark.parametrize(
        ("outcome", "kind"), [("score", "HC0"), ("well", "HC0"), ("score", "HC1"), ("score", "cluster")]
    )
    def test_assignment_and_compliers(self, ask, stratified, outcome, kind):
        frames = by_clinic(people(seed=7))
        clustered = " + cluster(clinic)" if kind == "cluster" else ""
        result = ask(
            "trial_within_cohort",
            frames,
            selected="chosen",
            accepted="took",
            strata=["region"],
            formula=f"{outcome} ~ age{clustered}",
            std_errors=None if kind == "HC0" else kind,
            cohort_effect="stratified" if stratified else "common",
        )
        pooled = Pooled(frames, outcome, stratified=stratified)
        fit, at = pooled.fit(kind), slice(pooled.own if stratified else 0, None)
        close([e.estimate for e in result.coefficients.values()], fit.params[at])
        close([e.std_error for e in result.coefficients.values()], fit.bse[at])
        close(result.itt.p_value, fit.pvalues[pooled.own], rtol=1e-6)
        close(result.compliance.cace.estimate, pooled.compliers()[0][pooled.own])
        if kind == "HC0":
            close([e.std_error for e in result.compliance.coefficients.values()], pooled.compliers()[1][at])
        taken = sm.OLS(pooled.x[:, pooled.own], pooled.z).fit()
        close(result.compliance.first_stage_f, taken.tvalues[pooled.own] ** 2)
        close(result.compliance.rise.estimate, taken.params[pooled.own])
        assert result.measure == ("risk difference" if outcome == "well" else "mean difference")

    def test_anderson_rubin_are_the_effects_that_a_test_does_not_reject(self, ask):
        frames = split(people(seed=8), "mod3")
        asked = {"selected": "chosen", "accepted": "took", "strata": ["region"], "formula": "score ~ age"}
        result = ask("trial_within_cohort", frames, **asked, cohort_effect="common")
        pooled = Pooled(frames, "score", stratified=False)
        for limit in result.compliance.anderson_rubin:
            left = pooled.y - limit * pooled.x[:, 1]
            close(abs(sm.OLS(left, pooled.z).fit(cov_type="HC0").tvalues[1]), 1.959963984540054, rtol=1e-6)

    def test_acceptance_that_assignment_hardly_changes_bounds_nothing(self, ask):
        frame = people(seed=9)
        frame["took"] = np.random.default_rng(0).random(len(frame)) < 0.5
        result = ask(
            "trial_within_cohort", split(frame, "mod3"), selected="chosen", accepted="took", formula="score ~ 1"
        )
        assert result.compliance.first_stage_f < 10
        assert result.compliance.anderson_rubin == (-np.inf, np.inf)
        assert "below 10" in result.summary()

    def test_follow_up(self, ask):
        frames = split(people(seed=10), "mod3")
        asked = {"selected": "chosen", "strata": ["region"], "formula": "Surv(time, dead) ~ age"}
        result = ask("trial_within_cohort", frames, **asked)
        frame = pd.concat([f.assign(c=c) for c, f in frames.items()])[["time", "dead", "chosen", "age", "region", "c"]]
        fit = CoxPHFitter().fit(
            frame, "time", "dead", strata=["c", "region"], robust=True, fit_options={"precision": 1e-12}
        )
        close([e.estimate for e in result.coefficients.values()], fit.params_[["chosen", "age"]], rtol=1e-6)
        close([e.std_error for e in result.coefficients.values()], fit.standard_errors_[["chosen", "age"]], rtol=1e-4)
        assert result.measure == "log hazard ratio"
        assert result.n_events == frame["dead"].sum()

    @given(cohorts=st.integers(1, 13), seed=st.integers(0, 10**6))
    @settings(max_examples=5, deadline=None)
    def test_any_split(self, cohorts, seed):
        frame = people(200, seed=seed % 5)
        frame["score"] *= 10.0 ** (seed % 9 - 4)
        frame.loc[frame.index[::9], "age"] = np.nan
        at = np.random.default_rng(seed).integers(0, cohorts, len(frame))
        frames = named([frame[at == k] for k in range(cohorts)] + [frame.iloc[:0]])
        asked = {"selected": "chosen", "accepted": "took", "strata": ["region"], "formula": "score ~ age"}
        found, alone = (
            network(f).study().trial_within_cohort(**asked, cohort_effect="common").result()
            for f in (frames, named([frame]))
        )
        for effect in found.effects:
            close(found.effects[effect].estimate, alone.effects[effect].estimate, rtol=1e-9)
            close(found.effects[effect].std_error, alone.effects[effect].std_error, rtol=1e-9)
        close(found.compliance.anderson_rubin, alone.compliance.anderson_rubin, rtol=1e-8)


class TestAtTheCohort:
    TRIAL = """
    where = "age >= 50"
    strata = ["region"]
    share = 0.4
    identifier = "pid"
    """

    @pytest.fixture
    def cohort(self, monkeypatch, tmp_path):
        frame = people(200, seed=11)
        frame["pid"] = [f"LL-{p}" for p in frame["pid"]]
        dictionary = with_identifiers({"north": frame})
        frame.to_csv(tmp_path / "people.csv", index=False)
        given = DataSettings(source=str(tmp_path / "people.csv"))
        loaded = read(Source(given.source, {}), dictionary)
        monkeypatch.setattr(
            selection_console, "load", lambda _: (SimpleNamespace(source=given.source, data=given), None, loaded)
        )
        _, stratum = np.unique(frame["region"], return_inverse=True)
        eligible = frame["age"].to_numpy() >= 50
        key = joint_key(HOLDERS, COMMITTED)
        chosen = select(loaded.data.keys_of("pid")[eligible], stratum[eligible], 0.4, key)
        return frame[eligible].assign(chosen=chosen)

    def _run(self, *arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    def _trial(self, folder, keys=HOLDERS):
        lines = [f"[{name}]\n" + "".join(f'{h} = "{v}"\n' for h, v in part.items()) for name, part in
                 (("commitments", COMMITTED), ("keys", keys)) if part]  # fmt: skip
        path = folder / "trial.toml"
        path.write_text("\n".join([self.TRIAL, *lines]))
        return path

    def test_the_list_is_written_for_the_operator_alone(self, cohort, tmp_path):
        out = tmp_path / "selected.csv"
        done = self._run("select", self._trial(tmp_path), out)
        assert done.exit_code == 0, done.output
        assert list(pd.read_csv(out)["pid"]) == list(cohort.loc[cohort["chosen"], "pid"])
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert f"of {len(cohort)} eligible people" in done.output
        assert self._run("select", self._trial(tmp_path), out).exit_code != 0  # never overwritten

    def test_before_the_keys_are_revealed_nobody_is_selected(self, cohort, tmp_path):
        done = self._run("select", self._trial(tmp_path, keys={}), tmp_path / "selected.csv")
        assert done.exit_code == 2
        assert "revealed `keys`" in done.output
        assert not (tmp_path / "selected.csv").exists()

    def test_a_key_that_was_not_committed_to_selects_nobody(self, cohort, tmp_path):
        done = self._run("select", self._trial(tmp_path, keys={**HOLDERS, "north": "55" * 32}), tmp_path / "out.csv")
        assert done.exit_code == 2
        assert "not the one that was committed to" in done.output

    def test_a_part_of_the_key_is_drawn_with_its_commitment(self):
        words = self._run("draw", "north").output.split()
        assert words[3] == commitment("north", words[1])


class TestBadInput:
    @pytest.mark.parametrize(
        ("asked", "error", "words"),
        [
            ({"formula": "score ~ age"}, InvalidQuestion, "who was `selected`"),
            ({"selected": "age"}, InvalidQuestion, "yes or no"),
            ({"selected": "chosen", "formula": "score ~ age + chosen"}, FormulaError, "in the model already"),
            ({"selected": "chosen", "formula": "score ~ 0 + age"}, FormulaError, "remove `0`"),
            ({"selected": "chosen", "formula": "score ~ age + strata(region)"}, FormulaError, "does not take"),
            ({"selected": "chosen", "formula": "score ~ age", "std_errors": "cluster"}, InvalidQuestion, "go together"),
            ({"selected": "chosen", "formula": "score ~ age", "family": "binomial"}, FormulaError, "binary outcome"),
            ({"identifier": "age"}, InvalidQuestion, "goes by an identifier, or an integer"),
            ({"keys": HOLDERS, "commitments": COMMITTED}, InvalidQuestion, "give `identifier`"),
            ({"commitments": {"a": "short"}}, InvalidQuestion, "commitments"),
            ({"strata": ["age"]}, InvalidQuestion, "does not divide people"),
            ({"selected": "chosen", "formula": "Surv(time, dead) ~ 1", "std_errors": "HC1"}, InvalidQuestion, "Surv"),
        ],
    )
    def test_is_named(self, ask, asked, error, words):
        with pytest.raises(error, match=words):
            ask("trial_within_cohort", split(people(60), "mod3"), **asked)

    def test_nobody_selected_and_nobody_eligible(self, ask):
        frames = split(people(60).assign(chosen=False), "mod3")
        with pytest.raises(CannotEstimate, match="Nobody was selected"):
            ask("trial_within_cohort", frames, selected="chosen", formula="score ~ age")
        with pytest.raises(CannotEstimate, match="anybody who is eligible"):
            ask("trial_within_cohort", frames, where="age > 200")

    def test_the_same_person_twice(self, ask):
        frame = selected_by_keys(people(60))
        twice = named([pd.concat([frame, frame.iloc[:1]])] * 3)
        with pytest.raises(InvalidQuestion, match="the same identifier"):
            ask("trial_within_cohort", twice, **DESIGN, keys=HOLDERS, selected="chosen")

    def test_a_covariate_that_says_who_was_selected(self, ask):
        frames = split(people(90).assign(other=lambda f: f["chosen"] * 2.0), "mod3")
        with pytest.raises(Collinear, match="`other` is a combination of `chosen`"):
            ask("trial_within_cohort", frames, selected="chosen", formula="score ~ other")
