"""The page of the rules names every threshold, with its default, and shows what each refusal says."""

from pathlib import Path

import pytest

from node.policy import DIRECTIONS, Policy

PAGE = (Path(__file__).parents[2] / "docs" / "disclosure.md").read_text(encoding="utf-8")
ROWS = {line.split("|")[1].strip(" `"): line for line in PAGE.splitlines() if line.startswith("| `")}


@pytest.mark.parametrize("name", Policy.model_fields)
def test_every_threshold_has_a_row_with_its_default(name):
    default = Policy.model_fields[name].default
    if name in DIRECTIONS and not isinstance(default, bool):
        assert f"| {default:g}" in ROWS[name]
    else:
        assert name in ROWS


# Of these the refusal is shown where they are explained, or there is none.
SILENT = {"min_cell", "max_cell_share", "min_difference", "approval", "privacy_budget", "budget_warn", "budget_refuse"}


@pytest.mark.parametrize("name", sorted(set(Policy.model_fields) - SILENT))
def test_every_rule_that_refuses_shows_how(name):
    (example,) = [line for line in PAGE.splitlines() if line.startswith(f"{name} ")]
    assert f"({name})" in example or name == "release_per_cohort"
