"""Progress bars with the time left, on standard error, for whatever takes more than two seconds."""

from __future__ import annotations

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
def bars(hidden: bool = False, leave: bool = True) -> Iterator[Update]:
    """Bars for as many stages as turn up.

    Args:
        hidden: none, for all but a run's first process.
        leave: whether they stay on a terminal at the end.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=hidden, transient=not leave) as progress:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int, note: str | None = None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, completed=done, note="")
            progress.update(tasks[what], completed=done, total=total)
            if note is not None:
                progress.update(tasks[what], note=note)

        yield update
