"""Files through the locked DuckDB: the same data from CSV and Parquet, nothing else within reach, flat memory."""

import gzip
import subprocess
import sys
import textwrap

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortium.dictionary import Dictionary
from cohortium.errors import UnknownName
from node.data import InvalidData
from node.sources import InvalidSource, Source, read

SENTINEL = "S3NTINEL"
KNOWN = Dictionary.model_validate(
    {
        "name": "test",
        "version": "1",
        "variables": {
            "who": {"type": "identifier"},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "bmi": {"type": "number", "precision": 0.1, "missing": [-9]},
            "ward": {"type": "category", "categories": [{"value": "007"}, {"value": "7"}]},
            "smoker": {"type": "boolean"},
            "seen": {"type": "date"},
        },
    }
)
NAMES = list(KNOWN.variables)
ONE = KNOWN.model_copy(update={"variables": {"age": KNOWN["age"]}})
TWO = KNOWN.model_copy(update={"variables": {"age": KNOWN["age"], "bmi": KNOWN["bmi"]}})

people = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.none() | st.integers(0, 99).map("{:03}".format),
            "age": st.none() | st.integers(0, 120),
            "bmi": st.none() | st.integers(100, 800).map(lambda tenths: tenths / 10),
            "ward": st.none() | st.sampled_from(["007", "7"]),
            "smoker": st.none() | st.booleans(),
            "seen": st.none() | st.dates(),
        }
    ),
    min_size=1,
)
SCHEMA = {
    "who": pl.String,
    "age": pl.Int64,
    "bmi": pl.Float64,
    "ward": pl.String,
    "smoker": pl.Boolean,
    "seen": pl.Date,
}


def source(path, **fields):
    return Source(str(path), **({"columns": {}} | fields))


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def same(one, other):
    assert len(one) == len(other)
    for name in NAMES:
        np.testing.assert_array_equal(one.columns[name], other.columns[name])


@given(people)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_csv_and_parquet_give_the_same_data(tmp_path, rows):
    frame = pl.DataFrame(rows, schema=SCHEMA)
    frame.write_parquet(tmp_path / "people.parquet")
    frame.write_csv(tmp_path / "people.csv")
    frame.write_csv(tmp_path / "people.tsv", separator="\t", line_terminator="\r\n", null_value="NA")
    frame.write_csv(tmp_path / "quoted.csv", separator=";", quote_style="always", include_bom=True)
    (tmp_path / "people.csv.gz").write_bytes(gzip.compress((tmp_path / "people.csv").read_bytes()))
    expected = read(source(tmp_path / "people.parquet"), KNOWN).data
    assert len(expected) == len(rows)
    for name in ("people.csv", "people.tsv", "quoted.csv", "people.csv.gz"):
        same(read(source(tmp_path / name), KNOWN).data, expected)


def test_a_late_surprise_changes_no_earlier_value(tmp_path):
    """Sniffed types would see 50 000 whole numbers: 007 would become 7, and 2.5 would be an error or become 2 or 3."""
    lines = ["who,age,bmi,ward,smoker,seen", *["1,30,20,007,1,2020-01-01"] * 50_000, "A7,30,20.5,7,0,2020-01-01"]
    data = read(source(written(tmp_path / "late.csv", "\n".join(lines))), KNOWN).data
    assert data["bmi"][-1] == 20.5
    assert data.codes("ward")[[0, -1]].tolist() == [0, 1]
    assert data.codes("who")[0] != data.codes("who")[-1]


