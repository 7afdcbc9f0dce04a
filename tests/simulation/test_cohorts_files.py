"""The files: the same from the same seed, read by a node without a complaint, and written in little memory."""

import hashlib
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion, UnknownName
from node.data import InvalidData, load
from node.sources import Source, read
from simulation import cohorts, network
from simulation.cohorts import tables
from simulation.cohorts.coding import local_dictionary, settings
from simulation.cohorts.making import BLOCK
from simulation.console import app

HOLDERS = [*cohorts.HOLDERS, "netherlands"]
NUMBERED = cohorts.HOLDERS["seniors"]


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_same_seed_same_bytes(tmp_path, form):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        cohorts.write(NUMBERED, 3000, seed, tmp_path / folder, form)
    a, b, c = (hashes(tmp_path / folder) for folder in "abc")
    assert set(a) == {f"people.{form}", f"visits.{form}", "data.toml"}
    assert a == b
    assert all(a[name] != c[name] for name in a if name != "data.toml")


def test_the_people_do_not_depend_on_how_they_are_read():
    people = BLOCK + 1500
    whole = cohorts.people("twins", people, seed=3)
    assert whole.num_rows == people
    for size in (700, BLOCK, people, 10 * people):
        pieces = list(cohorts.batches("twins", people, 3, size))
        assert all(piece.num_rows == size for piece in pieces[:-1])
        assert pa.Table.from_batches(pieces).combine_chunks().equals(whole.combine_chunks())
    assert cohorts.people("twins", BLOCK + 10, 3).equals(whole.slice(0, BLOCK + 10))
    visits, fewer = cohorts.visits("twins", people, 3), cohorts.visits("twins", BLOCK + 10, 3)
    assert fewer.equals(visits.slice(0, fewer.num_rows))
    assert set(fewer["person_id"].to_pylist()) == set(whole["person_id"].to_pylist()[: BLOCK + 10])


def test_holders_and_seeds_differ():
    one, same = cohorts.people("netherlands", 500, 1), cohorts.people("netherlands", 500, 1)
    other_seed = cohorts.people("netherlands", 500, 2)
    other_holder = cohorts.people(replace(cohorts.NETHERLANDS, name="elsewhere"), 500, 1)
    assert one.equals(same)
    assert not one.equals(other_seed)
    assert not one.equals(other_holder)


def test_visits_and_coding_leave_the_people_alone(tmp_path):
    cohorts.write(NUMBERED, 800, 1, tmp_path / "with")
    cohorts.write(NUMBERED, 800, 1, tmp_path / "without", with_visits=False)
    assert hashes(tmp_path / "with")["people.parquet"] == hashes(tmp_path / "without")["people.parquet"]


@pytest.mark.parametrize("name", HOLDERS)
def test_a_node_finds_nothing_wrong(name):
    holder = cohorts.find(name)
    for dictionary, table in (
        (cohorts.PEOPLE, cohorts.people(name, 4000, 8)),
        (cohorts.VISITS, cohorts.visits(name, 4000, 8)),
    ):
        absent = [n for n in holder.absent if n in dictionary]
        data = load(table, dictionary, absent=absent)
        assert len(data) == table.num_rows
        assert set(data.columns) == set(dictionary.variables) - set(absent)


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("name", ["seniors", "nutrition", "heart-and-vessels"])
def test_local_codes_mean_the_same(tmp_path, name, form):
    """A file in the holder's own columns and codes, read with its settings, is the file of the network."""
    holder = cohorts.find(name)
    cohorts.write(holder, 2000, 4, tmp_path, form, coding=holder.coding)
    told = tomllib.loads((tmp_path / "data.toml").read_text())["data"]
    assert told["absent"] == settings(cohorts.PEOPLE, holder, holder.coding)["absent"]
    source = Source(str(tmp_path / told["source"]), told.get("columns", {}), told["missing"])
    own = read(source, local_dictionary(cohorts.PEOPLE, holder.coding), told["absent"])
    assert own.ignored == ()
    expected = load(cohorts.people(name, 2000, 4), cohorts.PEOPLE, absent=told["absent"])
    for variable, column in expected.columns.items():
        np.testing.assert_array_equal(own.data.columns[variable], column, err_msg=variable)


def test_local_codes_contradict_the_dictionary_of_the_network(tmp_path):
    cohorts.write(NUMBERED, 500, 4, tmp_path, coding=NUMBERED.coding)
    told = tomllib.loads((tmp_path / "data.toml").read_text())["data"]
    with pytest.raises(InvalidData, match="with a category that the dictionary does not declare"):
        read(Source(str(tmp_path / told["source"]), {}, told["missing"]), cohorts.PEOPLE, told["absent"])


def test_the_holders_make_half_a_million():
    assert len(cohorts.HOLDERS) == 11
    assert sum(h.size for h in cohorts.HOLDERS.values()) == 500_000
    assert cohorts.sizes(500_000) == {name: h.size for name, h in cohorts.HOLDERS.items()}
    for people in (1, 12_345, *cohorts.SCENARIOS.values()):
        assert sum(cohorts.sizes(people).values()) == people


