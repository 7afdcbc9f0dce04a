"""One answered round in writing: which question it was, and the totals. What lets a job be resumed by replay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cohortium.messages import Header, QuestionMessage
from cohortium.quantities import Array, Sums

Totals = Sums | dict[str, Sums]


class TotalsMessage(Header):
    """Totals as they are stored: the arrays of one Sums record or, for a per-cohort question, of one per cohort."""

    cohorts: tuple[str, ...] | None = None


def question_digest(message: QuestionMessage, broadcast: Mapping[str, Array]) -> str:
    """SHA-256 of everything a question says, the broadcast values to their last bit."""
    digest = hashlib.sha256(message.model_dump_json().encode())
    for name, values in sorted(broadcast.items()):
        digest.update(f"\0{name}\0{values.shape}\0".encode() + values.tobytes())
    return digest.hexdigest()


def write_totals(totals: Totals) -> bytes:
    """The bytes that `read_totals` reads back exactly."""
    if isinstance(totals, Sums):
        return TotalsMessage().to_bytes(totals.arrays())
    arrays = {f"{cohort}/{name}": a for cohort, sums in totals.items() for name, a in sums.arrays().items()}
    return TotalsMessage(cohorts=tuple(totals)).to_bytes(arrays)


def read_totals(record: type[Sums], stored: bytes) -> Totals:
    """The totals that `write_totals` wrote, as `record`."""
    header, arrays = TotalsMessage.from_bytes(stored)
    if header.cohorts is None:
        return record.from_arrays(arrays)
    return {
        cohort: record.from_arrays({name: arrays[f"{cohort}/{name}"] for name in record.kinds})
        for cohort in header.cohorts
    }
