"""Adding up what the nodes answered. The only place where answers of different cohorts meet.

A node lays its record out as one vector, encodes it in fixed point and masks it (`mask`); the coordinator, or whoever
verifies a result, adds the masked vectors, whose masks cancel, and judges the total (`add_masked`). `add_up` is the
same sum over answers that are not masked, for data in one hand. Either total is exact in fixed point (`fixed_point`),
so it depends neither on the order nor on the names of the cohorts, and is the same to the last bit on every machine.

A cell of a `Table` that a node's policy withholds travels as 0 beside a mark; a total to which any node contributed
a mark is NaN, and stays NaN: what was withheld cannot be had by subtraction from this record. The marks are entries of
the vector like all others: masked, and only their total is seen. So are the votes of nodes that refuse (`votes`).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cohortium import fixed_point
from cohortium.canonical import canonical_json, digest
from cohortium.errors import NodeFailed
from cohortium.fixed_point import LIMB, Limbs, OutOfRange
from cohortium.masks import MIN_COHORTS, Asked, Pairs, add_masks
from cohortium.quantities import Array, CountKind, FlagKind, NoisyKind, SumOver, Sums, TableKind, TimeGridKind
from cohortium.rules import VOTING
from cohortium.votes import REFUSED, check_votes, noise, votes

S = TypeVar("S", bound=Sums)
T = TypeVar("T", bound=np.generic)

WITHHELD: Final = ".withheld"
MAX_ENTRIES: Final = 2**24
"""Most entries of one answer, which is 256 MB: a forged layout must not ask for more memory than an answer may have."""

# Rounding in float64 leaves an information matrix this far from symmetric and positive, relative to its largest entry.
_TOLERANCE = 1e-9


def encode(sums: Sums, cohorts: int = 1) -> dict[str, Array]:
    """A record as the arrays that leave a node: NaN cells of its tables become 0 with a mark.

    Raises NodeFailed if any other value is not finite, or too large to be added up over `cohorts`: such a value would
    spoil the total without a trace.
    """
    arrays: dict[str, Array] = {}
    for name, value in sums.arrays().items():
        if isinstance(sums.kinds[name], TableKind):
            withheld = np.isnan(value)
            arrays[name], arrays[name + WITHHELD] = np.where(withheld, 0.0, value), withheld.astype(np.float64)
        else:
            arrays[name] = value
        if not np.all(np.isfinite(arrays[name])):
            raise NodeFailed(f"`{name}` is not finite")
        if np.any(np.abs(arrays[name]) > fixed_point.RANGE / cohorts):
            raise NodeFailed(f"`{name}` is too large for a sum")
    return arrays


def decode(record: type[S], arrays: Mapping[str, Array]) -> S:
    """The record that `encode` wrote, or the total of several: cells with a mark are NaN."""
    fields = {name: a for name, a in arrays.items() if not name.endswith(WITHHELD)}
    for name, kind in record.kinds.items():
        if isinstance(kind, TableKind) and name + WITHHELD in arrays:
            fields[name] = np.where(arrays[name + WITHHELD] > 0, np.nan, arrays[name])
    return record.from_arrays(fields)


Shape = Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_ENTRIES)], ...], Field(max_length=16)]


class Layout(BaseModel):
    """Which entry of a vector belongs to which array: names in order, with shapes. Public: it comes from the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: Annotated[tuple[tuple[str, Shape], ...], Field(max_length=1000)]

    @property
    def size(self) -> int:
        """Number of entries."""
        return sum(math.prod(shape) for _, shape in self.fields)

    def digest(self) -> str:
        """SHA-256 of it."""
        return digest(b"cohortium layout 1", canonical_json(self.fields))

    def field_at(self, entry: int) -> str:
        """The name of the array that an entry belongs to."""
        for name, shape in self.fields:
            entry -= math.prod(shape)
            if entry < 0:
                return name
        raise IndexError(entry)

    def arrays(self, vector: NDArray[T]) -> dict[str, NDArray[T]]:
        """The arrays that `flatten` laid out in `vector`, shape (size,)."""
        arrays, start = {}, 0
        for name, shape in self.fields:
            end = start + math.prod(shape)
            arrays[name], start = vector[start:end].reshape(shape), end
        return arrays


