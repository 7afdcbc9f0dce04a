"""Coding a cohort's columns by the dictionary; `node/data.py` is what the rest of the node uses."""

from __future__ import annotations

from node.coding.coder import MISSING, Coder
from node.coding.numbers import DateCoder, NumberCoder
from node.coding.spellings import NO_KEY, BooleanCoder, CategoryCoder, IdentifierCoder

__all__ = ["CODERS", "MISSING", "NO_KEY", "Coder", "IdentifierCoder"]

CODERS: dict[str, type[Coder]] = {
    "number": NumberCoder,
    "integer": NumberCoder,
    "date": DateCoder,
    "boolean": BooleanCoder,
    "category": CategoryCoder,
    "identifier": IdentifierCoder,
}
