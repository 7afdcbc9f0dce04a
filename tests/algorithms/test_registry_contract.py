"""What every registered analysis must keep, so that nodes, coordinator, command line and docs can derive from it.

A new analysis takes part by itself: its test file names questions about `datasets.volunteers` in `EXAMPLES`.
"""

import re
from html import unescape
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from datasets import split, volunteers
from jsonschema import Draft202012Validator
from pydantic import BaseModel

import algorithms
from cohortium.analysis import conduct, find, registry
from cohortium.data import Data
from cohortium.evidence import Shares
from cohortium.quantities import Array, Count, Counts, Kind, SumOver, Sums
from cohortium.secure_sum import add_up, decode, encode
from node.disclosure import Policy, check
from simulation import network

# Names of broadcast values that decide how much each person weighs.
WEIGHING = {"coefficients", "slopes", "intercepts", "theta", "alpha", "shape", "ranks", "hazard", "clock", "inverse"}

ANALYSES = sorted(registry())
STATISTICS = [(name, statistic) for name in ANALYSES for statistic in find(name).statistics]
EXAMPLES = [(name, example) for name in ANALYSES for example in import_module(f"test_{name}").EXAMPLES]


def test_every_file_is_one_analysis_of_its_name():
    files = [p.stem for p in Path(algorithms.__file__).parent.glob("*.py") if p.stem != "__init__"]
    assert sorted(files) == [name for name in ANALYSES if find(name).module.__name__.startswith("algorithms.")]


@pytest.mark.parametrize("name", ANALYSES)
class TestEveryAnalysis:
    def test_has_a_docstring_with_title_model_and_source(self, name):
        title, *rest = find(name).doc.splitlines()
        assert title.endswith(".")
        assert len(title) < 100
        assert "Source:" in "\n".join(rest)

    def test_has_a_test_file_with_examples(self, name):
        assert (Path(__file__).parent / f"test_{name}.py").exists()
        assert import_module(f"test_{name}").EXAMPLES

    @pytest.mark.parametrize("part", ["params", "result"])
    def test_schema_renders_and_every_field_is_described(self, name, part):
        schema = getattr(find(name).view(), part)
        Draft202012Validator.check_schema(schema)
        for record in [schema, *schema.get("$defs", {}).values()]:
            if record.get("title") in {"Estimate", "Point"}:  # the names say it
                continue
            bare = [field for field, about in record.get("properties", {}).items() if not about.get("description")]
            assert not bare, f"{record['title']}: {bare}"

    def test_result_can_be_shown(self, name):
        assert issubclass(find(name).result, BaseModel)
        assert "tables" in vars(find(name).result) or "tables" in dir(find(name).result)

    def test_asks_at_least_one_statistic(self, name):
        assert find(name).statistics


@pytest.mark.parametrize(("name", "statistic"), STATISTICS)
def test_every_released_field_declares_its_kind(name, statistic):
    record = find(name).sums(statistic)
    assert record.kinds
    assert all(isinstance(kind, Kind) for kind in record.kinds.values())


def test_a_record_without_kinds_cannot_be_written():
    with pytest.raises(TypeError, match="must declare exactly one kind"):

        class Bare(Sums):
            n: Count
            total: float

    with pytest.raises(TypeError, match="which is not a Count"):

        class Astray(Sums):
            n: Counts
            total: Annotated[Array, SumOver("people")]


def _conduct(name, example, cohorts, seen=None, names="012"):
    """Run an analysis over Data objects by these names; `seen` collects the answers of every cohort."""
    params = find(name).params.bind(example, cohorts[0].dictionary)

    def ask_all_nodes(question):
        statistic = find(name).statistic(question.statistic)
        values = {k: float(v) if v.ndim == 0 else v for k, v in question.broadcast.items()}
        records = [statistic(data, params, **values) for data in cohorts]
        answers = {k: encode(check(one, Policy.none())) for k, one in zip(names, records, strict=False)}
        if seen is not None:
            seen.append((question, answers, records))
        record = find(name).sums(question.statistic)
        return (
            {k: decode(record, a) for k, a in sorted(answers.items())}
            if question.per_cohort
            else add_up(record, answers)
        )

    return conduct(find(name), params, ask_all_nodes, tuple(sorted(names[: len(cohorts)])))


