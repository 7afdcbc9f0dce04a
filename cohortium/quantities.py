"""The kinds of quantity that may leave a node.

Code declares *what kind* of quantity a released field is; the cohort holder's policy says what each kind must
satisfy (`node/disclosure.py`). A field without a kind cannot be declared at all.

    class NewtonTerms(Sums):
        n: Count                                                             # people
        score: Annotated[Array, SumOver("n")]                                # a sum over those n people
        information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import NodeFailed
from cohortium.evidence import Evidence

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What sort of quantity a released field is. Only the classes below exist; policies know no others."""


@dataclasses.dataclass(frozen=True)
class CountKind(Kind):
    """A number of people. Refused when it is positive but below the policy's `min_people`."""


@dataclasses.dataclass(frozen=True)
class TableKind(Kind):
    """Cells of a table of people. Small cells are withheld, one by one: the total of such a cell is NaN."""


@dataclasses.dataclass(frozen=True)
class TimeGridKind(Kind):
    """People who enter or leave in each interval of a time grid (last axis).

    Refused when an interval holds few people: their times could be told. What happened to them (events) is a
    `SumOver` this field.
    """


@dataclasses.dataclass(frozen=True)
class FlagKind(Kind):
    """A vote, 0 or 1 per node; the sum says how many nodes said yes, never which."""


@dataclasses.dataclass(frozen=True)
class SumOver(Kind):
    """A sum over the people that the field `count` counts.

    `count` names a `Count` (or `TimeGrid`) field of the same record, whose shape is the leading part of this field's
    shape: a sum per risk set names the people per risk set, not n. `people_per_parameter`: the last axis is the number
    of parameters that those people must support. `positive`: the last two axes are a symmetric matrix without negative
    eigenvalues, such as an information matrix; a total that is not is no sum of honest answers.
    """

    count: str
    people_per_parameter: bool = False
    positive: bool = False


@dataclasses.dataclass(frozen=True)
class NoisyKind(Kind):
    """Whole numbers that leave a node only with noise, which the node adds under differential privacy.

    One row of the data, there or not, changes each line (last axis) by at most `most` in Euclidean length. `share` is
    the field's part of the question's budget, relative to that of the other noisy fields. The parameters of an analysis
    that asks for such a field say what it may cost (`rho`, see `privacy`).
    """

    most: float
    share: float = 1.0


Count = Annotated[float, CountKind()]
Counts = Annotated[Array, CountKind()]
Table = Annotated[Array, TableKind()]
TimeGrid = Annotated[Array, TimeGridKind()]
Flag = Annotated[float, FlagKind()]


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums:
    """A named record of quantities that a node releases, and equally the total of such records over all nodes.

    Subclasses declare fields as in a dataclass, every one with a kind. Values are floats or float64 arrays.
    Shapes come from the plan (parameters and dictionary), never from a node's data: every node must return the same.

    `evidence` shows the check of the own node who stands behind the sums; it is no field and never leaves. A total has
    none.
    """

    kinds: ClassVar[Mapping[str, Kind]]
    least_cohorts: ClassVar[int] = 0
    """Fewest cohorts in whose sum one's own part cannot be worked out. Of fewer it is each cohort's own figure."""

    evidence: Evidence | None = dataclasses.field(default=None, repr=False, compare=False)

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        hints = get_type_hints(cls, include_extras=True)
        released = [f.name for f in dataclasses.fields(cls) if f.name != "evidence"]
        cls.kinds = {name: _kind_of(cls, name, hints[name]) for name in released}
        for name, kind in cls.kinds.items():
            if isinstance(kind, SumOver) and not isinstance(cls.kinds.get(kind.count), CountKind | TimeGridKind):
                raise TypeError(
                    f"{cls.__name__}.{name} sums over `{kind.count}`, which is not a Count or TimeGrid of this record"
                )

    def __post_init__(self) -> None:
        for name in self.kinds:
            value = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, float(value) if value.ndim == 0 else value)
        for name, kind in self.kinds.items():
            if isinstance(kind, SumOver):
                self._check_leading_shape(name, kind)

    def _check_leading_shape(self, name: str, kind: SumOver) -> None:
        people, sums = np.shape(getattr(self, kind.count)), np.shape(getattr(self, name))
        if sums[: len(people)] != people:
            raise NodeFailed(
                f"`{name}` has shape {sums}, which does not start with the shape {people} of `{kind.count}`"
            )

    def arrays(self) -> dict[str, Array]:
        """Field name -> float64 array, in declaration order; scalars have shape ()."""
        return {name: np.asarray(getattr(self, name), dtype=np.float64) for name in self.kinds}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """The record with these fields. Raises NodeFailed when a field is missing or undeclared."""
        if set(arrays) != set(cls.kinds):
            odd = ", ".join(sorted(set(arrays) ^ set(cls.kinds)))
            raise NodeFailed(f"{cls.__name__}: fields missing or undeclared: {odd}")
        fields: dict[str, Any] = {name: arrays[name] for name in cls.kinds}
        return cls(**fields)


def _kind_of(record: type, name: str, hint: Any) -> Kind:
    kinds = [k for k in get_args(hint)[1:] if isinstance(k, Kind)] if get_origin(hint) is Annotated else []
    if len(kinds) != 1:
        raise TypeError(f"{record.__name__}.{name} must declare exactly one kind of quantity (Count, SumOver …)")
    return kinds[0]
