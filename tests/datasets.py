"""Public tables of real people, and the splits over cohorts that the reference values were computed with.

Tables that no Python package ships are in `data`, with their sources; the others come with scikit-learn, statsmodels
and lifelines.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

BLOCKS = {"blk3": (0.5, 0.8), "blk4": (0.4, 0.7, 0.9)}


def split(frame: pd.DataFrame, rule: str) -> dict[str, pd.DataFrame]:
    """Divide the rows over cohorts c0, c1 ...

    `mod3`: row i goes to cohort i mod 3. `blk3`, `blk4`: consecutive blocks of unequal size. `blk3@age`: the same after
    a stable sort by that column. `by@firm`: one cohort per value of that column.
    """
    kind, _, column = rule.partition("@")
    if kind == "by":
        return named([frame[frame[column] == value] for value in sorted(frame[column].unique())])
    if column:
        frame = frame.sort_values(column, kind="mergesort")
    if kind.startswith("mod"):
        cohorts = int(kind[3:])
        return named([frame.iloc[k::cohorts] for k in range(cohorts)])
    n = len(frame)
    cuts = [0, *(math.floor(share * n + 1e-9) for share in BLOCKS[kind]), n]
    return named([frame.iloc[a:b] for a, b in pairwise(cuts)])


def named(frames: list[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Cohorts c0, c1 ... with these rows."""
    return {f"c{k}": frame.reset_index(drop=True) for k, frame in enumerate(frames)}


@cache
def _diabetes() -> pd.DataFrame:
    from sklearn.datasets import load_diabetes

    return load_diabetes(scaled=False, as_frame=True).frame


def diabetes() -> pd.DataFrame:
    """442 people with diabetes and the progression of their disease a year later."""
    return _diabetes().copy()


@cache
def _statsmodels(name: str) -> pd.DataFrame:
    import statsmodels.api as sm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(sm.datasets, name).load_pandas().data


def fair() -> pd.DataFrame:
    """6366 women; `y` says whether they had an affair, occupation is a category `1` to `6`."""
    frame = _statsmodels("fair").copy()
    frame["y"] = (frame["affairs"] > 0).astype(int)
    frame["visits"] = frame["affairs"].apply(math.floor)
    frame["job"] = frame["occupation"].astype(int).astype(str)
    return frame


def randhie() -> pd.DataFrame:
    """20190 person-years of the RAND health insurance experiment, with outpatient visits."""
    return _statsmodels("randhie").copy()


def anes96() -> pd.DataFrame:
    """944 voters of the American National Election Study of 1996.

    `pid` is their party, in seven steps from 0 (strong Democrat) to 6 (strong Republican); `schooling` is `educ`, 1 to
    7, as a category.
    """
    frame = _statsmodels("anes96").copy()
    frame["schooling"] = frame["educ"].astype(int).astype(str)
    frame["logpopul"] = np.log(frame["popul"] + 0.1)
    frame["pid"] = frame["PID"].astype(int).astype(str)
    return frame


def longley() -> pd.DataFrame:
    """16 years of economic figures, a classic of ill conditioning."""
    return _statsmodels("longley").copy()


def grunfeld() -> pd.DataFrame:
    """11 firms over 20 years: investment, market value, capital."""
    return _statsmodels("grunfeld").copy()


def epil() -> pd.DataFrame:
    """236 two-week seizure counts of 59 people; `weeks` is the length of each period."""
    frame = pd.read_csv(Path(__file__).parent / "data" / "epil.csv", float_precision="round_trip")
    frame["trtp"] = (frame["trt"] == "progabide").astype(int)
    frame["weeks"] = 2.0
    return frame


def quine() -> pd.DataFrame:
    """146 children in Walgett, New South Wales: days absent from school, by origin, sex, age and pace of learning."""
    return pd.read_csv(Path(__file__).parent / "data" / "quine.csv")


def scotland() -> pd.DataFrame:
    """32 council districts of Scotland: share voting yes in 1997, a classic of the gamma family."""
    return _statsmodels("scotland").copy()


def star98() -> pd.DataFrame:
    """303 Californian school districts: children `above` the median in mathematics among the `children` tested."""
    frame = _statsmodels("star98").copy()
    frame["children"] = frame["NABOVE"] + frame["NBELOW"]
    frame["above"] = frame["NABOVE"] / frame["children"]
    return frame


