"""Honest work is not blocked: the published analyses of tables with 200 rows or more per cohort run under `default`.

Every one that does not is named in docs/disclosure.md, with the reason; a reason that is gone fails here.
"""

from pathlib import Path

import numpy as np
import pytest
from datasets import fair, flchain, randhie, split, ucb

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import Refused
from node.disclosure import Policy
from simulation import network

PAGE = (Path(__file__).parents[1] / "docs" / "disclosure.md").read_text(encoding="utf-8")
COVARIATES = "rate_marriage + age + yrs_married + children + religious + educ"
LATTICES = Dictionary(
    name="flchain",
    version="1",
    variables={
        "age": Variable(type="integer", minimum=0, maximum=120),
        "kappa": Variable(type="number", minimum=0, maximum=50),
        "creatinine": Variable(type="number", minimum=0, maximum=30, precision=0.1),
    },
)


def affairs():
    frame = fair()
    job = frame["occupation"].astype(int).astype(str)
    frame = frame.assign(ill=frame["affairs"] > 0, times=np.floor(frame["affairs"]), work=job)
    return split(frame, "blk4@occupation")


def departments():
    frame = ucb()
    pairs = (("A", "B"), ("C", "D"), ("E", "F"))
    return {f"c{k}": frame[frame["Dept"].isin(pair)].reset_index(drop=True) for k, pair in enumerate(pairs)}


def visits():
    return split(randhie(), "blk4@disea")


ALL = "mdvis ~ lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"
COMMON = {"cohort_effect": "common"}
RATES = {"formula": "Surv(futime, death) ~ 1", "age": "age", "time_unit": "days"}
SHARES = {"probabilities": [0.05, 0.25, 0.5, 0.75, 0.95], "precision": 0.001}

WORK = {
    **{
        f"glm.binomial.{link}.fair": (
            affairs,
            "glm",
            {"formula": f"ill ~ {COVARIATES} + work", "family": "binomial", "link": link, **COMMON},
        )
        for link in ("logit", "probit", "cloglog")
    },
    "glm.logit.cohort_intercepts.fair": (
        affairs, "glm", {"formula": f"ill ~ {COVARIATES}", "family": "binomial"}
    ),
    "glm.poisson.cohort_intercepts.fair": (
        affairs, "glm", {"formula": f"times ~ {COVARIATES}", "family": "poisson"}
    ),
    "glm.poisson.randhie": (visits, "glm", {"formula": ALL, "family": "poisson", "std_errors": "HC0", **COMMON}),
    "glm.nb2.randhie": (visits, "glm", {"formula": ALL, "family": "negative_binomial", **COMMON}),
    "desc.chi2.ucb": (lambda: split(ucb(), "mod3"), "crosstab", {"rows": "Gender", "columns": "Admit"}),
    "rates.flchain": (lambda: split(flchain(), "blk4@age"), "incidence_rates", RATES),
    **{
        f"desc.quantile.flchain.{name}": (
            lambda name=name: split(flchain()[[*dict.fromkeys(["age", name])]], "blk4@age"),
            "quantiles",
            {"variables": [name], **SHARES},
        )
        for name in ("age", "kappa", "creatinine")
    },
}  # fmt: skip
REFUSED = {"desc.cmh.ucb": "withheld"}


@pytest.mark.parametrize("entry", WORK)
def test_it_runs(entry):
    frames, analysis, params = WORK[entry]
    cohorts = frames()
    assert min(map(len, cohorts.values())) >= 200
    known = LATTICES if analysis == "quantiles" else None
    if known is not None:
        cohorts = {name: frame[[c for c in frame if c in known.variables]] for name, frame in cohorts.items()}
    study = network(cohorts, known, Policy()).study()
    assert getattr(study, analysis)(**params).result(progress=False).n > 0


def test_strata_of_one_cohort_are_withheld_when_some_cell_is_small():
    params = {"rows": "Gender", "columns": "Admit", "strata": ["Dept"]}
    study = network(departments(), policy=Policy()).study()
    try:
        result = study.crosstab(**params).result(progress=False)
    except Refused:
        result = None
    assert result is not None
    assert result.mantel_haenszel is not None


def test_the_page_lists_them():
    missing = [entry for entry in WORK if f"`{entry}`" not in PAGE]
    assert not missing
