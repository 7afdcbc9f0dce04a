"""The differencing ledger: nothing is told of two groups that differ by a few people, and everything else is."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data import Data
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import Refused
from node.ledger import Asked, Ledger
from node.releases import Asker
from node.row_sets import RowSet, distances

LEAST = 5
PEOPLE = 60
DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number"),
        "y": Variable(type="number"),
        "sex": Variable(type="category", categories=(Category(value="f"), Category(value="m"))),
    },
)


def data_of(ledger, keys, rows=None):
    """Data of people with these keys; `rows` is a mask."""
    keys = np.asarray(keys, dtype=np.int64)
    columns = {name: np.arange(len(keys), dtype=float) for name in ("x", "y")}
    data = Data(DICTIONARY, columns | {"sex": np.zeros(len(keys), np.int32)}, len(keys), keys=keys)
    data.numbers = ledger.number(data)
    return data if rows is None else data.subset(np.asarray(rows, dtype=bool))


def asker(job="1", cohorts=("a", "b", "c", "d"), **changes):
    return Asker(**{"job": job, "study": "s", "researcher": "r", "cohorts": cohorts} | changes)


def admit(ledger, people, names="x", by=None, *, least=LEAST, of=PEOPLE):
    """Whether the ledger admits sums of `names` over some of the people."""
    rows = np.isin(np.arange(of), list(people))
    data = data_of(ledger, np.arange(of), rows)
    try:
        ledger.admit([Asked.complete(data, frozenset(names.split()))], by or asker(), least)
    except Refused as error:
        return error
    return None


@pytest.fixture
def ledger():
    return Ledger()


ALL = frozenset(range(PEOPLE))


@pytest.mark.parametrize("few", range(1, LEAST))
def test_a_few_people_more_or_fewer_are_refused(ledger, few):
    assert admit(ledger, range(30), by=asker("first")) is None
    for others in (range(30 - few), range(30 + few)):
        refused = admit(ledger, others, by=asker("second"))
        assert refused.rule == "min_difference"
        assert "job first" in refused.message
        assert f"fewer than {LEAST}" in refused.message
        assert "complete" in refused.message


def test_as_many_people_but_others_are_refused(ledger):
    admit(ledger, range(30))
    assert admit(ledger, {*range(2, 32)}, by=asker("2")) is not None  # two left and two came: four people
    assert admit(ledger, {*range(3, 33)}, by=asker("3")) is None


def test_the_same_people_and_quite_different_ones_are_admitted(ledger):
    for job, people in enumerate((range(30), range(30), range(30 + LEAST), range(40, 60), range(20))):
        assert admit(ledger, people, by=asker(str(job))) is None


def test_what_is_refused_is_not_entered(ledger):
    admit(ledger, range(30))
    assert admit(ledger, range(26)) is not None
    assert admit(ledger, range(26 - LEAST + 1)) is None  # near the refused one, far from the first


def test_nobody_is_no_group(ledger):
    assert admit(ledger, []) is None
    assert admit(ledger, range(3)) is None  # how few people a sum may be of is another rule's business


def test_variables_that_two_releases_do_not_share_do_not_tell(ledger):
    admit(ledger, range(30), "x")
    assert admit(ledger, range(29), "y", asker("2")) is None
    assert admit(ledger, range(29), "x y", asker("3")) is not None


def test_within_a_job_counts_are_the_policys_business_and_sums_are_not(ledger):
    admit(ledger, range(30), "x sex")
    assert admit(ledger, range(29), "y sex") is None
    assert admit(ledger, range(29), "y sex", asker("2")) is None  # already told
    assert admit(ledger, range(28), "y sex", asker("2")) is not None
    assert admit(ledger, range(28), "x sex") is not None


def test_what_one_release_itself_would_tell(ledger):
    rows = [data_of(ledger, range(PEOPLE), np.arange(PEOPLE) < n) for n in (30, 29)]
    asked = [Asked.complete(data, frozenset("x")) for data in rows]
    with pytest.raises(Refused, match="this very job"):
        ledger.admit(asked, asker(), LEAST)
    ledger.admit(asked[:1], asker(), LEAST)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"study": "t"}, True),
        ({"researcher": "q"}, True),
        ({"study": "t", "researcher": "q"}, False),
    ],
)
def test_a_study_and_a_researcher_are_told_things(ledger, second, told):
    admit(ledger, range(30), by=asker())
    assert (admit(ledger, range(29), by=asker("2", **second)) is not None) == told


@pytest.mark.parametrize(
    ("groups", "whole"),
    [
        ((range(30), range(30, 60)), range(58)),
        ((range(30), range(30, 58)), ALL),
        ((ALL, range(30)), range(31, 60)),
        ((ALL, range(29, 60)), range(31)),
        ((range(31), range(29, 60)), ALL),
    ],
)
def test_two_groups_that_make_up_a_third(ledger, groups, whole):
    for job, group in enumerate(groups):
        assert admit(ledger, group, by=asker(f"part{job}")) is None
    refused = admit(ledger, whole, by=asker("whole"))
    assert "job part0 and job part1" in refused.message


def test_two_groups_that_exactly_make_up_a_third_tell_nothing_new(ledger):
    for group in (range(30), range(30, 60), ALL, range(15), range(15, 30)):
        assert admit(ledger, group) is None


def test_one_cohort_more_or_fewer(ledger):
    admit(ledger, range(30), by=asker("all"))
    for cohorts in ("abc", "abcde", "abce", "abcdef"):
        refused = admit(ledger, range(30), by=asker("2", tuple(cohorts)))
        assert refused.rule == "release_per_cohort"
        assert "Job all" in refused.message
    assert admit(ledger, range(30), by=asker("2", tuple("abefg"))) is None
    assert admit(ledger, range(30), "y", by=asker("2", tuple("abc"))) is None
    assert admit(ledger, range(30), by=asker("2", tuple("abc"), alone=True)) is None


def test_it_remembers_across_restarts(tmp_path):
    first = Ledger(tmp_path / "ledger.db")
    admit(first, range(30), by=asker("before"))
    first.close()
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600
    again = Ledger(tmp_path / "ledger.db")
    assert "job before" in admit(again, range(29), by=asker("2")).message
    assert admit(again, range(30), by=asker("3")) is None
    again.close()


def test_what_was_admitted_is_not_judged_again(ledger, monkeypatch):
    data = data_of(ledger, range(PEOPLE))
    asked = [Asked.complete(data, frozenset("x"))]
    ledger.admit(asked, asker(), LEAST)
    monkeypatch.setattr(RowSet, "of", lambda *_: pytest.fail("rows were looked at"))
    ledger.admit(asked, asker(), LEAST)
    with pytest.raises(pytest.fail.Exception):
        ledger.admit(asked, asker("2"), LEAST)


class TestPeople:
    """Rows are known again when the data are loaded anew."""

    def test_who_has_left_is_told_by_the_difference(self, ledger):
        ledger.admit([Asked.complete(data_of(ledger, range(40)), frozenset("x"))], asker(), LEAST)
        for left in (1, LEAST - 1):
            fewer = data_of(ledger, range(left, 40))
            with pytest.raises(Refused):
                ledger.admit([Asked.complete(fewer, frozenset("x"))], asker("2"), LEAST)
        ledger.admit([Asked.complete(data_of(ledger, range(LEAST, 40)), frozenset("x"))], asker("2"), LEAST)

    def test_order_does_not_matter(self, ledger):
        keys = np.random.default_rng(0).permutation(2**62 + np.arange(100))
        numbers = data_of(ledger, keys).numbers
        assert sorted(numbers) == list(range(100))
        order = np.random.default_rng(1).permutation(100)
        np.testing.assert_array_equal(data_of(ledger, keys[order]).numbers, numbers[order])

    def test_several_rows_of_one_person_are_one_person(self, ledger):
        keys = np.repeat(np.arange(20), 6)
        everybody = data_of(ledger, keys)
        ledger.admit([Asked.complete(everybody, frozenset("x"))], asker(), LEAST)
        for people in range(1, LEAST):
            fewer = everybody.subset(keys >= people)
            with pytest.raises(Refused):
                ledger.admit([Asked.complete(fewer, frozenset("x"))], asker("2"), LEAST)
        few_rows_each = everybody.subset(np.arange(120) % 6 > 0)
        ledger.admit([Asked.complete(few_rows_each, frozenset("x"))], asker("2"), LEAST)

    def test_numbers_last(self, tmp_path):
        first = Ledger(tmp_path / "ledger.db")
        numbers = data_of(first, [7, 7, 8, -3]).numbers
        first.close()
        again = Ledger(tmp_path / "ledger.db")
        np.testing.assert_array_equal(data_of(again, [9, 8, 7, 7]).numbers, [4, numbers[2], numbers[0], numbers[1]])
        again.close()

    def test_without_an_identifier_a_row_is_what_it_says(self, ledger):
        def rows(values):
            columns = {name: np.asarray(values, float) for name in ("x", "y")}
            return ledger.number(Data(DICTIONARY, columns, len(values)))

        numbers = rows([1.5, np.nan, 1.5, -0.0])
        assert sorted(numbers) == [0, 1, 2, 3]
        np.testing.assert_array_equal(rows([0.0, 2.5, np.nan, 1.5]), [numbers[3], 4, numbers[1], numbers[0]])
        assert ledger._people.most == 1


@given(st.lists(st.frozensets(st.integers(0, 23), max_size=24), min_size=1, max_size=12), st.integers(1, 6))
@settings(max_examples=40)
def test_it_refuses_what_comparing_row_by_row_would(groups, least):
    """Against every pair and every triple of earlier groups, one by one."""
    ledger, told = Ledger(), []
    for job, group in enumerate(groups):
        refused = admit(ledger, group, by=asker(str(job)), least=least, of=24)
        assert (refused is not None) == tells(group, told, least)
        if refused is None and group not in told:
            told.append(group)


def tells(group, told, least):
    def few(people):
        return 0 < len(people) < least

    triples = [(w, a, b) for one, two in combinations(told, 2) for w, a, b in around(group, one, two)]
    if not group or group in told:
        return False
    return any(few(group ^ other) for other in told if other) or any(
        few((a & b) | ((a | b) ^ whole)) for whole, a, b in triples if whole and a and b
    )


def around(one, two, three):
    return (one, two, three), (two, one, three), (three, one, two)


@given(st.lists(st.integers(0, 2**31), unique=True, max_size=200), st.integers(0, 8))
def test_a_sketch_never_takes_near_for_far(numbers, changed):
    rows = np.sort(np.asarray(numbers, dtype=np.uint32))
    other = np.sort(np.concatenate([rows[changed:], np.arange(changed, dtype=np.uint32) + 2**31 + 5]))
    sets = [RowSet.of(rows), RowSet.of(other)]
    apart = len(sets[0].rows ^ sets[1].rows)
    assert distances(sets[0].sketch[None], sets[1].sketch)[0] <= apart <= 2 * changed
