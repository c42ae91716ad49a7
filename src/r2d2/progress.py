"""Progress bars with the time left, on standard error, for whatever takes more than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# update(what, done, in all, a note): a bar for each `what`, made when it is first named
Update = Callable[..., None]


@contextmanager
def bars(hidden: bool = False) -> Iterator[Update]:
    """Bars for as many stages as turn up; `hidden`: none, for all but a run's first process."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}"),
    )
    # On a terminal what is printed goes above the bars; a file or a pipe gets it as it is.
    console, above = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=console, redirect_stdout=above, disable=hidden) as progress:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int, note: str | None = None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, completed=done, note="")
            progress.update(tasks[what], completed=done, total=total)
            if note is not None:
                progress.update(tasks[what], note=note)

        yield update