def test_types_may_differ_between_files(tmp_path):
    pq.write_table(pa.table({"age": [1, 2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"age": [2.5, 3.0]}), tmp_path / "2.parquet")
    with pytest.raises(InvalidData, match="age: 1 row not a whole number"):
        read(source(tmp_path / "*.parquet"), ONE)


def test_files_come_in_the_order_of_their_names(tmp_path):
    for name, age in (("b", 2), ("c", 3), ("a", 1)):
        written(tmp_path / f"{name}.csv", f"age\n{age}\n")
    loaded = read(source(tmp_path / "*.csv"), ONE)
    assert loaded.data["age"].tolist() == [1, 2, 3]
    assert loaded.files == 3


def test_columns_by_another_name_in_any_order(tmp_path):
    written(tmp_path / "1.csv", "leeftijd,x,bmi\n30,1,20.5\n")
    written(tmp_path / "2.csv", "bmi,leeftijd\n21.5,31\n")
    loaded = read(source(tmp_path / "*.csv", columns={"age": "leeftijd"}), TWO)
    assert loaded.data["age"].tolist() == [30, 31]
    assert loaded.data["bmi"].tolist() == [20.5, 21.5]
    assert loaded.ignored == ("x",)


def test_a_decimal_comma(tmp_path):
    path = written(tmp_path / "nl.csv", 'age;bmi\n30;20,5\n31;"21,0"\n')
    assert read(source(path, decimal=","), TWO).data["bmi"].tolist() == [20.5, 21.0]
    with pytest.raises(InvalidData, match="bmi: 2 rows not a number"):
        read(source(path), TWO)


def test_nested_columns_do_not_disturb_the_order(tmp_path):
    table = pa.table({"extra": [{"age": 99, "list": [{"bmi": 1}]}], "bmi": [20.5], "more": [[1, 2]], "age": [30]})
    pq.write_table(table, tmp_path / "nested.parquet")
    loaded = read(source(tmp_path / "nested.parquet"), TWO)
    assert (loaded.data["age"].item(), loaded.data["bmi"].item()) == (30, 20.5)
    assert loaded.ignored == ("extra", "more")


def test_an_empty_cohort(tmp_path):
    written(tmp_path / "none.csv", "age\n")
    pq.write_table(pa.table({"age": pa.array([], pa.int64())}), tmp_path / "none.parquet")
    for name in ("none.csv", "none.parquet"):
        assert len(read(source(tmp_path / name), ONE).data) == 0


def test_a_million_rows(tmp_path):
    ages = np.arange(1_000_000) % 121
    pl.DataFrame({"age": ages, "bmi": ages / 10}).write_csv(tmp_path / "million.csv")
    data = read(source(tmp_path / "million.csv"), TWO).data
    np.testing.assert_array_equal(data["age"], ages)
    np.testing.assert_array_equal(data["bmi"], ages / 10)


class TestErrors:
    @pytest.mark.parametrize("name", ["nothing.csv", "*.parquet", "https://example.org/x.csv"])
    def test_no_file(self, tmp_path, name):
        with pytest.raises(InvalidSource, match="there is no file"):
            read(source(tmp_path / name), ONE)

    def test_another_kind_of_file(self, tmp_path):
        with pytest.raises(InvalidSource, match=r"neither \.csv"):
            read(source(written(tmp_path / "people.xlsx", "age")), ONE)

    def test_a_name_that_would_be_a_pattern(self, tmp_path):
        written(tmp_path / "a[1].csv", "age\n1\n")
        with pytest.raises(InvalidSource, match="would be read as a pattern"):
            read(source(tmp_path / "*.csv"), ONE)

    def test_all_columns_are_judged_before_the_error(self, tmp_path):
        with pytest.raises(InvalidData) as caught:
            read(source(written(tmp_path / "x.csv", "age\n200\n")), KNOWN, absent=["who", "ward", "seen"])
        assert [v.variable for v in caught.value.violations] == ["bmi", "smoker", "age"]

    def test_a_column_in_some_files_only(self, tmp_path):
        written(tmp_path / "1.csv", "age,bmi\n1,20\n")
        written(tmp_path / "2.csv", "age\n1\n")
        with pytest.raises(InvalidData, match="bmi: no such column, or two of them, in 1 of 2 files"):
            read(source(tmp_path / "*.csv"), TWO)

    @pytest.mark.parametrize("text", ["age,age\n1,2\n", "age,bmi,age\n1,2,3\n"])
    def test_a_column_twice(self, tmp_path, text):
        with pytest.raises(InvalidData, match="age: no such column, or two of them"):
            read(source(written(tmp_path / "x.csv", text)), ONE)

    def test_a_column_twice_in_parquet(self, tmp_path):
        pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["age", "age"]), tmp_path / "x.parquet")
        with pytest.raises(InvalidData, match="age: no such column, or two of them"):
            read(source(tmp_path / "x.parquet"), ONE)

    def test_names_differ_by_case(self, tmp_path):
        pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["AGE", "age"]), tmp_path / "x.parquet")
        assert read(source(tmp_path / "x.parquet"), ONE).data["age"].tolist() == [2]

    def test_a_mapping_to_nothing(self, tmp_path):
        path = written(tmp_path / "x.csv", "leeftijd\n1\n")
        with pytest.raises(InvalidSource, match=r"mapped to `leeftyd`, which no file has. Did you mean `leeftijd`"):
            read(source(path, columns={"age": "leeftyd"}), ONE)
        with pytest.raises(UnknownName, match="Did you mean `age`"):
            read(source(path, columns={"agee": "leeftijd"}), ONE)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("ragged.csv", f"age,bmi\n1,2\n3,{SENTINEL},5\n".encode(), "line 3: another number of columns"),
            ("short.csv", f"age,bmi\n1,2\n{SENTINEL}\n".encode(), "line 3: another number of columns"),
            ("open.csv", f'age,bmi\n1,"{SENTINEL}\n2,3\n'.encode(), "cannot be read"),
            ("latin.csv", f"age,bmi\n1,\xe9{SENTINEL}\n".encode("latin-1"), "UTF-8|cannot be read"),
            ("header.csv", "\xe9\n1\n".encode("latin-1"), "not UTF-8"),
            ("empty.csv", b"", "no header"),
            ("not.csv.gz", SENTINEL.encode(), "cannot be read"),
            ("not.parquet", SENTINEL.encode() * 9, "cannot be read"),
            ("empty.parquet", b"", "cannot be read"),
        ],
    )
    def test_unreadable_files_quote_nothing(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidSource, match=message) as caught:
            read(source(tmp_path / name), TWO)
        assert SENTINEL not in str(caught.value)
        assert caught.value.__cause__ is None
        assert name in str(caught.value)

    def test_a_damaged_parquet_file(self, tmp_path):
        path = tmp_path / "cut.parquet"
        pq.write_table(pa.table({"age": np.arange(100_000) % 100}), path)
        content = bytearray(path.read_bytes())
        content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
        path.write_bytes(bytes(content))
        with pytest.raises((InvalidSource, InvalidData)):
            read(source(path), ONE)