def flatten(arrays: Mapping[str, Array]) -> tuple[Layout, Array]:
    """The arrays as one vector, in order of name, and its layout."""
    ordered = sorted(arrays.items())
    layout = Layout(fields=tuple((name, np.shape(a)) for name, a in ordered))
    return layout, np.concatenate([np.zeros(0), *(np.ravel(a) for _, a in ordered)])


@dataclass(frozen=True, eq=False)
class Vector:
    """What leaves a node: 16 bytes per entry (masked: that nobody can tell from random ones), and what they mean."""

    layout: Layout
    limbs: Limbs = field(repr=False)

    def digest(self) -> str:
        """SHA-256 of layout and bytes: what the node signs."""
        return digest(b"cohortium vector 1", self.layout.digest().encode(), hashlib.sha256(self.to_bytes()).digest())

    def to_bytes(self) -> bytes:
        """The entries as they travel: 16 bytes each, little-endian."""
        return self.limbs.tobytes()

    @classmethod
    def from_bytes(cls, layout: Layout, content: bytes) -> Self:
        """The vector that `to_bytes` wrote. Raises NodeFailed when the bytes are not as many as the layout says."""
        if layout.size > MAX_ENTRIES or len(content) != 16 * layout.size:
            raise NodeFailed("an answer is not as long as its layout says")
        return cls(layout, np.frombuffer(content, dtype=LIMB).reshape(-1, 2))


def mask(
    arrays: Mapping[str, Array],
    asked: Asked,
    pairs: Pairs,
    *,
    at_least: int = MIN_COHORTS,
    refused_by: str | None = None,
) -> Vector:
    """What cohort `pairs.own` answers to a question: the arrays that `encode` made, encoded and masked, with its votes.

    `refused_by` is the rule by which it refuses, one of `rules.VOTING`: then only the shapes of the arrays count. Call
    it once per question and keep what it returns (see `masks`). Raises NodeFailed naming a field with a value that is
    not finite or beyond 2^54 / cohorts, InvalidQuestion when the question cannot be masked.
    """
    layout, vector = flatten({REFUSED: np.zeros(len(VOTING)), **arrays})
    limbs = _encoded(layout, vector, len(asked.cohorts))
    limbs[: len(VOTING)] = votes(refused_by)
    if refused_by is not None:
        limbs[len(VOTING) :] = noise(layout.size - len(VOTING))
    return Vector(layout, add_masks(limbs, asked, layout.digest(), pairs, at_least))


def unmasked(arrays: Mapping[str, Array]) -> Vector:
    """The same without masks, for a question that is answered per cohort: whoever receives it can read it.

    `add_masked` of this one answer reads it. Raises NodeFailed as `mask` does.
    """
    layout, vector = flatten(arrays)
    return Vector(layout, _encoded(layout, vector, 1))


def add_masked(record: type[S], answers: Mapping[str, Vector]) -> S:
    """The total of the masked answers of *all* cohorts of a question, by cohort; a single one is that of `unmasked`.

    Raises Refused, naming no cohort, when any of them voted so. Raises NodeFailed: naming the cohort, when an answer
    does not have the layout of the others; naming the field only, when the total is none that honest answers could
    have, since then nobody can tell whose answer is wrong.
    """
    layouts = {cohort: masked.layout for cohort, masked in answers.items()}
    layout = _common_layout(record, layouts, voted=len(answers) > 1)
    for cohort, masked in answers.items():
        if masked.limbs.shape != (layout.size, 2) or masked.limbs.dtype != LIMB:
            raise NodeFailed(f"{cohort} answered in another layout than the other cohorts", cohort=cohort)
    limbs = _added([masked.limbs for masked in answers.values()])
    if len(answers) > 1:
        check_votes(limbs[: len(VOTING)], len(answers))
        layout, limbs = Layout(fields=layout.fields[1:]), limbs[len(VOTING) :]
    return _total(record, layout, limbs, len(answers))


def add_up(record: type[S], answers: Mapping[str, Mapping[str, Array]]) -> S:
    """The total of the answers, by cohort, to one question: answers that are not masked.

    Raises NodeFailed, naming the cohort, when an answer does not have the layout of the others, is not finite or too
    large, or counts people in fractions or below zero.
    """
    flat = {cohort: flatten(arrays) for cohort, arrays in answers.items()}
    layout = _common_layout(record, {cohort: of for cohort, (of, _) in flat.items()})
    encoded = []
    for cohort, (_, vector) in flat.items():
        try:
            encoded.append(_encoded(layout, vector, len(flat)))
            _check_counts(record, layout, vector, encoded[-1], most_marks=1)
        except NodeFailed as error:
            raise NodeFailed(f"{cohort}: {error.message}", cohort=cohort) from None
    return _total(record, layout, _added(encoded), len(encoded))


