"""Results for people: text, HTML, frames, and the bundle that keeps them."""

import contextlib
import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
import zipfile

import altair
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import cohortium
from cohortium import analysis as contract
from cohortium import bundle, report
from cohortium.analysis import Analysis
from cohortium.bundle import InvalidBundle
from cohortium.errors import CohortiumError, InvalidQuestion, UnknownName
from cohortium.report import Table
from cohortium.result import Estimate, Result, wald

HOSTILE = '</td><script>alert("1")</script>'


class ShownResult(Result):
    formula: str = "bmi ~ sex"
    deviance: float = 1234.56789
    converged: bool = True
    dispersion: float | None = None
    label: str = "male"

    def tables(self):
        rows = (("(Intercept)", 152.1334567, 2.5, 1e-30, 4), (f"sex[{self.label}]", -10.01, 0.5, 0.04567, None))
        return [
            Table("Coefficients", ("term", "estimate", "std_error", "p_value", "n"), rows),
            Table("People / cells", ("sex", "people"), (("male", 12), ("female", None))),
        ]

    def chart(self):
        values = [{"x": 1.0, "label": self.label}]
        return altair.Chart(altair.Data(values=values)).mark_text().encode(x="x:Q", text="label:N")


class PlainResult(Result):
    def tables(self):
        return [Table("Nothing to see", (), ())]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    known = {
        name: Analysis(name, None, None, kind, None, f"{name.title()} of everything.\n\nMore.")
        for name, kind in (("shown", ShownResult), ("plain", PlainResult))
    }
    monkeypatch.setattr(contract, "registry", lambda: known)


def shown(**changes):
    about = {"analysis": "shown", "n": 442, "n_excluded": 3, "cohorts": ("north", "south"), "rounds": 5}
    return ShownResult(**{**about, **changes})


def test_text_says_what_was_asked_of_whom_before_the_numbers():
    text = shown(warnings=("Few people in `south`.",), cohort_effect="common").summary()
    lines = text.splitlines()
    assert lines[0] == "Shown of everything"
    expected = ["formula", "cohort effect", "cohorts", "people", "excluded (missing values)", "rounds", "deviance"]
    assert [line.split("  ")[0] for line in [*lines[2:8], lines[9]]] == expected
    assert "north, south (2)" in text
    assert "dispersion" not in text
    assert text.index("Coefficients") < text.index("People / cells") < text.index("Warning: Few people")
    assert max(map(len, lines)) <= report.WIDTH


def test_numbers_have_the_digits_that_mean_something():
    text = shown().summary()
    assert re.search(r"\(Intercept\) +152\.1 +2\.500 +<1e-4 +4", text)
    assert re.search(r"sex\[male\] +-10\.0 +0\.500 +0\.0457 +withheld", text)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0], ["1", "2"]),
        ([0.5, 120.25], ["0.500", "120.250"]),
        ([48.523, 26.38], ["48.52", "26.38"]),
        ([1e-7, 3.0], ["1e-07", "3"]),
        ([2.5e12, 1.5], ["2.5e+12", "1.5"]),
        ([math.nan, math.inf, -math.inf], ["-", "∞", "-∞"]),
        ([0.0, 0.25], ["0.0000", "0.2500"]),
        (["", 0.25], ["", "0.2500"]),
        ([None, 3, "x"], ["withheld", "3", "x"]),
    ],
)
def test_cells(values, expected):
    assert [row[0] for row in report.cells(Table("t", ("value",), tuple((v,) for v in values)))] == expected


@pytest.mark.parametrize("name", ["p", "p_value", "P-value", "P value"])
def test_p_values(name):
    table = Table("t", (name,), ((0.049999,), (1e-5,), (0.0,), (1.0,), (math.nan,), (None,)))
    assert [row[0] for row in report.cells(table)] == ["0.0500", "<1e-4", "<1e-4", "1.0000", "-", "withheld"]


@given(st.lists(st.floats() | st.none() | st.integers(-(10**9), 10**9), min_size=1, max_size=8))
def test_any_numbers_can_be_shown_and_finite_ones_keep_three_digits(values):
    table = Table("t", ("value",), tuple((v,) for v in values))
    report.table_as_text(table)
    for value, (text,) in zip(values, report.cells(table), strict=True):
        if value is not None and math.isfinite(value) and value:
            assert float(text) == pytest.approx(value, rel=5e-3)


def test_withheld_is_never_a_number():
    result = shown(n_excluded=None)
    assert re.search(r"excluded \(missing values\) +withheld", result.summary())
    assert "withheld" in report.as_page(result)
    assert result.to_frame("polars")["n"].to_list() == [4, None]


