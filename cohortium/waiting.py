"""What a person sees while a job is under way: the round, what is being asked, and who has not answered yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from cohortium.messages import JobState, JobView


def shown(views: Iterable[JobView], wanted: bool | None = None) -> Iterator[JobView]:
    """Pass on what happens to a job, showing it on stderr: as a bar in a terminal or notebook, as lines elsewhere.

    `wanted` None shows it only where somebody can watch.
    """
    console = Console(stderr=True)
    watched = console.is_terminal or console.is_jupyter
    if watched and wanted is not False:
        yield from _drawn(views, console)
        return
    for view in views:
        if wanted:
            console.print(describe(view), markup=False, highlight=False, soft_wrap=True)
        yield view


def _drawn(views: Iterable[JobView], console: Console) -> Iterator[JobView]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        # How many rounds an analysis needs is not known before it has converged, so the bar shows answers per round.
        task = bar.add_task("submitted", total=None)
        for view in views:
            waiting, asked = len(view.progress.waiting_for), len(view.cohorts)
            total = asked if view.progress.round else None
            bar.update(task, description=escape(describe(view)), total=total, completed=asked - waiting)
            yield view


def describe(view: JobView) -> str:
    """One line about where a job is."""
    progress = view.progress
    if view.state is JobState.awaiting_approval:
        return f"{view.analysis}: waiting for the approval of {', '.join(progress.waiting_for)}"
    if progress.round == 0 or view.state.is_final:
        return f"{view.analysis}: {view.state}"
    waiting = f", waiting for {', '.join(progress.waiting_for)}" if progress.waiting_for else ""
    return f"{view.analysis}: round {progress.round}, {progress.statistic}{waiting}"
