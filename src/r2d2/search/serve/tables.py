"""The tables that a server has, by the names that requests call them by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from fastapi import Query, Request

from r2d2.errors import R2D2Error
from r2d2.inputs.folders import absolute
from r2d2.search.searcher import Searcher
from r2d2.search.serve.model_thread import ModelThread
from r2d2.search.serve.pictures import KEPT_BYTES
from r2d2.search.serve.service import ServeConfig, Service

SUFFIXES = (".lance", ".r2d2")
EMOJI = "emoji"  # the name of the corpus that comes with the package


class ServedTables:
    """A service of each table; all share one thread for their models."""

    def __init__(self, searchers: Mapping[str, Searcher], config: ServeConfig) -> None:
        """`searchers` by name; requests that name no table are for the first."""
        self.thread = ModelThread(config)
        kept = KEPT_BYTES // len(searchers)
        self._services = {
            name: Service(searcher, config, self.thread, name, kept)
            for name, searcher in searchers.items()
        }

    @property
    def names(self) -> list[str]:
        """In the order in which they were given."""
        return list(self._services)

    @property
    def services(self) -> list[Service]:
        """One of each table."""
        return list(self._services.values())

    def service(self, name: str) -> Service | None:
        """That of a table; None where there is no such."""
        return self._services.get(name)

    def close(self) -> None:
        """Let the batch in hand end, refuse the rest."""
        self.thread.close()


def table_parameter(tables: ServedTables) -> Callable[..., Awaitable[None]]:
    """A dependency of routes: the query parameter `table`, which says what a request is for."""

    async def choose(
        request: Request,
        table: str = Query(
            tables.names[0],
            description="What is searched; the first by default.",
            json_schema_extra={"enum": tables.names},
        ),
    ) -> None:
        service = tables.service(table)
        if service is None:
            known = ", ".join(tables.names)
            raise R2D2Error(f"there is no table {table!r}: choose of {known}", code="no_table")
        request.state.service = service

    return choose


def served_paths(paths: Sequence[str | None]) -> list[str | None]:
    """What is given to `serve`; None for the emoji corpus, which `emoji` names too.

    A folder or table of that name comes first.
    """
    return [None if path == EMOJI and not Path(EMOJI).exists() else path for path in paths]


def table_names(paths: Sequence[str | None]) -> list[str]:
    """A short name for each table: the end of its path that no other has.

    None stands for the emoji corpus.

    Raises:
        R2D2Error: the same table twice.
    """
    whole = [_parts(path) for path in paths]
    for number, own in enumerate(whole):
        if own in whole[:number]:
            raise R2D2Error(f"{paths[number] or EMOJI} is given twice: name each table once")
    plain = [(*parts[:-1], _without_suffix(parts[-1])) for parts in whole]
    parts = [
        parts_of_one if plain.count(parts_of_one) == 1 else whole[n]
        for n, parts_of_one in enumerate(plain)
    ]
    return ["/".join(_own_end(parts_of_one, parts)) for parts_of_one in parts]


def plain_name(path: str) -> str:
    """The name of a table that is served alone."""
    return table_names([path])[0]


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
