"""The page about the synthetic people says what the code does."""

import re
from pathlib import Path

from simulation import cohorts
from simulation.cohorts.reference import TABLES, filled_in

PAGE = Path(__file__).parents[2] / "docs" / "synthetic-people.md"


def test_tables_are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in page for name in TABLES)
    assert filled_in(page) == page, "run: python -m simulation.cohorts.reference docs/synthetic-people.md"


def test_tables_have_everything():
    page = PAGE.read_text(encoding="utf-8")
    for name in (*cohorts.HOLDERS, *cohorts.PEOPLE.variables, *cohorts.truth()):
        assert f"| `{name}` |" in page, name
    for value in ("3,791,838", "80.31", "0.182", "male 40-44 29.5", "female 80-84 254.8"):
        assert value in page


def test_every_variable_is_labelled_in_both_languages():
    for dictionary in (cohorts.PEOPLE, cohorts.VISITS):
        for name, variable in dictionary.variables.items():
            labels = [variable.label, *(category.label for category in variable.categories)]
            assert all(label.en and label.nl for label in labels), name
            measured = variable.type in {"number", "integer"} and name != "visit"
            assert not measured or variable.unit, name
            assert not measured or None not in (variable.minimum, variable.maximum), name


def test_no_holder_bears_the_name_of_a_real_cohort():
    real = r"lifelines|rotterdam|generation.?r|hoorn|maastricht|helius|doetinchem|nesda|trails|prospect|epic|lasa"
    for holder in cohorts.HOLDERS.values():
        assert not re.search(real, f"{holder.name} {holder.title.en} {holder.title.nl}", re.IGNORECASE)
