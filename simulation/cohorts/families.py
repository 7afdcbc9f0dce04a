"""Who belongs together: partners, parents, children and twins, and what they share.

Traits follow the classical twin model (Falconer & Mackay, 1996, Introduction to Quantitative Genetics): a child has
half the genes of each parent, identical twins have the same, and a household shares an environment. Partners choose
each other at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.columns import Columns, Flags, Floats

TRAITS = ("height", "bmi", "sbp", "ldl")
_INDEX, _PARTNER, _PARENT, _CHILD, _TWIN = range(5)  # the levels of `relation`, in order
_NO_TWIN, _IDENTICAL, _FRATERNAL = range(3)  # the levels of `zygosity`, in order
_SHARE_IDENTICAL = 0.4  # of twins; assumed
_SEGREGATION = np.sqrt(0.5)  # standard deviation of a child's genes around the mean of its parents'


@dataclass(frozen=True)
class Relatives:
    """The probability that a participant's partner, one parent, one child or twin takes part as well."""

    partner: float = 0.0
    parent: float = 0.0
    child: float = 0.0
    twin: float = 0.0
    youngest: float = 0.0  # years; relatives outside these ages do not take part
    oldest: float = 100.0


def draw_families(
    rng: np.random.Generator, age: Floats, sex: NDArray[np.int8], relatives: Relatives
) -> tuple[Columns, Floats]:
    """Everyone in the families of the index persons given, family after family, cut off at len(age) people.

    Returns age, sex, family (counted from 0), relation and zygosity, each of shape (people,); and the shared parts of
    the TRAITS as standard normals, genes and household, shape (2, traits, people).
    """
    ages, sexes = _relatives(rng, age, sex)
    zygosity = np.where(rng.random(len(age)) < _SHARE_IDENTICAL, _IDENTICAL, _FRATERNAL)
    sexes[:, _TWIN] = np.where(zygosity == _IDENTICAL, sex, sexes[:, _TWIN])
    there = _taking_part(rng, ages, relatives)
    family, relation = (found[: len(age)] for found in np.nonzero(there))
    families = int(family[-1]) + 1
    twins = np.isin(relation, (_INDEX, _TWIN)) & there[family, _TWIN]
    columns: Columns = {
        "age": ages[family, relation],
        "sex": sexes[family, relation],
        "family": family,
        "relation": relation.astype(np.int8),
        "zygosity": np.where(twins, zygosity[family], _NO_TWIN).astype(np.int8),
    }
    genes = _genes(rng, zygosity[:families])
    household = rng.standard_normal((len(TRAITS), families))
    return columns, np.stack([genes[:, family, relation], household[:, family]])


def _relatives(rng: np.random.Generator, age: Floats, sex: NDArray[np.int8]) -> tuple[Floats, NDArray[np.int8]]:
    """Ages and sexes of each index person and the four who could come along, shape (families, relations)."""
    n = len(age)
    partner = age + np.where(sex == 1, -2.0, 2.0) + rng.normal(0.0, 3.0, n)
    parent = age + np.clip(rng.normal(30.0, 4.5, n), 18, 50)
    child = age - np.clip(rng.normal(30.0, 4.5, n), 18, 50)
    ages = np.stack([age, partner, parent, child, age], axis=1)
    sexes = rng.integers(0, 2, (n, 5), dtype=np.int8)
    sexes[:, _INDEX], sexes[:, _PARTNER] = sex, 1 - sex
    return np.floor(ages * 10) / 10, sexes


def _taking_part(rng: np.random.Generator, ages: Floats, relatives: Relatives) -> Flags:
    chances = np.array([1.0, relatives.partner, relatives.parent, relatives.child, relatives.twin])
    there = (rng.random(ages.shape) < chances) & (ages >= relatives.youngest) & (ages < relatives.oldest)
    there[:, _PARTNER] &= ages[:, _PARTNER] >= 18
    there[:, _INDEX] = True
    return there


def _genes(rng: np.random.Generator, zygosity: NDArray[np.int64]) -> Floats:
    """Standard normal breeding values, shape (traits, families, relations)."""
    parent, other_parent, partner, own, twins_own, childs_own = rng.standard_normal((6, len(TRAITS), len(zygosity)))
    between = 0.5 * (parent + other_parent)
    index = between + _SEGREGATION * own
    twin = between + _SEGREGATION * np.where(zygosity == _IDENTICAL, own, twins_own)
    child = 0.5 * (index + partner) + _SEGREGATION * childs_own
    return np.stack([index, partner, parent, child, twin], axis=2)