@pytest.fixture(scope="module")
def cohorts():
    """Three cohorts, the last of which has nobody."""
    frames = split(volunteers(), "blk3")
    frames["c2"] = frames["c2"].iloc[:0]
    nodes = network(frames).service.nodes
    return [node.data for node in nodes.values()]


@pytest.mark.parametrize("name", ANALYSES)
def test_has_a_plot(name, cohorts):
    charts = (_conduct(name, example, cohorts).chart() for of, example in EXAMPLES if of == name)
    assert any(chart is not None for chart in charts), f"give {find(name).result.__name__} a `chart()`"


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
class TestEveryExample:
    def test_an_empty_cohort_answers_in_the_same_shapes_with_nothing(self, name, example, cohorts):
        seen = []
        _conduct(name, example, cohorts, seen)
        for question, answers, _ in seen:
            shapes = {k: {f: a.shape for f, a in arrays.items()} for k, arrays in answers.items()}
            assert shapes["0"] == shapes["1"] == shapes["2"], question.statistic
            counts = {k: v for k, v in answers["2"].items() if k in ("n", "rows")}
            assert all(not np.any(v) for v in counts.values())

    def test_sums_that_a_broadcast_value_weighs_show_how_concentrated_they_are(self, name, example, cohorts):
        """Whoever chooses coefficients chooses whom a sum is about: no statistic can forget to show its weights."""
        seen = []
        _conduct(name, example, cohorts, seen)
        for question, _, records in seen:
            sums = [field for field, kind in records[0].kinds.items() if isinstance(kind, SumOver)]
            if sums and WEIGHING & set(question.broadcast):
                found = records[0].evidence
                assert isinstance(found.weights, Shares), question.statistic
                assert found.weights.largest.size or found.magnitudes.largest.size, question.statistic

    def test_is_the_same_twice_and_in_any_order(self, name, example, cohorts):
        first = _conduct(name, example, cohorts).model_dump_json()
        assert first == _conduct(name, example, cohorts).model_dump_json()
        assert first == _conduct(name, example, cohorts[::-1], names="210").model_dump_json()

    def test_result_survives_the_wire_and_shows_itself(self, name, example, cohorts):
        result = _conduct(name, example, cohorts)
        again = type(result).model_validate_json(result.model_dump_json())
        assert again.model_dump_json() == result.model_dump_json()
        assert again.summary() == result.summary()
        assert again.tables()[0].rows is not None
        chart = again.chart()
        assert chart is None or chart.to_dict()

    def test_says_how_exact_it_is(self, name, example, cohorts):
        stated = _conduct(name, example, cohorts).exactness
        result = find(name).result.__name__
        assert stated is not None, f"give {result} a `statement()`: exactly(...) or approximately(...)"
        assert stated.encoding_error == 3 * 2.0**-73
        assert stated.rows is not None
        assert stated.exact or "because" in stated.basis or "," in stated.basis, f"{result}: say why it is approximate"

    def test_says_what_was_done_with_a_reference(self, name, example, cohorts):
        result = _conduct(name, example, cohorts)
        lacks = f"give {type(result).__name__} an `in_words()`: what was fitted, estimator, cohort effect, std. errors"
        assert len(result.in_words()) > 40, lacks
        assert result.in_words() in result.methods()
        text, _, sources = result.methods().partition("References: ")
        assert re.search(r"\(\d{4}", sources), "the docstring of the analysis ends in `Source: Author (year), where.`"
        assert "None" not in text
        assert "nan" not in text.split()

    def test_shows_itself_in_a_notebook_and_as_a_frame(self, name, example, cohorts):
        result = _conduct(name, example, cohorts)
        shown, summary = unescape(result._repr_html_()), " ".join(result.summary().split())
        assert "<table" in shown
        assert all(words in shown and words in summary for _, words in result.exactness.facts())
        assert len(result.to_frame("pandas").columns) > 0

    def test_a_node_answers_from_data_alone(self, name, example, cohorts):
        data = cohorts[0]
        copy = Data(data.dictionary, {k: v.copy() for k, v in data.columns.items()}, len(data))
        _conduct(name, example, [copy])
        assert all(np.array_equal(copy.columns[k], v, equal_nan=v.dtype.kind == "f") for k, v in data.columns.items())
