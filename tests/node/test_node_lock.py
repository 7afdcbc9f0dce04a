"""DuckDB reads the cohort's files and reaches nothing else, whatever files and columns are called."""

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from cohortium.dictionary import Dictionary
from node.sources import Source, locked, read

SENTINEL = "S3NTINEL"
ONE = Dictionary.model_validate({"name": "test", "version": "1", "variables": {"age": {"type": "integer"}}})


def source(path, **fields):
    return Source(str(path), **({"columns": {}} | fields))


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


class TestLock:
    @pytest.fixture
    def files(self, tmp_path):
        written(tmp_path / "open.csv", "age\n1\n")
        written(tmp_path / "secret.csv", f"{SENTINEL}\n1\n")
        return tmp_path

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM read_csv('{folder}/secret.csv')",
            "SELECT * FROM read_csv('{folder}/*.csv')",
            "SELECT * FROM read_csv('{folder}/open.csv/../secret.csv')",
            "SELECT * FROM '{folder}/secret.csv'",
            "SELECT * FROM read_text('{folder}/secret.csv')",
            "SELECT * FROM glob('{folder}/*')",
            "SELECT * FROM read_csv('https://127.0.0.1:9/x.csv')",
            "ATTACH '{folder}/new.db'",
            "COPY (SELECT 1) TO '{folder}/new.csv'",
            "EXPORT DATABASE '{folder}/new'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "CREATE PERSISTENT SECRET s (TYPE s3)",
            "SET enable_external_access = true",
            "SET allowed_paths = ['{folder}/secret.csv']",
            "SET autoload_known_extensions = true",
            "SET lock_configuration = false",
            "PRAGMA enable_external_access",
            "SET temp_directory = '{folder}'",
        ],
    )
    def test_nothing_else_is_within_reach(self, files, statement):
        before = sorted(files.iterdir())
        with locked([files / "open.csv"]) as connection, pytest.raises(duckdb.Error):
            connection.execute(statement.format(folder=files)).fetchall()
        assert sorted(files.iterdir()) == before

    def test_the_files_themselves_are(self, files):
        with locked([files / "open.csv"]) as connection:
            assert connection.execute("SELECT * FROM read_csv(?)", [str(files / "open.csv")]).fetchall() == [(1,)]

    def test_variables_of_the_program_are_not_tables(self, files):
        secret = pa.table({"x": [1]})
        with locked([files / "open.csv"]) as connection, pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM secret").fetchall()
        assert secret.num_rows == 1

    @pytest.mark.parametrize(
        "name",
        [
            "x'); SELECT 1 FROM read_text('/etc/passwd'); --.csv",
            "x']; SET enable_external_access = true; --.csv",
            'x"; DROP TABLE x; --.csv',
            "x\\'.csv",
            "x\n.csv",
            "$1.csv",
        ],
    )
    def test_file_names_are_no_sql(self, tmp_path, name):
        name = name.replace("/", "_")
        assert read(source(written(tmp_path / name, "age\n7\n")), ONE).data["age"].tolist() == [7]

    @pytest.mark.parametrize(
        "column",
        [
            "age\" FROM read_text('/etc/passwd') --",
            "age'; DROP TABLE x; --",
            "#1",
            "a b",
            "1",
            "*",
            "a;b;c",
            "count(*)",
        ],
    )
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_column_names_are_no_sql(self, tmp_path, column, kind):
        frame = pl.DataFrame({"other": [1], column: [7]})
        path = tmp_path / f"x.{kind}"
        frame.write_csv(path) if kind == "csv" else frame.write_parquet(path)
        assert read(source(path, columns={"age": column}), ONE).data["age"].tolist() == [7]

    def test_only_columns_of_the_dictionary_are_read(self, tmp_path):
        """A column that cannot be decoded does no harm as long as nobody asks for it."""
        loaded = read(source(written(tmp_path / "x.csv", f"age,{SENTINEL}\n1,2\n")), ONE)
        assert list(loaded.data.columns) == ["age"]
        assert loaded.ignored == (SENTINEL,)