def whas500() -> pd.DataFrame:
    """500 people after a heart attack, Worcester Heart Attack Study: age, gender (1: woman), pressure, follow-up ..."""
    return pd.read_csv(Path(__file__).parent / "data" / "whas500.csv")


def bcg() -> dict[str, pd.DataFrame]:
    """The people of 13 trials of the BCG vaccine against tuberculosis, a cohort for each trial: arm, tb."""
    trials = pd.read_csv(Path(__file__).parent / "data" / "bcg.csv")
    arms = np.array(["control", "vaccinated"])
    return named(
        [
            pd.DataFrame(
                {
                    "arm": np.repeat(arms[[0, 0, 1, 1]], [t.cpos, t.cneg, t.tpos, t.tneg]),
                    "tb": np.repeat([True, False, True, False], [t.cpos, t.cneg, t.tpos, t.tneg]),
                }
            )
            for t in trials.itertuples()
        ]
    )


def sleepstudy() -> pd.DataFrame:
    """180 reaction times of 18 people over ten days of little sleep."""
    path = Path(__file__).parent / "data" / "sleepstudy.csv"
    return pd.read_csv(path, dtype={"Subject": str}, float_precision="round_trip")


@cache
def _lifelines(name: str) -> pd.DataFrame:
    import lifelines.datasets

    return getattr(lifelines.datasets, f"load_{name}")()


def lung() -> pd.DataFrame:
    """228 people with advanced lung cancer; `dead` is the event."""
    frame = _lifelines("lung").copy()
    frame["dead"] = frame["status"] == frame["status"].max()
    return frame


def gbsg2() -> pd.DataFrame:
    """686 women of the German Breast Cancer Study Group trial; `cens` is 1 for a recurrence."""
    return _lifelines("gbsg2").copy()


def rossi() -> pd.DataFrame:
    """432 convicts followed for a year after their release; `arrest` is the event, in weeks, with many ties."""
    return _lifelines("rossi").copy()


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parent / "data" / f"{name}.csv", float_precision="round_trip")


def heart() -> pd.DataFrame:
    """172 intervals of 103 people of the Stanford heart transplant programme; one or two rows per `id`."""
    return _read("heart")


def infert() -> pd.DataFrame:
    """248 women, 83 of them with secondary infertility (`case`), in 83 matched sets (`stratum`) of one case each."""
    return _read("infert")


def mgus2() -> pd.DataFrame:
    """1384 people with monoclonal gammopathy; `months` to `end`: censored, pcm (malignancy) or death."""
    frame = _read("mgus2")
    frame["months"] = np.where(frame["pstat"] == 0, frame["futime"], frame["ptime"])
    frame["end"] = np.where(frame["pstat"] == 1, "pcm", np.where(frame["death"] == 1, "death", "censored"))
    return frame


def volunteers(n: int = 300, seed: int = 20) -> pd.DataFrame:
    """Made-up people with a variable of every kind, a tenth of `age` missing: for tests over every analysis."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, n),
            "bmi": rng.normal(25, 4, n),
            "arm": rng.choice(["a", "b", "c"], n),
            "sex": rng.choice(["female", "male"], n),
            "smokes": rng.random(n) < 0.3,
            "visits": rng.poisson(2, n),
            "years": rng.uniform(0.5, 5, n),
            "time": rng.integers(1, 100, n),
            "dead": rng.random(n) < 0.5,
        }
    )
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    return frame


@cache
def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parent / "data" / f"{name}.csv", float_precision="round_trip")


def flchain() -> pd.DataFrame:
    """7874 people of Olmsted County with their free light chains; creatinine is missing for 1350 of them."""
    return _table("flchain").copy()


def twics() -> pd.DataFrame:
    """1200 made-up people: `z` selected, `tr` accepted, `y` outcome, age."""
    return _table("twics").astype({"z": int, "tr": int})


def ucb() -> pd.DataFrame:
    """4526 applicants to graduate school at Berkeley in 1973: Admit, Gender, Dept."""
    counts = _table("ucb")
    rows = counts.loc[counts.index.repeat(counts["Freq"])]
    return rows.drop(columns="Freq").reset_index(drop=True)
