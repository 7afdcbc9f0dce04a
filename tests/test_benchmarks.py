"""`make bench` calls `measure()` of every benchmark module; that it can is told here, not after ten minutes."""

import importlib
import inspect
import pkgutil

import benchmarks


def test_every_measure_takes_no_arguments() -> None:
    modules = [importlib.import_module(f"benchmarks.{m.name}") for m in pkgutil.iter_modules(benchmarks.__path__)]
    measures = [measure for module in modules if (measure := getattr(module, "measure", None)) is not None]
    assert len(measures) >= 5
    assert [m.__module__ for m in measures if inspect.signature(m).parameters] == []
