"""The dictionaries of the synthetic people: `people.toml` for the baseline visit, `visits.toml` for repeated visits."""

from __future__ import annotations

from pathlib import Path

from cohortium.dictionary import Dictionary

FOLDER = Path(__file__).parent
PEOPLE = Dictionary.from_toml(FOLDER / "people.toml")
VISITS = Dictionary.from_toml(FOLDER / "visits.toml")

# The levels of each category in order, the first of which is the reference; values are kept as positions in these.
LEVELS = {name: v.levels for name, v in (PEOPLE.variables | VISITS.variables).items() if v.levels}
