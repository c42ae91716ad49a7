"""Progress bars with the time left, on standard error, for whatever takes more than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[..., None]  # advance(n=1, note="")


@contextmanager
def bar(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """A bar; call what it gives with the number of units done since the last call, and a note."""
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )  # fmt: skip
    with progress:
        task = progress.add_task(description, total=total, completed=done, note="")

        def advance(n: int = 1, note: str | None = None) -> None:
            progress.update(task, advance=n)
            if note is not None:
                progress.update(task, note=note)

        yield advance
