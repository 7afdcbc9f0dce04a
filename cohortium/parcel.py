"""How one payload travels as Flower records: split in parts that fit a request, and joined again at the other end.

Flower stores and moves each record of a message as an object of its own. A small payload is one part, so one object; a
large one is cut so that no request grows with it. Both sides of the Flower seam use this and nothing else knows of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

PART_SIZE = 4 * 1024 * 1024
"""Bytes in one part: under Flower's own 5 MB chunks, and far under the coordinator's limit on a request."""

Part = Mapping[str, Any]


def split(kind: str, payload: bytes, owner: str) -> list[dict[str, Any]]:
    """The parts of a payload; there is always at least one.

    Flower names an object by its content, so equal ones are stored once and counted; but SuperLink can delete one while
    another request is adding it. `owner`, unique to the message, keeps messages from sharing parts.
    """
    starts = range(0, max(len(payload), 1), PART_SIZE)
    return [
        {"owner": owner, "kind": kind, "part": i, "of": len(starts), "data": payload[start : start + PART_SIZE]}
        for i, start in enumerate(starts)
    ]


def join(parts: Iterable[Part]) -> tuple[str, bytes]:
    """Kind and payload from their parts, in any order.

    Raises:
        ValueError: The parts are not exactly those of one payload; says nothing of their content.

    """
    try:
        by_position = {part["part"]: part for part in parts}
        kinds = {part["kind"] for part in by_position.values()}
        counts = {part["of"] for part in by_position.values()}
        ordered = [by_position[i]["data"] for i in range(len(by_position))]
    except KeyError:
        raise ValueError("A part of the message is missing or malformed.") from None
    if counts != {len(ordered)} or len(kinds) != 1 or not all(isinstance(data, bytes) for data in ordered):
        raise ValueError("The parts do not belong to one message.")
    return str(kinds.pop()), b"".join(data for data in ordered if isinstance(data, bytes))