def test_cohorts_differ_as_they_say():
    tables_ = {name: cohorts.people(name, 6000, 2).to_pandas() for name in cohorts.HOLDERS}
    assert tables_["seniors"]["age"].min() >= 55
    assert tables_["type-2-diabetes"]["diabetes"].all()
    assert not tables_["workers"]["cvd_history"].any()
    assert tables_["multi-ethnic-city"]["origin"].eq("outside_europe").mean() > 0.3
    assert tables_["twins"]["relation"].eq("twin").mean() > 0.3
    assert tables_["nutrition"]["sex"].eq("female").mean() > 0.6
    assert tables_["mothers-and-children"]["age"].lt(18).mean() > 0.2
    rates = {name: t["glucose"].isna().mean() for name, t in tables_.items()}
    assert rates["workers"] > 0.6
    assert 0 < rates["type-2-diabetes"] < 0.1
    for name, holder in cohorts.HOLDERS.items():
        assert set(holder.absent) <= set(cohorts.PEOPLE.variables), name
        assert not set(holder.absent) & set(tables_[name].columns)
        earliest, latest = tables_[name]["visit_date"].min(), tables_[name]["visit_date"].max()
        assert holder.enrolled[0] <= earliest < latest <= holder.enrolled[1]


def test_what_is_derived_agrees_with_what_it_is_derived_from():
    t = cohorts.people("north", 20_000, 6).to_pandas()
    np.testing.assert_allclose(t["bmi"], t["weight"] / (t["height"] / 100) ** 2, atol=0.0501)
    np.testing.assert_allclose(t["ldl"], t["chol_total"] - t["hdl"] - t["triglycerides"] / 2.2, atol=0.0051)
    seen = t.dropna(subset=["sbp", "bp_medication"])
    assert (seen["hypertension"] == ((seen.sbp >= 140) | (seen.dbp >= 90) | (seen.bp_medication == True))).all()  # noqa: E712
    assert (seen["dbp"] <= seen["sbp"] - 15).all()
    assert (t["pack_years"].isna() == t["smoking"].isna()).all()
    assert (t.loc[t["smoking"] == "never", "pack_years"] == 0).all()
    assert (t["cvd_time"].isna() == t["cvd_history"]).all()
    assert (t["t2d_time"].isna() == t["diabetes"]).all()
    for name in ("cvd_time", "t2d_time", "cancer_time"):
        assert not (t[name] > t["followup_time"]).any()
    assert not (t["cvd_event"] & t["cvd_history"]).any()
    assert t["person_id"].is_unique


def test_visits_belong_to_people_who_are_followed():
    people = cohorts.people("seniors", 5000, 6).to_pandas().set_index("person_id")
    visits = cohorts.visits("seniors", 5000, 6).to_pandas()
    assert not visits.duplicated(["person_id", "visit"]).any()
    first = visits[visits["visit"] == 1].set_index("person_id")
    assert list(first.index) == list(people.index)
    for name in ("age", "sbp", "bmi", "weight", "smoking"):
        assert first[name].equals(people[name]), name
    until = people.loc[visits["person_id"], "followup_time"].to_numpy()
    assert (visits["years"] * 365.25 < until + 1).all()
    assert set(visits["visit"]) == {1, 2, 3}


def test_zero_or_negative_people_are_refused():
    with pytest.raises(InvalidQuestion, match="at least 1"):
        cohorts.people("north", 0, 1)
    with pytest.raises(UnknownName, match="Did you mean `seniors`"):
        cohorts.people("senior", 10, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat(tmp_path):
    """Four times the people take hardly more memory, and far less than the gigabyte of a million."""
    # Not getrusage: its peak begins with that of the process that started this one.
    code = (
        "import sys; from pathlib import Path; from simulation import cohorts\n"
        "cohorts.write(cohorts.find('north'), int(sys.argv[1]), 1, Path(sys.argv[2]))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    root = str(Path(cohorts.__file__).parents[2])

    def megabytes(people):
        command = [sys.executable, "-c", code, str(people), str(tmp_path / str(people))]
        env = {**os.environ, "PYTHONPATH": root}
        return int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout) / 1024

    small, large = megabytes(2 * BLOCK), megabytes(8 * BLOCK)
    assert large < small + 60
    assert large < 500
    assert pq.ParquetFile(tmp_path / str(8 * BLOCK) / "people.parquet").metadata.num_rows == 8 * BLOCK


def test_a_simulated_network_takes_them():
    frames = {name: cohorts.people(name, 300, 1) for name in ("seniors", "nutrition", "twins")}
    net = network(frames, dictionary=cohorts.PEOPLE)
    assert [c.name for c in net.cohorts()] == list(frames)


def test_rows_without_visits_have_none():
    assert next(iter(tables.rows(NUMBERED, 10, 1, with_visits=False))).visits is None


# The command line


def run(*arguments):
    return CliRunner().invoke(app, ["people", *map(str, arguments)])


def test_command_for_one_holder(tmp_path):
    result = run("--holder", "twins", "--people", 500, "--seed", 3, "--out", tmp_path, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "dictionary.toml",
        "twins/data.toml",
        "twins/people.csv",
        "twins/visits.csv",
        "visits-dictionary.toml",
    ]
    dictionary = Dictionary.from_toml(tmp_path / "dictionary.toml")
    assert dictionary.digest == cohorts.PEOPLE.digest
    told = tomllib.loads((tmp_path / "twins" / "data.toml").read_text())["data"]
    loaded = read(Source(str(tmp_path / "twins" / told["source"]), {}, told["missing"]), dictionary, told["absent"])
    assert len(loaded.data) == 500


def test_command_for_all_holders(tmp_path):
    result = run("--all", "--people", 2000, "--out", tmp_path, "--no-visits", "--local-codes")
    assert result.exit_code == 0, result.output
    files = {p.parent.name: pq.ParquetFile(p).metadata.num_rows for p in tmp_path.rglob("people.parquet")}
    assert files == cohorts.sizes(2000)
    assert not list(tmp_path.rglob("visits.parquet"))


def test_command_needs_one_of_the_two(tmp_path):
    for arguments in ([], ["--all", "--holder", "twins"]):
        result = run("--out", tmp_path, *arguments)
        assert isinstance(result.exception, InvalidQuestion)
