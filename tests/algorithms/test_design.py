"""Design matrices: R's coding, from the dictionary alone."""

import numpy as np
import pandas as pd
import patsy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.numerics.design import compile_design
from cohortium.data import Data
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import FormulaError
from cohortium.formula import Formula

LEVELS = {"a": ("a1", "a2", "a3"), "b": ("b1", "b2"), "c": ("c1", "c2", "c3", "c4")}
DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        **{n: Variable(type="category", categories=tuple(Category(value=v) for v in lv)) for n, lv in LEVELS.items()},
        "x": Variable(type="number"),
        "z": Variable(type="number"),
        "flag": Variable(type="boolean"),
        "y": Variable(type="number"),
    },
)


def frame(n=60, seed=0):
    rng = np.random.default_rng(seed)
    columns = {name: pd.Categorical(rng.choice(levels, n), levels) for name, levels in LEVELS.items()}
    numbers = {name: rng.uniform(0.5, 3, n) for name in ("x", "z", "y")}
    return pd.DataFrame({**columns, **numbers, "flag": rng.integers(0, 2, n).astype(float)})


def data(table):
    columns = {n: table[n].cat.codes.to_numpy(np.int32) if n in LEVELS else table[n].to_numpy() for n in table}
    return Data(DICTIONARY, columns, len(table))


def design(formula, **options):
    return compile_design(Formula(f"y ~ {formula}"), DICTIONARY, **options)


# What R 4.2's model.matrix calls the columns, in its order (contr.treatment), in our notation.
R_COLUMNS = {
    "x + a": ["(Intercept)", "x", "a[a2]", "a[a3]"],
    "x:a": ["(Intercept)", "x:a[a1]", "x:a[a2]", "x:a[a3]"],
    "a:b": ["(Intercept)", "a[a1]:b[b1]", "a[a2]:b[b1]", "a[a3]:b[b1]", "a[a1]:b[b2]", "a[a2]:b[b2]", "a[a3]:b[b2]"],
    "a + a:b": ["(Intercept)", "a[a2]", "a[a3]", "a[a1]:b[b2]", "a[a2]:b[b2]", "a[a3]:b[b2]"],
    "a * b": ["(Intercept)", "a[a2]", "a[a3]", "b[b2]", "a[a2]:b[b2]", "a[a3]:b[b2]"],
    "0 + a": ["a[a1]", "a[a2]", "a[a3]"],
    "0 + a + b": ["a[a1]", "a[a2]", "a[a3]", "b[b2]"],
    "0 + x + a": ["x", "a[a1]", "a[a2]", "a[a3]"],
    "0 + a * x": ["a[a1]", "a[a2]", "a[a3]", "x", "a[a2]:x", "a[a3]:x"],
    "a * x": ["(Intercept)", "a[a2]", "a[a3]", "x", "a[a2]:x", "a[a3]:x"],
    "flag + b:flag": ["(Intercept)", "flag", "b[b2]:flag"],
    "log(x) + x^2": ["(Intercept)", "log(x)", "x^2"],
    "cut(x, [1, 2])": ["(Intercept)", "cut(x, [1, 2])[(1,2]]", "cut(x, [1, 2])[(2,inf)]"],
    "rcs(x, [1, 1.5, 2, 2.5])": [
        "(Intercept)",
        "rcs(x, [1, 1.5, 2, 2.5])[1]",
        "rcs(x, [1, 1.5, 2, 2.5])[2]",
        "rcs(x, [1, 1.5, 2, 2.5])[3]",
    ],
    "1": ["(Intercept)"],
}


@pytest.mark.parametrize("formula", R_COLUMNS)
def test_columns_are_those_of_r(formula):
    assert design(formula).columns == R_COLUMNS[formula]


@pytest.mark.parametrize(
    "formula",
    [
        "x + a",
        "a + b + c",
        "a * b",
        "a * b * c",
        "x * a",
        "0 + a",
        "0 + a + b",
        "a + a:b",
        "a:b",
        "x:a",
        "flag * a",
        "x:z",
    ],
)
def test_spans_the_same_space_as_patsy(formula):
    table = frame()
    ours = design(formula).matrix(data(table))
    theirs = np.asarray(patsy.dmatrix(formula, table))
    rank = np.linalg.matrix_rank(theirs)
    assert np.linalg.matrix_rank(ours) == rank == np.linalg.matrix_rank(np.hstack([ours, theirs]))


