"""`cohortium demo`: three cohort holders answer questions about real patients, and the pooled fit stands beside."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from cohortium.client import Network
from simulation.demo.patients import Patients, breast_cancer, diabetes
from simulation.processes import LocalNetwork

POLICY = Path(__file__).parent / "open-demo.toml"

app = typer.Typer(help="Start three cohorts on this machine and ask them about real patients.")
console = Console(highlight=False, soft_wrap=True)

# What is compared: name, federated number, pooled number.
Comparison = list[tuple[str, float, float]]


@app.callback(invoke_without_command=True)
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running and say how to connect.")] = False,
    folder: Annotated[Path, typer.Option(help="Where keys, data and logs go; emptied first.")] = Path("demo-run"),
) -> None:
    """Run the demonstration; stops everything it started unless told to keep it."""
    signal.signal(signal.SIGTERM, _stop)
    shutil.rmtree(folder, ignore_errors=True)
    worst = max(_show(diabetes(), ask_diabetes, folder, keep), _show(breast_cancer(), ask_breast_cancer, folder, keep))
    console.print(f"\n[bold]Largest difference from any pooled fit: {worst:.1e}[/bold] (relative)")
    if worst > 1e-8:
        raise typer.Exit(1)


def _show(patients: Patients, ask: Any, folder: Path, keep: bool) -> float:
    console.rule(f"[bold]{patients.title}[/bold]")
    sizes = ", ".join(f"{name} {len(frame)}" for name, frame in patients.cohorts.items())
    console.print(f"Split over three holders: {sizes}. No record leaves its holder.")
    run = folder / patients.name
    local = LocalNetwork(run, patients.dictionary, patients.write(run / "data"), POLICY, studies=["demo"])
    started = time.perf_counter()
    with local:
        took = time.perf_counter() - started
        console.print(f"One coordinator and three nodes, four processes, over TLS: ready in {took:.1f} s.\n")
        worst: float = ask(local.connect(), patients)
        if keep:
            _explain(local)
    return worst


def ask_diabetes(network: Network, patients: Patients) -> float:
    """Describe, and a gaussian and a binomial model; the largest relative difference from the pooled ones."""
    pooled = patients.pooled
    study = network.study("demo")
    described = _ask(study, "describe", variables=["age", "sex", "bmi", "bp", "s5", "progression"])
    numbers = pooled[["age", "bmi", "bp", "s5", "progression"]]
    comparison = [(f"mean {n}", described.variables[n].mean, numbers[n].mean()) for n in numbers]
    comparison += [(f"SD {n}", described.variables[n].sd, numbers[n].std()) for n in numbers]
    worst = _compare(comparison, "pandas")
    for formula, family in (
        ("progression ~ age + sex + bmi + bp + s5", "gaussian"),
        ("progressed ~ age + sex + bmi + bp", "binomial"),
    ):
        fitted = _ask(study, "glm", formula=formula, family=family, cohort_effect="common")
        worst = max(worst, _compare(_beside_statsmodels(fitted, pooled, family), "statsmodels"))
    return worst


def ask_breast_cancer(network: Network, patients: Patients) -> float:
    """Survival by hormone therapy; the largest relative difference from lifelines on everyone together."""
    from lifelines import KaplanMeierFitter  # noqa: PLC0415 - a demo dependency

    pooled = patients.pooled
    curves = _ask(network.study("demo"), "kaplan_meier", formula="Surv(time, event) ~ hormone_therapy")
    comparison: Comparison = []
    for level in ("no", "yes"):
        group = pooled[pooled["hormone_therapy"] == level]
        alone = KaplanMeierFitter().fit(group["time"], group["event"])
        curve = curves[f"hormone_therapy[{level}]"]
        expected = alone.survival_function_at_times(curve.time).to_numpy()
        gap = int(np.argmax(np.abs(np.asarray(curve.survival) - expected)))
        comparison.append((f"S({curve.time[gap]:g}), {level}: worst point", curve.survival[gap], expected[gap]))
        for day in (365, 1095, 1826):
            at = float(alone.survival_function_at_times(day).iloc[0])
            comparison.append((f"S({day}), {level}", curve.at(day).survival, at))
    return _compare(comparison, "lifelines")


def _beside_statsmodels(fitted: Any, pooled: Any, family: str) -> Comparison:
    import statsmodels.api as sm  # noqa: PLC0415 - a demo dependency

    terms = [name for name in fitted.coefficients if name != "(Intercept)"]
    design = np.column_stack([np.ones(len(pooled)), *(_column(pooled, name) for name in terms)])
    outcome = pooled[fitted.formula.split("~")[0].strip()].astype(float)
    families = {"gaussian": sm.families.Gaussian(), "binomial": sm.families.Binomial()}
    pooled_fit = sm.GLM(outcome.to_numpy(), design, family=families[family]).fit(tol=1e-14, maxiter=100)
    rows = zip(["(Intercept)", *terms], pooled_fit.params, pooled_fit.bse, strict=True)
    comparison: Comparison = []
    for name, estimate, error in rows:
        comparison.append((name, fitted.coefficients[name].estimate, float(estimate)))
        comparison.append((f"SE {name}", fitted.coefficients[name].std_error, float(error)))
    return comparison


def _column(pooled: Any, term: str) -> Any:
    variable, _, level = term.rstrip("]").partition("[")
    return (pooled[variable].astype(str) == level).astype(float) if level else pooled[variable].astype(float)


def _ask(study: Any, analysis: str, **params: Any) -> Any:
    arguments = ", ".join(f"{name}={value!r}" for name, value in params.items())
    console.print(f"[bold cyan]>>> study.{analysis}({arguments}).result()[/bold cyan]", markup=True)
    started = time.perf_counter()
    result = study.run(analysis, **params).result(progress=False)
    took = time.perf_counter() - started
    console.print(result.summary(), markup=False)
    rounds = "1 round" if result.rounds == 1 else f"{result.rounds} rounds"
    per_round = 1000 * took / result.rounds
    console.print(f"[dim]{rounds} in {took:.2f} s, {per_round:.0f} ms a round, from submit to result[/dim]")
    return result


def _compare(comparison: Comparison, package: str) -> float:
    table = Table("", "federated", f"pooled ({package})", "difference", box=None, pad_edge=False)
    worst = 0.0
    for name, federated, pooled in comparison:
        table.add_row(name, f"{federated:.10g}", f"{pooled:.10g}", f"{abs(federated - pooled):.1e}")
        worst = max(worst, abs(federated - pooled) / max(abs(pooled), 1e-300))
    console.print(table)
    console.print(f"[green]largest relative difference from {package} on the pooled data: {worst:.1e}[/green]\n")
    return worst


def _explain(local: LocalNetwork) -> None:
    token = local.folder / "token"
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(local.token)
    console.print("[bold]Left running.[/bold] From Python:\n", markup=True)
    lines = [
        f'"{local.url}", token=open("{token}").read(), ca="{local.ca}",',
        f'key="{local.key}", authority="{local.ceremony.authority_key}",',
    ]
    connect = "\n".join(["cohortium.connect(", *(f"        {line}" for line in lines), "    )"])
    console.print(f'    import cohortium\n    net = {connect}\n    study = net.study("demo")\n', markup=False)
    console.print(f"Logs are in {local.folder}. Stop it with:  kill {' '.join(map(str, local.detach()))}\n")


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
