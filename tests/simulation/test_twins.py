"""Synthetic twins: nothing in them that the policy would not let out, and people who look like the marginals."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion, Refused
from cohortium.twin import REHEARSAL, Marginal
from node.answer import CohortNode
from node.console import app
from node.data import load
from node.disclosure import Policy
from node.twin import BINS, twin_of
from simulation.processes import LocalNetwork
from simulation.twins import people, rehearse

DICTIONARY = """
name = "twins"
version = "1"
variables.age = {type = "integer", minimum = 18, maximum = 98}
variables.weight = {type = "number", minimum = 30, maximum = 230, precision = 0.1}
variables.sex = {type = "category", categories = [{value = "f"}, {value = "m"}, {value = "x"}]}
variables.ill = {type = "boolean"}
variables.seen = {type = "date", minimum = 18262, maximum = 20088}
variables.household = {type = "identifier"}
variables.unlimited = {type = "number"}
"""
POLICY = Policy()
TODAY = date(2026, 1, 2)


def dictionary(folder):
    path = folder / "dictionary.toml"
    path.write_text(DICTIONARY)
    return Dictionary.from_toml(path)


def frame(seed=1, rows=800):
    rng = np.random.default_rng(seed)
    sex = np.array(["f", "m"])[(np.arange(rows) % 2)]
    sex[:3] = "x"
    data = pl.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "weight": np.round(rng.normal(80, 10, rows).clip(40, 140), 1),
            "sex": sex,
            "ill": rng.random(rows) < 0.25,
            "seen": pl.select(
                pl.lit(date(2020, 1, 1)) + pl.duration(days=pl.Series(rng.integers(0, 1800, rows)))
            ).to_series(),
            "household": [f"h{i // 3}" for i in range(rows)],
            "unlimited": rng.normal(size=rows),
        }
    )
    return data.with_columns(pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("weight").alias("weight"))


@pytest.fixture
def known(tmp_path):
    return dictionary(tmp_path)


def node(known, name="north", seed=1, rows=800, policy=POLICY):
    return CohortNode(name, load(frame(seed, rows).to_arrow(), known), policy)


def test_a_twin_tells_rounded_marginals_that_passed_the_policy(known):
    twin = twin_of(node(known), TODAY)
    assert twin.people == 800
    assert twin.marginals["sex"].counts == (None, 400, None)  # a second one, or the small one would follow
    assert twin.marginals["weight"].missing == 0.1
    ages = twin.marginals["age"]
    assert len(ages.edges) - 1 == len(ages.counts) <= BINS
    assert {"household", "unlimited"}.isdisjoint(twin.marginals)
    for marginal in twin.marginals.values():
        assert all(count is None or count % 5 == 0 for count in marginal.counts)
        assert all(count is None or count == 0 or count >= POLICY.min_cell - 2 for count in marginal.counts)


def test_what_the_policy_refuses_is_left_out(known):
    strict = POLICY.model_copy(update={"min_people": 100_000})
    assert "unlimited" not in twin_of(node(known, policy=strict), TODAY).marginals


def test_its_people_have_the_marginals_and_no_relation(known):
    twin = twin_of(node(known, rows=4000), TODAY)
    data = people(twin, known, 4000, seed=7)
    assert len(data) == 4000
    weight = data["weight"]
    assert np.isnan(weight).mean() == pytest.approx(0.1, abs=0.02)
    assert np.nanmean(weight) == pytest.approx(80, abs=6)
    assert np.all(np.isnan(weight) | ((weight * 10).round(6) % 1 == 0))
    assert set(np.unique(data["age"]) % 1) == {0.0}
    assert np.bincount(data.codes("sex"))[:2].sum() > 3900
    assert np.mean(data["ill"]) == pytest.approx(0.25, abs=0.03)
    assert abs(np.corrcoef(data["age"], data["ill"])[0, 1]) < 0.06
    assert len(np.unique(data.codes("household"))) == 2000


def test_the_same_seed_gives_the_same_people(known):
    twin = twin_of(node(known), TODAY)
    one, other = (people(twin, known, 500, seed=3) for _ in range(2))
    assert all(np.array_equal(one.columns[n], other.columns[n], equal_nan=n != "sex") for n in ("age", "weight", "sex"))


def test_a_rehearsal_runs_is_refused_alike_and_says_what_it_is(known):
    twins = [twin_of(node(known, name, seed), TODAY) for seed, name in enumerate(("north", "south", "west"))]
    net = rehearse(known, twins)
    study = net.study("no-permit-yet")
    result = study.glm(formula="ill ~ age + weight", family="binomial").result(progress=False)
    assert result.warnings[0] == REHEARSAL
    assert "(rehearsal)" in net.view.name
    with pytest.raises(Refused):
        study.glm(formula="ill ~ age", family="binomial", where="age > 77 & weight < 75").result(progress=False)


def test_nobody_to_rehearse_with_is_told(known):
    with pytest.raises(InvalidQuestion, match="twin"):
        rehearse(known, [])
    outdated = twin_of(node(known), TODAY).model_copy(update={"dictionary": "0" * 64})
    with pytest.raises(InvalidQuestion, match="twin"):
        rehearse(known, [outdated])


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": (1, 2), "edges": (0.0, 1.0), "missing": 0.0},
        {"counts": (1,), "edges": (1.0, 0.0), "missing": 0.0},
        {"counts": (-1,), "missing": 0.0},
        {"counts": (1,), "missing": 1.5},
        {"counts": (1,) * 501, "missing": 0.0},
    ],
)
def test_a_twin_that_is_none_is_not_taken(wrong):
    with pytest.raises(ValueError, match="validation error"):
        Marginal.model_validate(wrong)


@pytest.mark.e2e
@pytest.mark.xdist_group("end-to-end")
@pytest.mark.timeout(180)
def test_a_script_is_rehearsed_on_a_real_network_and_then_run_unchanged(tmp_path, monkeypatch):
    dictionary(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY.to_toml())
    sources = {}
    for seed, name in enumerate(("north", "south", "west")):
        sources[name] = tmp_path / f"{name}.parquet"
        frame(seed).write_parquet(sources[name])
    local = LocalNetwork(tmp_path / "run", tmp_path / "dictionary.toml", sources, tmp_path / "policy.toml", ["s"])
    for name in ("north", "south"):  # west publishes nothing
        config = next((tmp_path / "run").rglob(f"{name}/node.toml"))
        made = CliRunner().invoke(app, ["twin", "--config", str(config)])
        assert made.exit_code == 0, made.output
        assert "Nothing was published" in made.output
        config.write_text('twin = "twin.json"\n' + config.read_text())

    def script():
        study = local.connect().study("s")
        return study.glm(formula="ill ~ age + weight", family="binomial").result(progress=False)

    with local:
        monkeypatch.setenv("COHORTIUM_REHEARSE", "1")
        rehearsed = script()
        monkeypatch.delenv("COHORTIUM_REHEARSE")
        real = script()
    assert (rehearsed.cohorts, real.cohorts) == (("north", "south"), ("north", "south", "west"))
    assert rehearsed.warnings[0] == REHEARSAL
    assert REHEARSAL not in real.warnings
    assert list(rehearsed.coefficients) == list(real.coefficients)
