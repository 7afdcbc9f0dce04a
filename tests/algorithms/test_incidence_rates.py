"""Incidence rates against R's pyears, scipy, statsmodels, and lives walked through cell by cell."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import flchain, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from algorithms.incidence_rates import lexis_cells, small_cells
from algorithms.numerics.age_bands import LexisTable, own_boundaries, too_small
from algorithms.numerics.rates_params import IncidenceRatesParams
from algorithms.numerics.standard_populations import STANDARDS
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused
from node.disclosure import Policy, check
from simulation import network

EXAMPLES = [
    {"formula": "Surv(years, dead) ~ sex", "age": "age", "time_unit": "years"},
    {
        "formula": "Surv(years, dead) ~ arm",
        "age": "age",
        "time_unit": "years",
        "bands": [20, 40, 55, 70],
        "standard_weights": [1, 2, 3, 1],
        "reference_rates": {"all": [0.1, 0.2, 0.3, 0.4]},
    },
]
FIVE_YEARS = [float(age) for age in range(0, 95, 5)]


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def lives(n=400, seed=0):
    rng = np.random.default_rng(seed)
    days = rng.integers(1, 6000, n)
    return pd.DataFrame(
        {
            "age": rng.integers(30, 70, n) + rng.integers(0, 2, n) * 0.5,
            "days": days,
            "late": np.floor(rng.uniform(0, 1, n) * days),
            "ill": rng.random(n) < 0.4,
            "sex": rng.choice(["f", "m"], n),
            "since": np.datetime64("1990-01-01") + rng.integers(0, 7000, n).astype("timedelta64[D]"),
        }
    )


def walked(frame, ages, years=(), *, late=False):
    """Events and person-years by (sex, period, band), from each life cut at every boundary that it crosses."""
    opens = [np.datetime64(f"{y}-01-01") for y in years]
    events, person_years = {}, {}
    for p in frame.itertuples():
        born = np.datetime64(p.since, "D").astype(int) / 365.25 - p.age  # in years since 1970
        first, last = p.age + (p.late / 365.25 if late else 0.0), p.age + p.days / 365.25
        turns = [*ages, *((o - np.datetime64("1970-01-01")).astype(int) / 365.25 - born for o in opens)]
        cuts = sorted({first, last, *(t for t in turns if first < t < last)})
        for a, b in pairwise(cuts):
            middle = (a + b) / 2
            band = int(np.searchsorted(ages, middle)) - 1
            period = (
                int(
                    np.searchsorted(
                        [(o - np.datetime64("1970-01-01")).astype(int) / 365.25 for o in opens], middle + born
                    )
                )
                - 1
                if years
                else 0
            )
            if band < 0 or period < 0:
                continue
            cell = (p.sex, period, band)
            person_years[cell] = person_years.get(cell, 0.0) + b - a
            if b == last and p.ill:
                events[cell] = events.get(cell, 0) + 1
    return events, person_years


def gamma_limits(d, t, w):
    """Fay & Feuer (1997) by chi-squared quantiles."""
    w = w / w.sum()
    rate, v, largest = (w * d / t).sum(), (w**2 * d / t**2).sum(), (w / t).max()
    low = v / (2 * rate) * stats.chi2.ppf(0.025, 2 * rate**2 / v) if rate else 0.0
    above, spread = rate + largest, v + largest**2
    return [rate, math.sqrt(v), low, spread / (2 * above) * stats.chi2.ppf(0.975, 2 * above**2 / spread)]


class TestFlchain:
    """Person-years and deaths by five years of attained age; R 4.2.2, survival 3.5-3: pyears."""

    PERSON_YEARS = (
        *(5026.70088980151, 11951.1232032854, 15361.8644763861, 13832.7590691307, 11924.7542778919, 9590.69541409992),
        *(6463.2580424367, 3325.59753593429, 1447.40041067762),
    )
    DEATHS = (30, 76, 123, 187, 267, 362, 410, 368, 346)

    def test_person_years_and_direct_standardisation(self, ask):
        frames = split(flchain(), "blk4@age")
        result = ask("incidence_rates", frames, formula="Surv(futime, death) ~ 1", age="age", time_unit="days")
        rates = result["all"]
        bands = list(rates.bands.values())
        close([b.person_years for b in bands], [0.0] * 10 + list(self.PERSON_YEARS))
        assert [b.events for b in bands] == [0] * 10 + list(self.DEATHS)
        r = rates.standardised
        close(
            [r.rate, r.std_error, r.ci_low, r.ci_high],
            [0.0264630855441132, 0.000595988438854795, 0.0253077343955204, 0.0276816918008032],
        )
        assert (result.n, result.n_excluded, result.rounds, result.no_follow_up, result.outside) == (7874, 0, 2, 3, 0)
        assert next(iter(result.standard_weights)) == "50-54"
        assert any("truncated to the ages 50-54 to 90+" in w for w in result.warnings)

    def test_smr_of_men_by_the_rates_of_women(self, ask):
        frames = split(flchain(), "blk4@age")
        bands = [float(a) for a in range(50, 95, 5)]
        result = ask(
            "incidence_rates", frames, formula="Surv(futime, death) ~ sex", age="age", time_unit="days",
            bands=bands, reference_group="sex[F]",
        )  # fmt: skip
        smr = result["sex[M]"].smr
        close([smr.ratio, smr.ci_low, smr.ci_high], [1.49238730745647, 1.40149017724696, 1.58763241771404])
        assert result["sex[F]"].smr is None
        women = {"all": [b.rate.rate for b in result["sex[F]"].bands.values()]}
        told = ask(
            "incidence_rates", frames, formula="Surv(futime, death) ~ sex", age="age", time_unit="days",
            bands=bands, reference_rates=women,
        )  # fmt: skip
        close(told["sex[M]"].smr.ratio, smr.ratio)
        close(told["sex[F]"].smr.ratio, 1.0)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), late=st.booleans())
def test_any_split_over_ages_sexes_and_periods(seed, cohorts, late):
    frame, ages, years = lives(150, seed), [30.0, 40.0, 45.0, 62.5], [1992, 2000, 2001]
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    result = network(named([frame[where == k] for k in range(cohorts)])).study().incidence_rates(
        formula=f"Surv({'late, ' if late else ''}days, ill) ~ sex", age="age", time_unit="days", bands=ages,
        start_date="since", periods=years, standard="none",
    ).result(progress=False)  # fmt: skip
    events, person_years = walked(frame, ages, years, late=late)
    for s, sex in enumerate("fm"):
        for p, period in enumerate(["1992-1999", "2000", "2001+"]):
            bands = list(result[f"sex[{sex}], {period}"].bands.values())
            close([b.person_years for b in bands], [person_years.get((sex, p, a), 0.0) for a in range(4)], atol=1e-8)
            assert [b.events for b in bands] == [events.get((sex, p, a), 0) for a in range(4)], s
    assert result.outside == frame["ill"].sum() - sum(events.values())


class TestRates:
    @pytest.fixture(scope="class")
    @staticmethod
    def result():
        study = network(split(lives(800), "mod3")).study()
        return study.incidence_rates(
            formula="Surv(days, ill) ~ sex", age="age", time_unit="days", bands=[30.0, 45.0, 60.0, 75.0]
        ).result(progress=False)

    def test_crude_with_exact_limits(self, result):
        for group in result.rates.values():
            d, t = group.events, group.person_years
            r = group.crude
            wanted = [
                d / t,
                math.sqrt(d) / t,
                stats.chi2.ppf(0.025, 2 * d) / 2 / t,
                stats.chi2.ppf(0.975, 2 * d + 2) / 2 / t,
            ]
            close([r.rate, r.std_error, r.ci_low, r.ci_high], wanted)

    def test_standardised_with_gamma_limits(self, result):
        weights = np.array([6500 + 7000 + 7000, 7000 + 7000 + 6500, 6000 + 5500 + 5000, 4000 + 2500 + 1500 + 1000.0])
        close(list(result.standard_weights.values()), weights / weights.sum())
        for group in result.rates.values():
            bands = list(group.bands.values())
            d, t = np.array([b.events for b in bands]), np.array([b.person_years for b in bands])
            r = group.standardised
            close([r.rate, r.std_error, r.ci_low, r.ci_high], gamma_limits(d, t, weights))

    def test_ratio_is_that_of_a_poisson_regression(self, result):
        groups = list(result.rates.values())
        fit = sm.GLM(
            [g.events for g in groups], [[1, 0], [1, 1]], sm.families.Poisson(),
            exposure=[g.person_years for g in groups],
        ).fit()  # fmt: skip
        r = result["sex[m]"].ratio
        low, high = np.exp(fit.conf_int()[1])
        close([r.ratio, r.ci_low, r.ci_high, r.p_value], [np.exp(fit.params[1]), low, high, fit.pvalues[1]], rtol=1e-7)
        assert r.baseline == "sex[f]"
        assert result["sex[f]"].ratio is None
        first, second = (g.standardised for g in groups)
        r = result["sex[m]"].standardised_ratio
        error = math.hypot(first.std_error / first.rate, second.std_error / second.rate)
        close([r.ratio, math.log(r.ci_high / r.ratio)], [second.rate / first.rate, 1.959963984540054 * error])

    def test_own_weights_and_reference_rates_by_group_and_period(self, ask):
        frame = lives(500, 2)
        known = {"sex[f]": [0.01, 0.02, 0.04], "sex[m]": [0.02, 0.03, 0.05], "sex[m], 2000+": [0.1, 0.1, 0.1]}
        result = ask(
            "incidence_rates", split(frame, "mod3"), formula="Surv(days, ill) ~ sex", age="age", time_unit="days",
            bands=[30.0, 50.0, 65.0], age_limit=80.0, start_date="since", periods=[1990, 2000],
            standard_weights=[3.0, 2.0, 0.0], reference_rates=known,
        )  # fmt: skip
        for name, group in result.rates.items():
            rates = known.get(name) or known[name.split(",")[0]]
            expected = sum(b.person_years * r for b, r in zip(group.bands.values(), rates, strict=True))
            close([group.smr.expected, group.smr.observed], [expected, group.events])
            d, t = (np.array([getattr(b, f) for b in group.bands.values()])[:2] for f in ("events", "person_years"))
            close(group.standardised.rate, (0.6 * d[0] / t[0] + 0.4 * d[1] / t[1]))
        assert list(result["sex[f], 1990-1999"].bands) == ["30-49", "50-64", "65-79"]
        assert result["sex[m], 2000+"].ratio.baseline == "sex[f], 2000+"
        assert not any("truncated" in w for w in result.warnings)

    def test_time_that_is_age_itself(self, ask):
        frame = lives(300, 3).assign(entered=lambda f: f["age"], left=lambda f: f["age"] + f["days"] / 365.25)
        frames = split(frame, "mod3")
        by_age = ask("incidence_rates", frames, formula="Surv(entered, left, ill) ~ sex", time_unit="years")
        by_days = ask("incidence_rates", frames, formula="Surv(days, ill) ~ sex", age="age", time_unit="days")
        for name, group in by_days.rates.items():
            close([b.person_years for b in by_age[name].bands.values()], [b.person_years for b in group.bands.values()])

    def test_the_unit_may_come_from_the_dictionary(self, ask):
        frame = lives(200, 4).assign(months=lambda f: f["days"] // 30)
        variables = {
            "age": {"type": "number", "unit": "a"},
            "months": {"type": "integer", "unit": "mo"},
            "ill": {"type": "boolean"},
        }
        dictionary = Dictionary.model_validate({"name": "t", "version": "1", "variables": variables})
        question = {"formula": "Surv(months, ill) ~ 1", "age": "age"}
        result = ask("incidence_rates", split(frame, "mod3"), dictionary=dictionary, **question)
        close(result["all"].person_years, frame["months"].sum() / 12)
        with pytest.raises(InvalidQuestion, match="counts `months` in months"):
            ask("incidence_rates", split(frame, "mod3"), dictionary=dictionary, time_unit="days", **question)


class TestStandards:
    """Their published totals, and a few of their numbers."""

    def test_totals(self):
        assert {name: sum(s.people) for name, s in STANDARDS.items()} == {
            "ESP2013": 100_000, "ESP1976": 100_000, "WHO2000": 100_035,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "weights"),
        [
            (
                "ESP2013",
                [5000, *[5500] * 3, 6000, 6000, 6500, *[7000] * 4, 6500, 6000, 5500, 5000, 4000, 2500, 1500, 1000],
            ),
            ("ESP1976", [8000, *[7000] * 10, 6000, 5000, 4000, 3000, 2000, 1000, 1000]),
            (
                "WHO2000",
                [
                    *(8860, 8690, 8600, 8470, 8220, 7930, 7610, 7150, 6590, 6040),
                    *(5370, 4550, 3720, 2960, 2210, 1520, 910, 635),
                ],
            ),
        ],
    )  # fmt: skip
    def test_by_five_years(self, name, weights):
        standard = STANDARDS[name]
        close(standard.weights([*standard.bands, math.inf]), weights)
        close(standard.weights([0, 50, math.inf]), [sum(weights[:10]), sum(weights[10:])])

    def test_infants_have_a_group_of_their_own(self):
        close(STANDARDS["ESP2013"].weights([0, 1, 5, math.inf]), [1000, 4000, 95000])

    def test_a_boundary_within_a_group_is_told(self, ask):
        with pytest.raises(InvalidQuestion, match="no boundary at age 18"):
            ask("incidence_rates", split(lives(), "mod3"), formula="Surv(days, ill) ~ 1", age="age", time_unit="days",
                bands=[0.0, 18.0])  # fmt: skip


class TestSmallCells:
    POLICY = Policy(min_people=10, min_cell=10, max_parameters_per_person=1)

    def frames(self, n=900, seed=7):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(
            {
                "age": np.clip(rng.normal(60, 12, n).round(1), 20, 95),
                "days": rng.integers(30, 4000, n),
                "sex": rng.choice(["f", "m"], n),
            }
        )
        frame["ill"] = rng.random(n) < 0.12 * np.exp(0.03 * (frame["age"] - 40))
        return frame, split(frame, "blk3")

    def test_bands_are_taken_together_and_nobody_is_lost(self, ask):
        frame, frames = self.frames(3000)
        question = {"formula": "Surv(days, ill) ~ sex", "age": "age", "time_unit": "days"}
        whole = ask("incidence_rates", frames, **question)
        result = ask("incidence_rates", frames, policy=self.POLICY, **question)
        assert any("taken together" in w for w in result.warnings)
        assert result.n == len(frame)
        for name, group in result.rates.items():
            close(group.person_years, whole[name].person_years)
            assert group.events == whole[name].events
            assert 1 < sum(b.person_years > 0 for b in group.bands.values()) < 15
            assert all(b.events == 0 or b.events >= 10 for b in group.bands.values())
            assert group.standardised.rate > 0

    def test_every_union_of_a_cohort_is_large(self):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            size = (3, 12)
            first = rng.poisson(4 * rng.random(size))
            last = np.zeros(size)
            for s in range(size[0]):
                for band in range(size[1]):
                    for _ in range(first[s, band]):
                        last[s, min(size[1] - 1, band + rng.integers(0, 3))] += 1
            events = rng.binomial(last.astype(int), 0.5)
            table = LexisTable(first.astype(float), last, events.astype(float), first * 2.0)
            table = table.without(too_small(table, 6))
            starts = np.flatnonzero([True, *own_boundaries(table, 6)])
            for counts in (table.people(starts), np.add.reduceat(table.events, starts, axis=1)):
                assert not np.any((counts > 0) & (counts < 6))

    def test_a_group_that_is_too_small_is_withheld_and_said(self, ask):
        frame, _ = self.frames()
        frame.loc[:3, "sex"] = "x"
        result = ask(
            "incidence_rates", split(frame, "mod3"), policy=self.POLICY, formula="Surv(days, ill) ~ sex", age="age",
            time_unit="days",
        )  # fmt: skip
        assert result.rates["sex[x]"] is None
        assert result.n == len(frame) - 4
        assert any("Withheld" in w and "sex[x]" in w for w in result.warnings)
        assert "withheld" in result.summary()
        alone = {"formula": "Surv(days, ill) ~ 1", "age": "age", "time_unit": "days"}
        with pytest.raises(CannotEstimate, match="too few people or events"):
            ask("incidence_rates", named([frame, frame[:5], frame[:5]]), policy=self.POLICY, **alone)

    def test_finer_bands_than_a_cohort_has_are_refused(self, ask):
        _, frames = self.frames()
        node = next(iter(network(frames, policy=self.POLICY).service.nodes.values()))
        values = {"formula": "Surv(days, ill) ~ 1", "age": "age", "time_unit": "days"}
        params = IncidenceRatesParams.bind(values, node.dictionary)
        votes = small_cells(node.data, params)
        assert votes.boundaries.any()
        honest = (votes.boundaries == 0).astype(float)
        check(lexis_cells(node.data, params, boundaries=honest), self.POLICY)
        for attack in (np.ones(18), honest + 0.5, np.ones(3), np.where(honest > 0, -1.0, 0.0), np.full(18, np.nan)):
            with pytest.raises(Refused, match="small cells"):
                lexis_cells(node.data, params, boundaries=attack)

    def test_the_ledger_is_told_who_ends_in_which_band(self):
        frame, frames = self.frames(300)
        node = next(iter(network(frames).service.nodes.values()))
        values = {"formula": "Surv(days, ill) ~ 1", "age": "age", "time_unit": "days", "bands": [50.0, 60.0, 70.0]}
        params = IncidenceRatesParams.bind(values, node.dictionary)
        told = params.divides("lexis_cells", {"boundaries": np.array([0.0, 1.0])})
        own = frames["c0"]
        ends = own["age"] + own["days"] / 365.25
        assert np.array_equal(told.codes(node.data), np.searchsorted([50, 70], ends))
        assert params.divides("small_cells", {}) is None
        assert hash(params) == hash(IncidenceRatesParams.bind(values, node.dictionary))
        assert len(frame) == 300

    def test_a_kept_table_is_the_same_again(self):
        _, frames = self.frames(300)
        node = next(iter(network(frames, policy=self.POLICY).service.nodes.values()))
        params = IncidenceRatesParams.bind(
            {"formula": "Surv(days, ill) ~ 1", "age": "age", "time_unit": "days"}, node.dictionary
        )
        assert isinstance(node.data, Data)
        first, second = (small_cells(node.data, params) for _ in range(2))
        assert np.array_equal(first.boundaries, second.boundaries)


class TestBadInput:
    QUESTION: ClassVar = {"formula": "Surv(days, ill) ~ 1", "age": "age", "time_unit": "days"}

    def test_no_length_late_or_not(self, ask):
        frame = lives(300, 8)
        frame.loc[:9, "days"] = 0
        frame.loc[:9, "late"] = 0.0
        result = ask("incidence_rates", split(frame, "mod3"), **self.QUESTION)
        assert (result.no_follow_up, result["all"].events) == (10, frame["ill"].sum())
        assert any("no length" in w for w in result.warnings)
        frame.loc[10:14, "late"] = frame.loc[10:14, "days"] + 5.0
        late = ask("incidence_rates", split(frame, "mod3"), **{**self.QUESTION, "formula": "Surv(late, days, ill) ~ 1"})
        assert (late.no_follow_up, late["all"].events) == (15, frame["ill"][15:].sum())

    def test_ages_that_no_band_covers_are_counted(self, ask):
        frame = lives(300, 9)
        result = ask("incidence_rates", split(frame, "mod3"), **self.QUESTION, bands=[50.0, 60.0], age_limit=65.0)
        events, _ = walked(frame, [50.0, 60.0, 65.0])
        assert result["all"].events == sum(n for (_, _, band), n in events.items() if band < 2)
        assert result.outside == frame["ill"].sum() - result["all"].events
        assert any("no cell covers" in w for w in result.warnings)

    def test_a_cohort_without_events_and_one_without_people(self, ask):
        frame = lives(300, 10)
        still = frame[:100].assign(ill=False)
        result = ask("incidence_rates", named([still, frame[100:], frame[:0]]), **self.QUESTION)
        assert any(w.startswith("1 of the cohorts") for w in result.warnings)
        assert result["all"].events == frame["ill"][100:].sum()

    def test_a_group_without_events_has_a_rate_of_0_and_no_ratio(self, ask):
        frame = lives(300, 11)
        frame.loc[frame["sex"] == "f", "ill"] = False
        result = ask("incidence_rates", split(frame, "mod3"), **{**self.QUESTION, "formula": "Surv(days, ill) ~ sex"})
        women = result["sex[f]"]
        close([women.crude.rate, women.crude.ci_low], [0, 0])
        close(women.crude.ci_high, stats.chi2.ppf(0.975, 2) / 2 / women.person_years)
        assert women.standardised.ci_low == 0 < women.standardised.ci_high
        assert result["sex[m]"].ratio is None
        assert result.chart().to_dict()
        assert result.summary()

    def test_missing_values(self, ask):
        frame = lives(300, 12)
        frame.loc[::10, "age"] = np.nan
        result = ask("incidence_rates", split(frame, "mod3"), **self.QUESTION)
        assert (result.n, result.n_excluded, result.missing["age"]) == (270, 30, 30)

    def test_times_before_the_origin_are_refused(self, ask):
        with pytest.raises(InvalidQuestion, match="before 0"):
            ask("incidence_rates", split(lives().assign(days=lambda f: f["days"] - 3000), "mod3"), **self.QUESTION)

    def test_nobody(self, ask):
        with pytest.raises(CannotEstimate, match="No cohort"):
            ask("incidence_rates", split(lives(), "mod3"), **self.QUESTION, bands=[95.0])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"time_unit": None}, "in what unit `days`"),
            ({"age": None}, "Give `age`"),
            ({"age": "sex"}, "is a category, not an age"),
            ({"bands": [50.0, 40.0]}, "increasing order"),
            ({"bands": [50.0, 60.0], "age_limit": 60.0}, "increasing order"),
            ({"periods": [2000]}, "belong together"),
            ({"start_date": "age", "periods": [2000]}, "not a date"),
            ({"standard_weights": [1.0]}, "Give 19 `standard_weights`"),
            ({"reference_rates": {"all": [1.0]}}, "Give 19 `reference_rates`"),
            ({"reference_rates": {"sex[x]": [1.0] * 19}}, "names `sex\\[x\\]`"),
            ({"reference_group": "x"}, "no group `x`"),
            ({"formula": "Surv(days, ill) ~ age"}, "does not divide people"),
            ({"formula": "days ~ 1"}, "Write the follow-up"),
            ({"formula": "Surv(days, age) ~ 1"}, "cannot say who had the event"),
            ({"formula": "Surv(days, ill) ~ strata(sex)"}, "strata"),
        ],
    )
    def test_wrong_questions(self, ask, change, words):
        with pytest.raises((InvalidQuestion, FormulaError), match=words):
            ask("incidence_rates", split(lives(60), "mod3"), **{**self.QUESTION, **change})
