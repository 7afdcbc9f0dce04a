"""The network in one process: any frame, an inferred dictionary, and the same jobs as the real one."""

import datetime
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.dictionary import Dictionary, InvalidDictionary, Variable
from cohortium.errors import CohortiumError, InvalidQuestion, Refused, UnknownName
from cohortium.messages import JobRequest, JobState
from node.data import InvalidData
from node.disclosure import Policy
from simulation import network
from simulation.inference import infer_dictionary

RNG = np.random.default_rng(4)
FRAME = pd.DataFrame({"x": RNG.normal(size=60), "y": RNG.normal(size=60), "sex": RNG.choice(["f", "m"], 60)})


def split(frame, parts=3):
    return {f"c{k}": frame.iloc[k::parts] for k in range(parts)}


def fit(frames, **options):
    return network(frames, **options).study().glm(formula="y ~ x + sex", cohort_effect="common").result()


class TestFrames:
    def test_every_kind_of_frame_gives_the_same(self):
        parts = split(FRAME)
        expected = fit(parts).model_dump_json()
        assert fit({k: pl.from_pandas(v) for k, v in parts.items()}).model_dump_json() == expected
        assert (
            fit({k: pa.Table.from_pandas(v, preserve_index=False) for k, v in parts.items()}).model_dump_json()
            == expected
        )
        category = parts["c2"].assign(sex=parts["c2"]["sex"].astype("category"))
        mixed = {"c0": parts["c0"], "c1": pl.from_pandas(parts["c1"]), "c2": category}
        assert fit(mixed).model_dump_json() == expected

    def test_an_index_is_no_variable(self):
        for name in ("row", None):
            frames = {k: v.set_index(pd.Index(np.arange(len(v)) * 7 % 5, name=name)) for k, v in split(FRAME).items()}
            assert [v.name for v in network(frames).variables()] == ["x", "y", "sex"]
        assert fit({"one": FRAME[FRAME["x"] > 0], "two": FRAME[FRAME["x"] <= 0]}).n == 60

    def test_empty_cohorts_take_part(self):
        frames = split(FRAME)
        expected = fit(frames)
        with_empty = fit(frames | {"empty": FRAME.iloc[:0], "bare": pd.DataFrame(columns=["x", "y", "sex"])})
        assert with_empty.coefficients == expected.coefficients
        assert with_empty.cohorts == ("c0", "c1", "c2", "empty", "bare")

    def test_a_column_that_no_formula_can_name_is_left_out_aloud(self):
        frames = {k: v.assign(**{"mean radius": 1.0}) for k, v in split(FRAME).items()}
        with pytest.warns(UserWarning, match="'mean radius'"):
            assert fit(frames).n == 60

    @pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "é", "x" * 65])
    def test_names_of_cohorts(self, name):
        with pytest.raises(InvalidQuestion, match="cannot name a cohort"):
            network({name: FRAME})

    def test_no_cohort(self):
        with pytest.raises(InvalidQuestion, match="at least one"):
            network({})


class TestInference:
    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ([["b", "a"], ["c", None]], ("category", ("a", "b", "c"))),
            ([[1, 2], [3, None]], ("integer", (1, 3))),
            ([[1.5, 2.0], [None, 9.25]], ("number", (1.5, 9.25))),
            ([[1.0, 2.0], [0.0, None]], ("integer", (0, 2))),
            ([[0, 1], [1, 1]], ("integer", (0, 1))),
            ([[1, 2], [0.5, None]], ("number", (0.5, 2))),
            ([[True, False], [None, True]], ("boolean", None)),
            ([[True], [2]], ("integer", (1, 2))),
            ([[None, None], [None, None]], ("number", None)),
            ([[None, None], ["x", None]], ("category", ("x",))),
            ([[""], [None]], ("number", None)),
            ([[datetime.date(2020, 1, 1)], [None]], ("date", None)),
            ([[f"p{i}" for i in range(300)], ["p1"]], ("identifier", None)),
        ],
    )
    def test_types(self, columns, expected):
        variable = infer_dictionary([pa.table({"v": pa.array(c)}) for c in columns])["v"]
        kind, detail = expected
        assert variable.type == kind
        if kind == "category":
            assert variable.levels == detail
        elif detail is not None:
            assert (variable.minimum, variable.maximum) == detail

    def test_a_text_here_and_a_number_there(self):
        with pytest.raises(InvalidDictionary, match="`v` is a text in one cohort and a number in another"):
            infer_dictionary([pa.table({"v": ["a"]}), pa.table({"v": [1]})])

    @given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
    def test_the_order_of_cohorts_does_not_matter(self, columns, random):
        tables = [pa.table({"v": c}) for c in columns]
        shuffled = random.sample(tables, len(tables))
        assert infer_dictionary(tables).digest == infer_dictionary(shuffled).digest

    def test_a_given_dictionary_is_followed(self):
        known = Dictionary(name="d", version="1", variables={"x": Variable(type="number", maximum=0)})
        with pytest.raises(InvalidData, match="x: "):
            network(split(FRAME), known)