PEAK = """
    import resource, sys, time
    from cohortium.dictionary import Dictionary
    from node.sources import Source, read

    known = Dictionary.from_toml(sys.argv[1])
    read(Source(sys.argv[2], {}), known)  # what libraries allocate once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = read(Source(sys.argv[3], {}), known).data
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(len(data), sum(c.nbytes for c in data.columns.values()), (peak - before) * 1024)
"""


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_is_the_coded_columns_and_little_more(tmp_path, kind):
    dictionary = written(
        tmp_path / "dictionary.toml",
        'name = "t"\nversion = "1"\n'
        + "".join(f'[variables.{n}]\ntype = "number"\nminimum = 0\nprecision = 0.1\n' for n in "abc")
        + '[variables.sex]\ntype = "category"\ncategories = [{value = "female"}, {value = "male"}]\n'
        + '[variables.who]\ntype = "identifier"\n',
    )
    rows = (
        "SELECT i AS who, i % 99 / 10 AS a, i % 97 / 10 AS b, i % 95 / 10 AS c, if(i % 2 = 0, 'male', 'female') AS sex"
    )
    for count, name in ((100_000, "small"), (5_000_000, "large")):
        duckdb.sql(f"COPY ({rows} FROM range({count}) t(i)) TO '{tmp_path / f'{name}.{kind}'}'")
    files = [str(tmp_path / f"{name}.{kind}") for name in ("small", "large")]
    command = [sys.executable, "-c", textwrap.dedent(PEAK), str(dictionary), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    count, columns, more = map(int, done.stdout.split())
    assert count == 5_000_000
    assert columns == 5_000_000 * (3 * 8 + 2 * 4)
    assert more <= columns + 200 * 2**20, f"{more / 2**20:.0f} MiB for {columns / 2**20:.0f} MiB of columns"