def test_values():
    table = frame()
    x = table["x"].to_numpy()
    found = dict(
        zip((d := design("a * x + cut(x, [1, 2]) + x^2 + log(x)")).columns, d.matrix(data(table)).T, strict=True)
    )
    np.testing.assert_array_equal(found["a[a3]"], table["a"] == "a3")
    np.testing.assert_array_equal(found["a[a3]:x"], (table["a"] == "a3") * x)
    np.testing.assert_array_equal(found["cut(x, [1, 2])[(1,2]]"], (x > 1) & (x <= 2))
    np.testing.assert_array_equal(found["x^2"], x**2)
    np.testing.assert_array_equal(found["log(x)"], np.log(x))


def test_a_break_belongs_to_the_interval_below():
    table = frame(3).assign(x=[1.0, 2.0, 2.5])
    np.testing.assert_array_equal(design("cut(x, [1, 2])").matrix(data(table))[:, 1:], [[0, 0], [1, 0], [0, 1]])


def test_spline_is_linear_outside_the_knots_and_smooth_inside():
    knots = [1.0, 1.5, 2.0, 2.5]
    x = np.linspace(0, 4, 401)
    table = frame(len(x)).assign(x=x)
    basis = design("rcs(x, [1, 1.5, 2, 2.5])").matrix(data(table))[:, 1:]
    # Harrell's own formula, written out for the second column at one point.
    at, (t1, _, t3, t4) = 2.2, knots
    cube = lambda u: max(u, 0.0) ** 3  # noqa: E731
    wanted = (cube(at - t1) - cube(at - t3) * (t4 - t1) / (t4 - t3) + cube(at - t4) * (t3 - t1) / (t4 - t3)) / (
        t4 - t1
    ) ** 2
    np.testing.assert_allclose(basis[220, 1], wanted, rtol=1e-12)
    bend = np.diff(basis, n=2, axis=0)
    assert np.abs(bend[x[1:-1] < 0.99]).max() < 1e-12
    assert np.abs(bend[x[1:-1] > 2.51]).max() < 1e-12
    assert np.linalg.matrix_rank(basis) == 3


@given(
    rows=st.integers(0, 40),
    formula=st.sampled_from(["a * b * c", "0 + c:x", "a + rcs(z, [1, 2, 3]) * b", "cut(x, [1, 2]):a"]),
)
def test_columns_never_depend_on_the_rows(rows, formula):
    compiled = design(formula)
    table = frame(40).iloc[:rows]
    assert compiled.matrix(data(table)).shape == (rows, len(compiled.columns))


def test_without_the_intercept_column_the_coding_stays():
    assert design("a", intercept_column=False).columns == ["a[a2]", "a[a3]"]


def test_a_workspace_is_filled_and_returned():
    compiled, table = design("a + x"), data(frame(20))
    workspace = np.full((compiled.width, 64), np.nan)
    found = compiled.matrix(table, out=workspace)
    assert np.shares_memory(found, workspace)
    np.testing.assert_array_equal(found, compiled.matrix(table))


def test_offsets_add_up():
    table = frame()
    compiled = design("x + offset(log(z)) + offset(x)")
    np.testing.assert_allclose(compiled.offset(data(table)), np.log(table["z"]) + table["x"])
    assert design("x").offset(data(table)) is None
    assert set(compiled.variables) == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("term", "declared"),
    [("exp(x^0.9)", {"minimum": 0, "maximum": 1e6}), ("x^60", {"maximum": 1e6}), ("exp(x^-0.9)", {"minimum": 0})],
)
def test_whether_a_transformation_is_infinite_depends_on_the_dictionary_and_never_on_the_data(term, declared):
    """Else a power could be sought that only the largest (or smallest) value overflows: its error would tell it."""
    dictionary = Dictionary(name="d", version="1", variables={"x": Variable(type="number", **declared)})
    with pytest.raises(FormulaError, match="would be infinite at values that `x` may have"):
        compile_design(Formula(f"~ {term}"), dictionary)
