"""What a secure sum costs beside the same sum without masks and beside a plain numpy sum."""

from __future__ import annotations

import statistics
from typing import Annotated

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.measuring import Row, side_by_side
from cohortium import fixed_point
from cohortium.keys import public_text
from cohortium.masks import Asked, Pairs, agree
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.secure_sum import add_masked, add_up, encode, flatten, mask

NODES = 10
SMALL, LARGE = 10_000, 1_000_000


class Bulk(Sums):
    """A count and a vector."""

    n: Count
    terms: Annotated[Array, SumOver("n")]


def measure() -> list[Row]:
    """Rows for a small and a large vector, and for what comes before the first round."""
    pairs, agreement = _pairs()
    return [agreement, *_small(pairs), *_large(pairs)]


def _pairs() -> tuple[dict[str, Pairs], Row]:
    private = {name: X25519PrivateKey.generate() for name in _names()}
    public = {name: public_text(key.public_key()) for name, key in private.items()}
    taken = side_by_side({"agree": lambda: agree("n0", private["n0"], public)}, 20)
    row = Row(f"masking: keys with {NODES - 1} other nodes, once per job", _ms(taken["agree"]))
    return {name: agree(name, private[name], public) for name in private}, row


def _names() -> list[str]:
    return sorted(f"n{i}" for i in range(NODES))


def _asked(size: int) -> Asked:
    return Asked(
        network="benchmark",
        job="0" * 64,
        round=1,
        analysis="bulk",
        version="1",
        statistic="terms",
        params={"size": size},
        broadcast={"beta": np.zeros(20)},
        dictionary="0" * 64,
        roster="0" * 64,
        cohorts=tuple(_names()),
    )


def _records(size: int) -> dict[str, dict[str, Array]]:
    draw = np.random.default_rng(1)
    return {name: encode(Bulk(n=100, terms=draw.normal(size=size) * 1e3)) for name in _names()}


def _small(pairs: dict[str, Pairs]) -> list[Row]:
    records, asked = _records(SMALL), _asked(SMALL)
    answers = {name: mask(arrays, asked, pairs[name]) for name, arrays in records.items()}
    floats = np.stack([flatten(arrays)[1] for arrays in records.values()])
    taken = side_by_side(
        {
            "node": lambda: mask(records["n0"], asked, pairs["n0"]),
            "encode": lambda: fixed_point.encode(floats[0], NODES),
            "total": lambda: add_masked(Bulk, answers),
            "unmasked": lambda: add_up(Bulk, records),
            "numpy": lambda: floats.sum(axis=0),
        },
        50,
    )
    size = f"{SMALL:,} entries, {NODES} nodes"
    whole = _ms([n + t for n, t in zip(taken["node"], taken["total"], strict=True)])
    return [
        Row(f"secure sum, {size}: a node, then the total", whole, "<= 5 ms", "nodes work at the same time"),
        Row("… of which the node (encode and mask)", _ms(taken["node"]), "", _wire(SMALL)),
        Row("… the node without masks (encode only)", _ms(taken["encode"])),
        Row("… the total of all nodes, judged", _ms(taken["total"])),
        Row("… all of it in one hand without masks", _ms(taken["unmasked"])),
        Row("… plain numpy sum of floats", _ms(taken["numpy"]), "", "inexact, depends on the order"),
    ]


def _large(pairs: dict[str, Pairs]) -> list[Row]:
    records, asked = _records(LARGE), _asked(LARGE)
    names = _names()
    masked = {name: mask(records[name], asked, pairs[name]) for name in names}
    floats = np.stack([flatten(records[name])[1] for name in names])
    taken = side_by_side(
        {
            "node": lambda: mask(records["n0"], asked, pairs["n0"]),
            "encode": lambda: fixed_point.encode(floats[0], NODES),
            "total": lambda: add_masked(Bulk, masked),
            "numpy": lambda: floats.sum(axis=0),
        },
        5,
    )
    return [
        Row(
            f"secure sum, {LARGE:,} entries, {NODES} nodes: a node",
            _ms(taken["node"]),
            "<= 500 ms",
            _wire(LARGE),
        ),
        Row("… the node without masks (encode only)", _ms(taken["encode"])),
        Row("… the total of all nodes, judged", _ms(taken["total"])),
        Row("… plain numpy sum of floats", _ms(taken["numpy"]), "", "inexact, depends on the order"),
    ]


def _wire(entries: int) -> str:
    return f"{16 * (entries + 1):,} bytes on the wire per node; as floats {8 * (entries + 1):,}"


def _ms(seconds: list[float]) -> str:
    # A round is short: tenths count.
    low, middle, high = (1000 * f(seconds) for f in (min, statistics.median, max))
    return f"{middle:.2f} ms ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:62} {row.measured:26} {row.budget:12} {row.remark}")
