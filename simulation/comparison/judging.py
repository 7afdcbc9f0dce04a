"""How good each method is: bias, coverage and power over many repetitions, and what disclosure rules cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict

from cohortium.errors import CohortiumError
from cohortium.report import Cell, Table
from cohortium.result import Result
from simulation.comparison.methods import Fit, federated, meta_analyses, pooled
from simulation.comparison.plan import Plan
from simulation.comparison.samples import samples

METHODS = ("federated", "pooled", "meta, fixed effect", "meta, random effects")


class Performance(BaseModel):
    """How one method estimates one effect."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    method: str
    term: str
    truth: float
    seeds: int  # in which there was an estimate
    mean: float
    bias: float
    bias_error: float  # of the simulation
    sd: float  # of the estimates
    mean_std_error: float
    coverage: float  # share of 95 % intervals that have the truth
    power: float  # share of 95 % intervals without 0; where the truth is 0, of false alarms


class Comparison(Result):
    """Methods side by side."""

    outcome: str
    heterogeneity: str
    seeds: int
    performances: tuple[Performance, ...]
    apart: float  # largest difference between a federated and the pooled estimate
    refused: dict[str, int]  # why there was no federated result -> in how many repetitions
    cohorts_left_out: float  # mean number of cohorts per repetition whose own fit failed

    def tables(self) -> list[Table]:
        """Performance by term and method, then what was kept back."""
        columns = ("term", "truth", "method", "seeds", "bias", "± ", "SD", "mean SE", "coverage", "power")
        rows = tuple(
            (p.term, p.truth, p.method, p.seeds, p.bias, p.bias_error, p.sd, p.mean_std_error, p.coverage, p.power)
            for p in self.performances
        )
        return [Table("Bias, coverage of 95 % intervals, power", columns, rows), self._outcomes()]

    def _outcomes(self) -> Table:
        rows: list[tuple[Cell, ...]] = [
            ("largest difference, federated from pooled", f"{self.apart:.1e}"),
            ("cohorts that a meta-analysis lost, per repetition", f"{self.cohorts_left_out:.2f}"),
            ("repetitions without a federated result", f"{sum(self.refused.values())} of {self.seeds}"),
        ]
        rows += [(f"… {why}", str(count)) for why, count in self.refused.items()]
        return Table("What was kept back", ("", "how much"), tuple(rows))


def compare(plan: Plan, tell: Callable[[int], None] = lambda _done: None) -> Comparison:
    """Run every repetition; `tell` hears how many are done."""
    fits: dict[str, list[Fit]] = {method: [] for method in METHODS}
    refused: Counter[str] = Counter()
    apart, rows, people = 0.0, 0, 0
    for done, sample in enumerate(samples(plan), start=1):
        people += sum(len(s.y) for s in sample.values())
        rows += sum(s.table.num_rows for s in sample.values())
        everyone = pooled(plan, sample)
        fits["pooled"].append(everyone)
        for method, fit in zip(METHODS[2:], meta_analyses(plan, sample), strict=True):
            fits[method].append(fit)
        try:
            ours = federated(plan, sample)
        except CohortiumError as error:
            refused[f"{type(error).__name__}{f' ({rule})' if (rule := getattr(error, 'rule', None)) else ''}"] += 1
        else:
            fits["federated"].append(ours)
            apart = max(apart, float(np.max(np.abs(ours.estimates - everyone.estimates))))
        tell(done)
    return Comparison(
        analysis="Federated, pooled and meta-analysed",
        n=people,
        n_excluded=rows - people,
        cohorts=plan.holders,
        outcome=f"{plan.truth.formula}, {plan.family}",
        heterogeneity=f"SD {plan.heterogeneity:g} of {plan.differing}" if plan.heterogeneity else "none",
        seeds=plan.seeds,
        performances=tuple(_performances(plan, fits)),
        apart=apart,
        refused=dict(refused),
        cohorts_left_out=float(np.mean([fit.left_out for fit in fits["meta, fixed effect"]])),
    )


def _performances(plan: Plan, fits: dict[str, list[Fit]]) -> list[Performance]:
    terms = plan.truth.coefficients.items()
    return [_performance(m, fits[m], i, term, true) for i, (term, true) in enumerate(terms) for m in METHODS]


def _performance(method: str, fits: list[Fit], i: int, term: str, true: float) -> Performance:
    kept = [fit for fit in fits if np.isfinite(fit.estimates[i])]
    estimates, errors = np.array([f.estimates[i] for f in kept]), np.array([f.errors[i] for f in kept])
    half = errors * np.array([f.quantile for f in kept])
    enough = len(kept) > 1
    sd = float(np.std(estimates, ddof=1)) if enough else np.nan
    mean = float(np.mean(estimates)) if enough else np.nan
    return Performance(
        method=method,
        term=term,
        truth=true,
        seeds=len(kept),
        mean=mean,
        bias=mean - true,
        bias_error=sd / np.sqrt(max(len(kept), 1)),
        sd=sd,
        mean_std_error=float(np.mean(errors)) if enough else np.nan,
        coverage=float(np.mean(np.abs(estimates - true) <= half)) if enough else np.nan,
        power=float(np.mean(np.abs(estimates) > half)) if enough else np.nan,
    )
