"""A list that shows itself as a table, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from cohortium import report
from cohortium.messages import AnalysisView, CohortView, JobState, JobView, VariableView

T = TypeVar("T")


class Listing(list[T]):
    """Cohorts, variables, analyses or jobs: a plain list of them, that reads well."""

    def __init__(self, title: str, items: Iterable[T], row: Callable[[T], Mapping[str, Any]]) -> None:
        super().__init__(items)
        self.title = title
        self._row = row

    @property
    def table(self) -> report.Table:
        """One row per item."""
        rows = [self._row(item) for item in self]
        columns = tuple(rows[0]) if rows else ()
        return report.Table(self.title, columns, tuple(tuple(row.values()) for row in rows))

    def to_frame(self, backend: str | None = None) -> Any:
        """The table as a data frame: "pandas", "polars" or "pyarrow"; by default the first that is installed."""
        return report.as_frame(self.table, backend)

    def __repr__(self) -> str:
        return report.table_as_text(self.table) if self else f"No {self.title.lower()}."

    def _repr_html_(self) -> str:
        return report.table_as_html(self.table)


def cohort_row(view: CohortView) -> dict[str, Any]:
    """A cohort: its name, and whether it is there."""
    collected = "" if view.variables is None else len(view.variables)
    status = view.problem or ("online" if view.online else "offline")
    return {"cohort": view.name, "title": view.title, "status": status, "variables": collected}


def budget_row(study: str, view: CohortView) -> dict[str, Any]:
    """A cohort, and how much it may still tell a study."""
    return {"cohort": view.name, "title": view.title, "budget": view.budgets.get(study, "open")}


def variable_row(view: VariableView) -> dict[str, Any]:
    """A variable: its values or unit, its label, and how many cohorts collected it."""
    values = " | ".join(view.levels) if view.levels else view.unit or ""
    cohorts = "" if view.cohorts is None else len(view.cohorts)
    label = view.label.en or view.label.nl
    return {"variable": view.name, "type": view.type, "values": values, "label": label, "cohorts": cohorts}


def analysis_row(view: AnalysisView) -> dict[str, Any]:
    """An analysis: what it is called and what it asks for."""
    return {"analysis": view.name, "title": view.title, "parameters": ", ".join(view.params.get("properties", ()))}


def job_row(view: JobView) -> dict[str, Any]:
    """A job: whose, what, where it is, and the cohorts whose approval or answers it waits for."""
    waiting = "" if view.state.is_final else ", ".join(view.progress.waiting_for)
    what = "approval of " if waiting and view.state is JobState.awaiting_approval else ""
    return {
        "job": view.id,
        "study": view.study,
        "analysis": view.analysis,
        "state": view.state,
        "waits for": what + waiting,
        "submitted": view.submitted.isoformat(sep=" ", timespec="minutes"),
    }
