"""A cohort's columns together: every contradiction at once, parts of different types, and what is left out."""

from decimal import Decimal

import pyarrow as pa
import pytest

from cohortium.dictionary import Dictionary
from cohortium.errors import UnknownName
from node.data import InvalidData, Part, Violation, load


def dictionary(**variables):
    return Dictionary.model_validate({"name": "test", "version": "1", "variables": variables})


class TestLoad:
    KNOWN = dictionary(
        age={"type": "integer", "minimum": 0, "maximum": 120, "unit": "a"},
        sex={"type": "category", "categories": [{"value": "f"}, {"value": "m"}]},
        income={"type": "number"},
    )

    def test_every_contradiction_at_once(self):
        table = pa.table({"age": [130, 140, -1], "sex": ["x", "f", "y"], "other": [1, 2, 3]})
        with pytest.raises(InvalidData) as caught:
            load(table, self.KNOWN)
        assert caught.value.message.splitlines()[1:] == [
            "  income: no such column, or two of them, in the data; "
            "list it under `absent` if this cohort did not collect it",
            "  age: 1 row below the minimum 0 (unit a)",
            "  age: 2 rows above the maximum 120 (unit a)",
            "  sex: 2 rows with a category that the dictionary does not declare",
        ]
        assert Violation("age", "above the maximum 120 (unit a)", 2) in caught.value.violations

    def test_absent_and_unknown_columns_are_left_out(self):
        data = load(pa.table({"age": [30], "sex": ["m"], "other": [1]}), self.KNOWN, absent=["income"])
        assert list(data.columns) == ["age", "sex"]
        assert len(data) == 1

    def test_an_absent_variable_has_to_exist(self):
        with pytest.raises(UnknownName, match="Did you mean `income`"):
            load(pa.table({"age": [30], "sex": ["m"]}), self.KNOWN, absent=["incom"])

    def test_a_column_that_is_there_twice(self):
        table = pa.table([pa.array([1]), pa.array([2]), pa.array(["f"])], names=["age", "age", "sex"])
        with pytest.raises(InvalidData, match="age: no such column, or two of them"):
            load(table, self.KNOWN, absent=["income"])

    def test_no_rows_are_data_too(self):
        empty = pa.table({"age": pa.array([], pa.int64()), "sex": pa.array([], pa.string())})
        for source in (empty, [Part(["age", "sex"], [])]):
            data = load(source, self.KNOWN, absent=["income"])
            assert len(data) == 0
            assert data["age"].shape == data.codes("sex").shape == (0,)

    def test_every_part_has_its_own_types(self):
        parts = [
            Part(["age", "sex"], [pa.record_batch({"age": [1, 2], "sex": ["f", "m"]})]),
            Part(["sex", "age"], [pa.record_batch({"sex": pa.array(["m"]).dictionary_encode(), "age": ["3"]})]),
        ]
        data = load(parts, self.KNOWN, absent=["income"])
        assert data["age"].tolist() == [1, 2, 3]
        assert data.codes("sex").tolist() == [0, 1, 1]

    def test_a_column_that_some_parts_lack(self):
        parts = [
            Part(["age"], [pa.record_batch({"age": [1]})]),
            Part(["age", "sex"], [pa.record_batch({"age": [1], "sex": ["f"]})]),
        ]
        with pytest.raises(InvalidData, match="sex: no such column, or two of them, in 1 of 2 files"):
            load(parts, self.KNOWN, absent=["income"])

    def test_decimals_of_a_database(self):
        table = pa.table({"bmi": pa.array([Decimal("24.30"), Decimal("-9.00"), None], pa.decimal128(5, 2))})
        data = load(table, dictionary(bmi={"type": "number", "precision": 0.1, "missing": [-9]}))
        assert data.missing("bmi").tolist() == [False, True, True]
        assert data["bmi"][0] == 24.3
