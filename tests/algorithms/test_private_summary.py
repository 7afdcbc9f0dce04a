"""Private summaries: right without the noise, the noise as large as told, and no row can change more than declared."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.private_summary import STEPS, NoisyCells, noisy_cells
from cohortium.analysis import find
from cohortium.errors import InvalidQuestion
from simulation import network

EXAMPLES = [
    {"variables": ["age", "smokes"], "by": "sex", "bins": 4, "rho": 0.5},
    {"variables": ["arm"], "rho": 0.1},
]


def people(n=900, seed=3):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 90, n).astype(float),
            "bmi": np.round(rng.normal(26, 4, n).clip(15, 45), 1),
            "sex": rng.choice(["female", "male"], n),
            "smokes": rng.random(n) < 0.3,
        }
    )
    frame.loc[rng.random(n) < 0.1, "bmi"] = np.nan
    frame.loc[0, ["age", "bmi"]] = [20, 15.0]
    frame.loc[1, ["age", "bmi"]] = [90, 45.0]
    return frame


def split(frame, cohorts=3):
    return {f"c{k}": frame.iloc[k::cohorts] for k in range(cohorts)}


@pytest.fixture
def asked(ask):
    return lambda frame, **params: ask("private_summary", split(frame), **params)


@pytest.fixture
def silent(monkeypatch):
    monkeypatch.setattr("node.noise._gaussian", lambda size, _scale: np.zeros(size))


@pytest.mark.usefixtures("silent")
def test_without_noise_it_is_the_pooled_table(asked):
    frame = people()
    result = asked(frame, variables=["smokes", "bmi", "age"], by="sex", rho=1, bins=6)
    for sex, group in frame.groupby("sex"):
        smokes = result.variables["smokes"][sex]
        assert smokes.counts == {"no": int((~group["smokes"]).sum()), "yes": int(group["smokes"].sum())}
        bmi = result.variables["bmi"][sex]
        assert (bmi.n, bmi.missing) == (group["bmi"].count(), group["bmi"].isna().sum())
        assert bmi.mean == pytest.approx(group["bmi"].mean(), abs=(45 - 15) / 2 / STEPS / 2)
        edges = np.linspace(15, 45, 7)
        assert list(bmi.counts.values()) == list(np.histogram(group["bmi"].dropna(), edges)[0])
    assert result.n == len(frame)


def test_the_noise_is_as_large_as_told(asked):
    frame = people()
    results = [asked(frame, variables=["smokes", "bmi"], rho=0.05) for _ in range(60)]
    counts = np.array([r.variables["smokes"]["all"].counts["yes"] for r in results])
    truth = int(frame["smokes"].sum())
    assert np.std(counts - truth) == pytest.approx(results[0].count_noise, rel=0.35)
    means = [r.variables["bmi"]["all"] for r in results]
    z = np.array([(m.mean - frame["bmi"].mean()) / m.mean_noise for m in means])
    assert np.std(z) == pytest.approx(1.0, rel=0.35)
    assert abs(np.mean(z)) < 5 / np.sqrt(len(z))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 899), st.booleans(), st.integers(0, 4))
def test_one_row_changes_no_line_by_more_than_declared(row, by_sex, bins):
    frame = people()
    variables, by = (["smokes", "bmi", "age"], "sex") if by_sex else (["sex", "smokes", "bmi", "age"], None)
    params = {"variables": variables, "by": by, "rho": 1, "bins": bins}
    service = network({"c": frame}).service
    dictionary, data = service.dictionary(), service.nodes["c"].data
    bound = find("private_summary").params.bind(params, dictionary)
    kept = np.delete(np.arange(len(frame)), row)
    without = type(data)(dictionary, {n: c[kept] for n, c in data.columns.items()}, len(kept))
    before, after = noisy_cells(data, bound), noisy_cells(without, bound)
    for name, kind in NoisyCells.kinds.items():
        if name != "asked":
            change = np.linalg.norm(np.asarray(getattr(before, name)) - np.asarray(getattr(after, name)), axis=-1)
            assert np.all(change <= kind.most)


@pytest.mark.usefixtures("silent")
def test_what_lies_beyond_the_declared_range_counts_as_its_limit():
    frame = people()
    service = network(split(frame)).service
    declared = service.dictionary()
    age = declared["age"].model_copy(update={"maximum": 50.0})
    narrow = declared.model_validate(declared.model_dump() | {"variables": {**declared.variables, "age": age}})
    params = find("private_summary").params.bind({"variables": ["age"], "rho": 1}, narrow)
    sums = sum(noisy_cells(node.data, params).sums[0, 0] for node in service.nodes.values())
    mean = 35 + 15 * sums / STEPS / len(frame)
    assert mean == pytest.approx(frame["age"].clip(20, 50).mean(), abs=15 / STEPS)


@pytest.mark.usefixtures("silent")
def test_too_few_people_have_no_mean(asked):
    result = asked(people(30), variables=["bmi"], rho=0.001)
    assert result.variables["bmi"]["all"].mean is None


def test_a_smaller_budget_has_more_noise(asked):
    frame = people()
    noise = [asked(frame, variables=["smokes"], rho=rho).count_noise for rho in (0.01, 0.04)]
    assert noise[0] == pytest.approx(2 * noise[1])


def test_words_tell_what_is_protected(asked):
    result = asked(people(), variables=["smokes", "bmi"], rho=0.5)
    assert "0.5-zCDP" in result.in_words()
    assert "noise" in result.summary()
    assert result.epsilon == pytest.approx(0.5 + 2 * np.sqrt(0.5 * np.log(1e6)))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"variables": ["bmi", "bmi"], "rho": 1}, "given twice"),
        ({"variables": ["bmi"], "rho": 0}, "rho"),
        ({"variables": ["bmi"], "by": "age", "rho": 1}, "divide people"),
        ({"variables": [], "rho": 1}, "variables"),
    ],
)
def test_bad_questions_are_named(asked, params, words):
    with pytest.raises(InvalidQuestion, match=words):
        asked(people(), **params)
