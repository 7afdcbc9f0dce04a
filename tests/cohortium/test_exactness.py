"""Every result says how exact it is and what was done; so do what it saves and shows."""

import json
import zipfile

import pytest
from pydantic import Field

import cohortium
from cohortium import analysis as contract
from cohortium.analysis import Analysis, Params, conduct
from cohortium.bundle import Manifest, hashlib
from cohortium.errors import NotVerified
from cohortium.exactness import Exactness, approximately, exactly, lacking
from cohortium.report import WIDTH, Table, as_page
from cohortium.result import Result
from cohortium.verification import _compared


class Fitted(Result):
    missing: dict[str, int | None] = Field(default={})
    binned: bool = False

    def in_words(self):
        return "y ~ x was fitted by eye."

    def statement(self):
        if self.binned:
            return approximately("values were put in bins", within=0.25)
        return exactly(iterations=6, decrement=2.5e-21, excluded=lacking(self.missing))

    def tables(self):
        return [Table("Numbers", ("a",), ((1.5,),))]


class FittedParams(Params):
    missing: dict[str, int | None] = Field(default={})


def analysed(params):
    return Fitted(n=90, n_excluded=12, missing=params.missing)
    yield  # which makes it a generator


FITTED = Analysis(
    "fitted", analysed, FittedParams, Fitted, None, "Fit.\n\nBy eye. Source: Author (1999), Journal\n1:2.\n\nMore."
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(contract, "registry", lambda: {"fitted": FITTED})


def fitted(missing=None, cohorts=("north", "south", "west"), **rows):
    return conduct(FITTED, FittedParams(missing=missing or {}, **rows), None, cohorts)


def test_the_loop_completes_what_the_analysis_states():
    result = fitted({"bmi": 7, "age": 0, "sbp": None})
    assert result.cohorts == ("north", "south", "west")
    assert result.exactness == Exactness(
        exact=True,
        basis="equals the same analysis of the pooled records",
        tolerance=1e-8,
        iterations=6,
        decrement=2.5e-21,
        excluded={"no value of bmi": 7, "no value of sbp": None},
        rows=90,
        rounds=0,
        cohorts=3,
        encoding_error=3 * 2.0**-73,
        version=cohortium.__version__,
    )


def test_a_fit_of_one_cohort_by_itself_is_not_encoded():
    assert fitted(cohorts=()).exactness.encoding_error is None
    assert "encoding" not in dict(fitted(cohorts=()).exactness.facts())


def test_what_is_shown_names_every_part_and_no_withheld_count():
    result = fitted({"bmi": 7, "sbp": None})
    facts = dict(result.exactness.facts())
    assert facts["exact"] == "equals the same analysis of the pooled records (relative difference at most 1e-08)"
    assert facts["convergence"] == "6 steps, final decrement 2.5e-21"
    assert facts["encoding"] == "each entry of a sum is right to 3.2e-22"
    assert facts["rows"] == "90 used; no value of bmi: 7; no value of sbp: withheld"
    lines = result.summary().splitlines()
    assert "convergence  6 steps, final decrement 2.5e-21" in lines
    assert max(map(len, lines)) <= WIDTH
    assert all(words in shown for words in facts.values() for shown in (result._repr_html_(), as_page(result)))


def test_rows_that_the_question_left_out_are_named_but_nobody_tells_how_many():
    result = fitted({"bmi": 7}, where="age >= 40", complete=("sbp",))
    left = {"not (age >= 40)": None, "no value of sbp (asked to be complete)": None, "no value of bmi": 7}
    assert result.exactness.excluded == left
    assert "Only rows with age >= 40 took part." in result.methods()


def test_an_approximation_says_so_first():
    stated = Fitted(n=5, binned=True).conducted("fitted", rounds=1, cohorts=("a", "b", "c")).exactness
    assert not stated.exact
    assert stated.facts()[0] == ("approximate", "values were put in bins (difference at most 0.2)")
    assert stated.sentence().startswith("The result is approximate: values were put in bins")


def test_methods_say_what_was_done_where_and_by_whose_work():
    text, sources = fitted({"bmi": 12}).methods().split("\n\n")
    assert text.startswith("y ~ x was fitted by eye. Rows without a value")
    assert "90 were used, 12 left out" in text
    assert f"over 3 cohorts (north, south, west): Cohortium {cohortium.__version__}" in text
    assert "converged in 6 steps" in text
    assert sources == "References: Author (1999), Journal 1:2."


def test_a_bundle_keeps_statement_and_methods(tmp_path):
    result = fitted({"bmi": 7})
    path = result.save(tmp_path / "r.zip")
    assert cohortium.load(path).exactness == result.exactness
    with zipfile.ZipFile(path) as archive:
        assert archive.read("methods.txt").decode() == result.methods() + "\n"
        assert result.methods().split("\n\n")[1] in archive.read("report.html").decode()


def test_a_bundle_from_before_loads_and_shows_itself(tmp_path):
    old = json.loads(fitted({"bmi": 7}).model_dump_json())
    del old["exactness"]
    content = json.dumps(old).encode()
    digest = hashlib.sha256(content).hexdigest()
    about = Manifest(analysis="fitted", sha256=digest, cohortium="0.0.9", python="3.11.0")
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("manifest.json", about.model_dump_json())
        archive.writestr("result.json", content)
    loaded = cohortium.load(tmp_path / "old.zip")
    assert loaded.exactness is None
    assert "exact " not in loaded.summary()
    assert "fitted by eye" in loaded.methods()
    assert _compared(fitted({"bmi": 7}), loaded)


def test_a_statement_that_was_touched_up_is_noticed():
    honest = fitted()
    better = honest.model_copy(update={"exactness": honest.exactness.model_copy(update={"tolerance": 1e-15})})
    whole = honest.model_copy(update={"exactness": honest.exactness.model_copy(update={"rows": 91})})
    later = honest.model_copy(update={"exactness": honest.exactness.model_copy(update={"version": "9.9"})})
    assert _compared(honest, later)  # another version of the software may verify what this one made
    for forged in (whole, better):
        with pytest.raises(NotVerified, match=r"result\.exactness"):
            _compared(honest, forged)