def test_brackets_are_text_and_control_characters_are_gone():
    text = shown(label="[bold]m\x1b[31mn\u202e", warnings=("a\nb\x07",)).summary()
    assert "sex[[bold]m [31mn ]" in text
    assert "Warning: a b " in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_numbers_are_never_cut_headings_are_stacked_and_words_folded():
    columns = ("term", *(f"long heading {i}" for i in range(8)))
    table = Table("t", columns, (("a term of many words " * 4, *(-1234.5678 - i for i in range(8))),))
    text = report.table_as_text(table)
    assert max(map(len, text.splitlines())) <= report.WIDTH
    assert [f"{-1234.5678 - i:.0f}" in text for i in range(8)] == [True] * 8
    wide = Table("t", ("term", *map(str, range(40))), (("x" * 50, *(123456 + i for i in range(40))),))
    assert all(str(123456 + i) in report.table_as_text(wide) for i in range(40))


def test_empty_words_among_numbers_are_cells_without_one():
    table = Table("t", ("n", "share"), ((1, 0.5), (2, "")))
    assert report.numeric(table) == [True, True]
    assert report.as_frame(table, "polars")["share"].to_list() == [0.5, None]


def test_wide_tables_are_folded_not_cut():
    table = Table("t", ("term", "estimate"), (("x" * 300, 1.5),))
    text = report.table_as_text(table)
    assert text.count("x") == 300
    assert max(map(len, text.splitlines())) <= report.WIDTH


def test_hostile_labels_are_inert_in_html():
    result = shown(label=HOSTILE, formula=HOSTILE, warnings=(HOSTILE,), cohorts=(HOSTILE,))
    for html in (report.as_page(result), result._repr_html_(), report.table_as_html(Table(HOSTILE, (HOSTILE,), ()))):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_the_page_needs_nothing_from_elsewhere_and_serves_everyone(tmp_path):
    page = shown(warnings=("w",)).report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(", page)
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert page.count('scope="col"') == 7
    assert page.count("<caption>") == 2
    drawing = page[page.index("<svg") : page.index("</svg>") + 6]
    assert ET.fromstring(drawing).tag.endswith("svg")
    assert 'role="img" aria-label="Chart: Shown of everything' in page


def test_a_result_without_a_chart():
    result = PlainResult(analysis="plain", n=1)
    assert "<svg" not in report.as_page(result)
    with pytest.raises(InvalidQuestion, match="no chart"):
        result.plot()
    assert shown().plot() is not None
    assert "Nothing to see" in result.summary()


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow", None])
def test_frames(backend):
    frame = shown().to_frame(backend)
    if backend:
        assert type(frame).__module__.startswith(backend)
    assert list(frame["estimate"].to_numpy()) == [152.1334567, -10.01]


def test_frames_that_cannot_be_made(monkeypatch):
    with pytest.raises(InvalidQuestion, match="no data frame"):
        shown().to_frame("excel")
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None if name == "polars" else True)
    with pytest.raises(InvalidQuestion, match=r"pip install 'cohortium\[polars\]'"):
        shown().to_frame("polars")


def test_columns_of_words_and_numbers_become_words():
    table = Table("t", ("a", "b", "c"), ((1, 1, None), ("x", 2.5, None)))
    frame = report.as_frame(table, "polars")
    assert frame.to_dict(as_series=False) == {"a": ["1", "x"], "b": [1.0, 2.5], "c": [None, None]}


@given(st.floats(), st.floats(allow_nan=False))
def test_a_bundle_keeps_every_bit(tmp_path_factory, deviance, estimate):
    path = tmp_path_factory.mktemp("b") / "r.zip"
    fields = dict.fromkeys(Estimate.model_fields, estimate)
    result = PlainWithNumbers(analysis="numbers", n=1, value=deviance, each={"x": Estimate(**fields)})
    with pytest.MonkeyPatch.context() as patch:
        numbers = Analysis("numbers", None, None, PlainWithNumbers, None, "Numbers.")
        patch.setattr(contract, "registry", lambda: {"numbers": numbers})
        back = cohortium.load(result.save(path))
    assert type(back) is PlainWithNumbers
    assert np.float64(back.value).tobytes() == np.float64(deviance).tobytes() or math.isnan(deviance)
    assert back.each == result.each


class PlainWithNumbers(PlainResult):
    value: float
    each: dict[str, Estimate]