def _encoded(layout: Layout, vector: Array, cohorts: int) -> Limbs:
    try:
        return fixed_point.encode(vector, cohorts)
    except OutOfRange as error:
        what = "too large for a sum" if error.finite else "not finite"
        raise NodeFailed(f"`{layout.field_at(error.entry)}` is {what}") from None


def _common_layout(record: type[Sums], layouts: Mapping[str, Layout], *, voted: bool = False) -> Layout:
    names = sorted(layouts)
    # Shapes come from the plan and are the same everywhere; whoever differs from most is named.
    common = Counter(layouts[name] for name in names).most_common(1)[0][0]
    for cohort in names:
        if layouts[cohort] != common or not _is_layout_of(record, common, voted=voted):
            raise NodeFailed(f"{cohort} answered in another layout than the other cohorts", cohort=cohort)
    return common


def _is_layout_of(record: type[Sums], layout: Layout, *, voted: bool) -> bool:
    if voted:
        if layout.fields[:1] != ((REFUSED, (len(VOTING),)),):
            return False
        layout = Layout(fields=layout.fields[1:])
    shapes = dict(layout.fields)
    marks = {name: name + WITHHELD for name, kind in record.kinds.items() if isinstance(kind, TableKind)}
    named = [name for name, _ in layout.fields] == sorted([*record.kinds, *marks.values()])
    return named and all(shapes[table] == shapes[mark] for table, mark in marks.items())


def _added(encoded: list[Limbs]) -> Limbs:
    limbs = encoded[0].copy()
    for addend in encoded[1:]:
        fixed_point.accumulate(limbs, addend)
    return limbs


def _total(record: type[S], layout: Layout, limbs: Limbs, cohorts: int) -> S:
    vector = fixed_point.decode(limbs)
    beyond = np.abs(vector) > fixed_point.RANGE * (1 + 1e-12)
    if beyond.any():
        raise _impossible(layout.field_at(int(np.argmax(beyond))))
    _check_counts(record, layout, vector, limbs, most_marks=cohorts)
    arrays = layout.arrays(vector)
    _check_information(record, arrays)
    return decode(record, arrays)


def _check_counts(record: type[Sums], layout: Layout, vector: Array, limbs: Limbs, most_marks: int) -> None:
    whole = layout.arrays(fixed_point.is_whole(limbs))
    for name, values in layout.arrays(vector).items():
        kind = record.kinds.get(name)
        if isinstance(kind, NoisyKind):
            if not np.all(whole[name]):
                raise NodeFailed(f"`{name}` has fractions, and noise has none")
            continue
        marks = kind is None or isinstance(kind, FlagKind)
        if not marks and not isinstance(kind, CountKind | TableKind | TimeGridKind):
            continue
        if np.any(values < 0) or not np.all(whole[name]):
            raise NodeFailed(f"`{name}` counts people in fractions or below zero")
        if marks and np.any(values > most_marks):
            raise NodeFailed(f"`{name}` counts more votes than there are cohorts")


def _check_information(record: type[Sums], arrays: Mapping[str, Array]) -> None:
    for name, kind in record.kinds.items():
        if not (isinstance(kind, SumOver) and kind.positive):
            continue
        H = arrays[name]
        if H.ndim < 2 or H.shape[-1] != H.shape[-2]:
            raise NodeFailed(f"`{name}` is declared as an information matrix but is not square")
        if H.size and not _is_positive(H):
            raise _impossible(name)


def _is_positive(H: Array) -> bool:
    # Relative to the largest entry, and not on the scale of correlations: a column that does not vary has an
    # information of 0 but for rounding, and to say so in better words is up to the analysis.
    allowed = _TOLERANCE * np.abs(H).max(axis=(-2, -1))
    symmetric = np.abs(H - np.swapaxes(H, -2, -1)).max(axis=(-2, -1)) <= allowed
    return bool(np.all(symmetric & (np.linalg.eigvalsh(H)[..., 0] >= -allowed)))


def _impossible(name: str) -> NodeFailed:
    return NodeFailed(
        f"the answers add up to a `{name}` that cannot be: a cohort's answer is not what its node should have sent"
    )
