"""Policies: files, those that come with the program, and a permit that can only tighten."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.policy import DIRECTIONS, InvalidPolicy, Policy, profiles

NAMES = ["default", "dutch-registry", "open-demo", "strict"]
ROOT = Path(__file__).parents[2]


def test_four_policies_come_with_the_program():
    assert sorted(profiles()) == NAMES
    assert Policy.named("default") == Policy()


@pytest.mark.parametrize("name", NAMES)
def test_every_threshold_of_a_policy_says_where_it_comes_from(name):
    lines = profiles()[name].read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            above = next(k for k in range(number, -1, -1) if not lines[k].strip() or lines[k].startswith("#"))
            assert lines[above].startswith("#"), f"{name}: {line}"


def test_the_default_file_names_every_threshold():
    text = profiles()["default"].read_text(encoding="utf-8")
    assert [field for field in Policy.model_fields if f"\n{field} = " not in text] == []


def test_strict_is_nowhere_laxer_than_the_default():
    strict, default = Policy.named("strict"), Policy()
    assert default.tightened({n: getattr(strict, n) for n in DIRECTIONS}) == strict
    assert strict.tightened({n: getattr(default, n) for n in DIRECTIONS}) == strict


def test_an_offices_figures_are_marked():
    assert profiles()["dutch-registry"].read_text(encoding="utf-8").lower().count("check with the office") >= 4


def test_an_unknown_name_is_explained():
    with pytest.raises(InvalidPolicy, match="Did you mean `strict`"):
        Policy.named("stict")


class TestTightening:
    def test_the_stricter_of_both_holds_threshold_by_threshold(self):
        policy = Policy(min_people=20, max_leverage=0.4)
        both = policy.tightened({"min_people": 15, "min_cell": 30, "max_leverage": 0.3, "max_predictor": 99})
        assert both == Policy(min_people=20, min_cell=30, max_leverage=0.3)

    @given(st.sampled_from(sorted(DIRECTIONS)), st.floats(0.1, 100))
    def test_nothing_is_ever_loosened(self, name, value):
        policy, given_ = Policy(), int(value) if isinstance(getattr(Policy(), name), int) else value
        try:
            after = getattr(policy.tightened({name: given_}), name)
        except InvalidPolicy:
            return
        before = getattr(policy, name)
        assert after >= before if DIRECTIONS[name] == "higher" else after <= before

    def test_an_unknown_threshold_is_refused_not_ignored(self):
        with pytest.raises(InvalidPolicy, match="Did you mean `min_people`"):
            Policy().tightened({"min_peple": 20})
        with pytest.raises(InvalidPolicy, match="insecure"):
            Policy().tightened({"insecure": 1})

    def test_an_impossible_threshold_is_refused(self):
        with pytest.raises(InvalidPolicy, match="max_leverage"):
            Policy().tightened({"max_leverage": 0.0})


def test_every_threshold_says_which_way_is_stricter():
    others = {"insecure", "approval"}
    assert set(DIRECTIONS) | others == set(Policy.model_fields)
