"""The model of how cost grows finds the costs that made the figures; a small network can be measured."""

import numpy as np
import pytest

from benchmarks import growth, growth_report
from benchmarks.growth_report import Explained, Measured, explain


def made_up(**changes):
    values = {"analysis": "glm", "people": 10**5, "covariates": 10, "nodes": 10, "mapped": False, "rounds": 7}
    return Measured(**{**values, **changes}, seconds=1.0, processor=1.0, bytes=1000, megabytes=10.0)


def test_the_model_finds_the_costs():
    costs = Explained("glm", 1e-3, 2e-9, 5e-10, 0.0)
    sizes = (
        [{"people": 10**k} for k in (4, 5, 6)] + [{"covariates": p} for p in (5, 50)] + [{"nodes": n} for n in (3, 200)]
    )
    measured = [made_up(**size) for size in sizes]
    measured = [Measured(**{**m.__dict__, "processor": costs.seconds(m)}) for m in measured]
    found = explain("glm", measured)
    np.testing.assert_allclose([found.per_answer, found.per_value, found.per_product], [1e-3, 2e-9, 5e-10], rtol=1e-6)
    assert found.error < 1e-9


def test_the_page_is_rewritten_between_its_marks(tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{growth_report.START}\nold\n{growth_report.END}\nafter\n")
    monkeypatch.setattr(growth_report, "PAGE", page)
    monkeypatch.setattr(growth_report, "CHART", tmp_path / "growth.svg")
    growth_report.write([made_up(people=n) for n in (10**4, 10**5)], "Measured.")
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| glm | 10,000 |" in text
    assert "<svg" in (tmp_path / "growth.svg").read_text()


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("analysis", growth.ANALYSES)
def test_a_small_network_is_measured(analysis, mapped, tmp_path):
    size = growth.Size(analysis, people=3000, covariates=3, nodes=3, mapped=mapped)
    measured = growth.measure_one(size, tmp_path)
    assert measured.rounds > 1
    assert measured.bytes > 1000
    assert measured.seconds > 0


def test_bytes_do_not_depend_on_people(tmp_path):
    few, many = (growth.measure_one(growth.Size("describe", n, 3, 3), tmp_path).bytes for n in (1000, 5000))
    assert abs(few - many) < 200