class TestJobs:
    @pytest.fixture
    def net(self):
        return network(split(FRAME))

    def test_a_job_like_any_other(self, net):
        job = net.study("mine").describe(variables=["x"])
        result = job.result(timeout=30)
        assert job.state is JobState.finished
        assert (net.job(job.id).view.study, net.jobs()[0].id, result.n) == ("mine", job.id, 60)
        assert [c.name for c in net.cohorts()] == ["c0", "c1", "c2"]
        assert net.variables("SE")[0].cohorts == ("c0", "c1", "c2")
        assert "glm" in [a.name for a in net.analyses()]

    def test_chosen_cohorts(self, net):
        assert net.study(cohorts=["c1"]).describe(variables=["x"]).result().cohorts == ("c1",)
        with pytest.raises(UnknownName, match="no cohort `c9`"):
            net.study().describe(variables=["x"], cohorts=["c9"])
        with pytest.raises(InvalidQuestion, match="at least one"):
            net.study().describe(variables=["x"], cohorts=[])

    def test_unknown_job(self, net):
        with pytest.raises(UnknownName, match="no job"):
            net.job("nothing")

    def test_policies_apply_and_say_whose(self):
        strict = network(split(FRAME), policy={"c0": Policy.none(), "c1": Policy.none(), "c2": Policy(min_people=50)})
        job = strict.study().glm(formula="y ~ x")
        with pytest.raises(Refused) as caught:
            job.result()
        assert (caught.value.cohort, caught.value.rule, job.state) == ("c2", "min_people", JobState.refused)

    def test_a_variable_that_one_cohort_lacks(self):
        frames = split(FRAME)
        net = network(frames | {"c2": frames["c2"].drop(columns="x")})
        with pytest.raises(CohortiumError, match="`x` was not collected") as caught:
            net.study().glm(formula="y ~ x").result()
        assert caught.value.cohort == "c2"

    def test_cancelled_between_rounds(self, net, monkeypatch):
        reached, released = threading.Event(), threading.Event()
        node = net.service.nodes["c0"]
        answer = node.reply

        def slow(*arguments):
            reached.set()
            assert released.wait(30)
            return answer(*arguments)

        monkeypatch.setattr(node, "reply", slow)
        view = net.service.submit(JobRequest(study="s", analysis="describe", params={"variables": ["x"]}))
        job = net.job(view.id)
        assert reached.wait(30)
        assert job.cancel() is JobState.cancelled
        released.set()
        with pytest.raises(CohortiumError, match="cancelled"):
            job.result(timeout=30)

    def test_following_a_job_gives_up_in_time(self, net, monkeypatch):
        released = threading.Event()
        monkeypatch.setattr(net.service.nodes["c0"], "reply", lambda *_: released.wait(30))
        job = net.study().describe(variables=["x"])
        with pytest.raises(TimeoutError, match="goes on"):
            job.result(timeout=0.2)
        released.set()

    def test_a_mistake_in_an_analysis_is_shown_as_one(self, net, monkeypatch):
        def mistaken(*_):
            raise ZeroDivisionError

        monkeypatch.setattr("simulation.in_process.conduct", mistaken)
        with pytest.raises(CohortiumError, match="ZeroDivisionError"):
            net.study().describe(variables=["x"]).result()
