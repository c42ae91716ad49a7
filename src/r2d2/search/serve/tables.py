"""The tables of a server: their names, and the parameter `table` that chooses one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from fastapi import Query, Request

from r2d2.errors import R2D2Error
from r2d2.inputs.folders import absolute
from r2d2.search.serve.service import Service

SUFFIXES = (".lance", ".r2d2")
EMOJI = "emoji"  # the name of the corpus that comes with the package


def table_parameter(services: Mapping[str, Service]) -> Callable[..., Awaitable[None]]:
    """A dependency of the routes: the query parameter `table`, which chooses the service.

    Args:
        services: by the names of their tables; a request without the parameter is for the first.
    """
    names = list(services)

    async def choose(
        request: Request,
        table: str = Query(
            names[0],
            description="What is searched; the first by default.",
            json_schema_extra={"enum": names},
        ),
    ) -> None:
        if table not in services:
            raise R2D2Error(
                f"there is no table {table!r}: choose of {', '.join(names)}", code="no_table"
            )
        request.state.service = services[table]

    return choose


def served_paths(paths: Sequence[str | None]) -> list[str | None]:
    """The paths that `serve` is given, with None for the emoji corpus.

    The name `emoji` means the corpus unless there is a folder or table of that name.
    """
    return [None if path == EMOJI and not Path(EMOJI).exists() else path for path in paths]


def table_names(paths: Sequence[str | None]) -> list[str]:
    """A short name for each table: the shortest end of its path that no other path has.

    Args:
        paths: of the tables; None means the emoji corpus.

    Raises:
        R2D2Error: a table is given twice.
    """
    whole = [_parts(path) for path in paths]
    for number, own in enumerate(whole):
        if own in whole[:number]:
            raise R2D2Error(f"{paths[number] or EMOJI} is given twice: name each table once")
    plain = [(*parts[:-1], _without_suffix(parts[-1])) for parts in whole]
    parts = [
        short if plain.count(short) == 1 else long for short, long in zip(plain, whole, strict=True)
    ]
    return ["/".join(_own_end(parts_of_path, parts)) for parts_of_path in parts]


def _own_end(own: tuple[str, ...], all_parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    lengths = range(1, len(own) + 1)
    ends = (own[-length:] for length in lengths)
    return next((e for e in ends if sum(p[-len(e) :] == e for p in all_parts) == 1), own)


def _parts(path: str | None) -> tuple[str, ...]:
    if path is None:
        return (EMOJI,)
    if "://" in path:
        return tuple(part for part in path.split("/") if part)
    return tuple(part for part in absolute(Path(path)).split("/") if part) or (path,)


def _without_suffix(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix) or name
    return name