def test_a_bundle_holds_what_a_reader_without_cohortium_needs(tmp_path):
    path = shown(label="=cmd()").save(tmp_path / "r.zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names[:4] == ["manifest.json", "result.json", "summary.txt", "report.html"]
        assert names[4:] == ["methods.txt", "tables/1-coefficients.csv", "tables/2-people-cells.csv"]
        manifest = json.loads(archive.read("manifest.json"))
        rows = list(csv.DictReader(io.StringIO(archive.read(names[5]).decode())))
    assert manifest["analysis"] == "shown"
    assert manifest["cohortium"] == cohortium.__version__
    assert rows[0]["estimate"] == "152.1334567"
    assert rows[1]["n"] == ""
    assert list(tmp_path.iterdir()) == [path]


def test_saving_twice_gives_the_same_file(tmp_path):
    result = PlainResult(analysis="plain", n=1)
    assert result.save(tmp_path / "a.zip").read_bytes() == result.save(tmp_path / "b.zip").read_bytes()


def test_spreadsheets_do_not_run_labels():
    table = Table("t", ("=a",), (("=cmd()",), ("-1+2",), (-1.5,)))
    assert bundle._csv(table).splitlines() == ["'=a", "'=cmd()", "'-1+2", "-1.5"]


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def manifest(content=b"{}", **changes):
    about = {"analysis": "plain", "sha256": bundle.hashlib.sha256(content).hexdigest(), "cohortium": "1", "python": "3"}
    return json.dumps({**about, **changes})


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "no single manifest.json"),
        ([("manifest.json", "{")], "not a result"),
        ([("manifest.json", manifest())], "no single result.json"),
        ([("manifest.json", manifest()), ("result.json", "{}"), ("result.json", "{}")], "no single result.json"),
        ([("manifest.json", manifest(b"other")), ("result.json", "{}")], "was changed"),
        ([("manifest.json", manifest(format=2)), ("result.json", "{}")], "later version"),
        ([("manifest.json", manifest(colour="red")), ("result.json", "{}")], "not a result"),
        ([("manifest.json", manifest()), ("result.json", "{}")], "not a result of `plain`"),
        ([("manifest.json", " " * 2**21), ("result.json", "{}")], "too large"),
    ],
)
def test_files_that_are_no_bundle(tmp_path, files, words):
    with pytest.raises(CohortiumError, match=words):
        cohortium.load(zipped(tmp_path / "r.zip", files))


def test_a_bomb_is_noticed_while_it_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_RESULT_BYTES", 1000)
    path = zipped(tmp_path / "r.zip", [("manifest.json", manifest()), ("result.json", b" " * 10_000_000)])
    with pytest.raises(InvalidBundle, match="too large"):
        cohortium.load(path)


def test_a_bundle_of_an_unknown_analysis(tmp_path):
    files = [("manifest.json", manifest(analysis="os.system")), ("result.json", "{}")]
    with pytest.raises(UnknownName, match="no analysis"):
        cohortium.load(zipped(tmp_path / "r.zip", files))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"not a zip" * 100])
def test_bytes_that_are_no_zip(tmp_path, content):
    path = tmp_path / "r.zip"
    path.write_bytes(content)
    with pytest.raises(InvalidBundle):
        cohortium.load(path)


def test_a_damaged_bundle_is_turned_away(tmp_path):
    path = PlainResult(analysis="plain", n=1).save(tmp_path / "r.zip")
    whole = path.read_bytes()
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidBundle):
            cohortium.load(path)
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        # Damage to a part that is not read back, such as the page, does no harm to the numbers.
        with contextlib.suppress(CohortiumError):
            assert cohortium.load(path) == PlainResult(analysis="plain", n=1)


def test_a_missing_file_and_a_failed_write(tmp_path):
    with pytest.raises(InvalidBundle, match="no file"):
        cohortium.load(tmp_path / "none.zip")
    with pytest.raises(OSError, match="none"):
        shown().save(tmp_path / "none" / "r.zip")


@pytest.mark.parametrize("df", [3, 17.5, 435, np.inf])
def test_wald_statistics_are_those_of_scipy(df):
    estimates, covariance = np.array([1.0, -40.0, 0.0]), np.diag([4.0, 1.0, 0.25])
    rows = wald(["a", "b", "c"], estimates, covariance, 0.9, df)
    for row, z, error in zip(rows.values(), (0.5, -40.0, 0.0), (2.0, 1.0, 0.5), strict=True):
        assert row.p_value == pytest.approx(2 * stats.t.sf(abs(z), df), rel=1e-12)
        assert row.ci_high - row.estimate == pytest.approx(stats.t.ppf(0.95, df) * error, rel=1e-12)
