"""Which earlier jobs a refusal by difference may be about: a vote names none, and the coordinator knows them anyway."""

from __future__ import annotations

from typing import Final

from cohortium.errors import Refused
from cohortium.messages import JobView
from coordinator.store import Store

MOST: Final = 5


def naming_earlier_jobs(error: Exception, view: JobView, store: Store) -> Exception:
    """The error; if it says that this job and an earlier one differ by few people, with the latest jobs of its study.

    Which of them it is, the cohorts that refused keep to themselves: it is in their journals.
    """
    if not isinstance(error, Refused) or error.rule != "min_difference" or error.cohort is not None:
        return error
    earlier = [job.id for job in store.jobs(study=view.study, limit=MOST + 1) if job.id != view.id][:MOST]
    if not earlier:
        return error
    return Refused(f"{error.message} The latest jobs of this study: {', '.join(earlier)}.", rule=error.rule)
