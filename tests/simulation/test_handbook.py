"""The pages of docs/analyses are what the code says today. `make docs` writes them anew."""

from pathlib import Path

import pytest

from cohortium.analysis import registry
from cohortium.quantities import SumOver
from simulation import handbook

FOLDER = Path(__file__).parents[2] / "docs" / "analyses"


@pytest.fixture(scope="module")
def pages():
    return handbook.pages(FOLDER)


def without_output(page):
    """The page but for the numbers of its example, whose last digits depend on the platform."""
    before, marker, output = page.partition(handbook.OUTPUT)
    return before + marker + output.partition("```")[2]


def test_every_analysis_has_an_example():
    assert list(handbook.examples(FOLDER)) == list(registry())


@pytest.mark.parametrize("name", ["README", "COSTS", *registry()])
def test_the_page_is_up_to_date(pages, name):
    written = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert without_output(written) == without_output(pages[f"{name}.md"]), "run `make docs`"


def test_every_kind_of_quantity_is_explained():
    used = {type(k) for a in registry().values() for s in a.statistics for k in a.sums(s).kinds.values()}
    assert used <= {*handbook.KINDS, SumOver}


def test_there_is_no_page_without_an_analysis():
    assert {p.stem for p in FOLDER.glob("*.md")} == {"README", "COSTS", *registry()}
