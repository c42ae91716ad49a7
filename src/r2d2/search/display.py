"""Show results in a terminal or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from r2d2.index.calibration import LIKELY, POSSIBLE
from r2d2.index.gallery.emoji import EmojiGallery, emoji_character
from r2d2.index.gallery.notes import calibration_note
from r2d2.notes import Note
from r2d2.search.query import Hit, SearchQuery, SearchResults
from r2d2.search.searcher import Searcher

LEVEL_STYLES = {"likely": "green", "possible": "", "unlikely": "dim"}
LEVELS = (
    f"of texts on other subjects, at most {LIKELY:.0%} find as good a result by chance where it is "
    f"likely, {POSSIBLE:.0%} where it is possible"
)


def to_dict(results: SearchResults) -> dict[str, Any]:
    """Return plain data; fields that do not apply are null."""
    return asdict(results)


def as_json(results: SearchResults) -> str:
    """Return indented JSON, in ASCII where standard output cannot encode its characters."""
    text = json.dumps(to_dict(results), ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(to_dict(results), indent=1)
    return text


def missing_level_notes(
    results: SearchResults, query: SearchQuery, searcher: Searcher
) -> list[Note]:
    """Return notes on why the reliability of the results of a text is unknown."""
    note = calibration_note(searcher.gallery)
    return [] if note is None or results.level is not None or query.text is None else [note]


def as_table(
    results: SearchResults, query: SearchQuery, searcher: Searcher, console: Console | None = None
) -> None:
    """Print the results as a table; results of the emoji corpus are shown as emoji."""
    console = Console() if console is None else console
    for note in (*results.notes, *missing_level_notes(results, query, searcher)):
        console.print(Text(note.note, style="yellow"))
    if not results.hits:
        more = f" from place {query.offset + 1} on" if query.offset else ""
        only = "" if query.where is None else f", of which only those with {query.where} count"
        # As plain text: a condition may hold square brackets, which are markup otherwise.
        console.print(Text(f"nothing found{more} among {results.searched} {query.target}{only}"))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = _columns(results, draws=isinstance(searcher.gallery, EmojiGallery))
    for column in columns:
        table.add_column(
            column.title, justify="right" if column.is_number else "left", style=column.style,
            overflow="fold" if column.title == "image_id" else "ellipsis",
        )  # fmt: skip
    for hit in results.hits:
        table.add_row(*(column.cell(hit) for column in columns))
    console.print(table)
    compared = any(hit.cosine is not None for hit in results.hits)
    stages = {"vectors": "pre-ranked by cosine", "words": "ranked by words (BM25)"}.get(
        results.by, "pre-ranked by words and cosine" if compared else "ranked by words"
    )
    if results.reranked:
        again = f"the best {results.reranked} ranked again"
        if query.cascade is not None and query.cascade < results.reranked:
            again += f", the first {query.cascade} of these by both sides"
        stages += f", {again} (score = {results.weight:g} match + cosine)"
    console.print(Text(f"{results.searched} {query.target}, {stages}", style="dim"))
    if results.level is not None:
        console.print(Text(LEVELS, style="dim"))


@dataclass(frozen=True)
class _Column:
    """A column of the table in a terminal."""

    title: str
    cell: Callable[[Hit], Text]
    is_number: bool = True
    style: str | None = None


def _columns(results: SearchResults, *, draws: bool) -> list[_Column]:
    """Return the columns that have content; with `draws`, emoji are shown instead of their ids."""
    has_texts = draws or any(hit.texts for hit in results.hits)
    compared = any(hit.cosine is not None for hit in results.hits)
    by_words, reranked = results.by == "words", bool(results.reranked)
    columns = {
        _Column("#", lambda hit: Text(str(hit.rank))): True,
        _Column("", lambda hit: Text(emoji_character(hit.image_id) or ""), False): draws,
        _Column("text", _texts, False): has_texts,
        _Column(
            "image_id", lambda hit: Text(hit.image_id), False, "dim" if has_texts else None
        ): not draws,
        _Column("fit", _level, False): results.level is not None,
        _Column("found by", lambda hit: Text(hit.found_by), False): results.by == "both",
        _Column("cosine", lambda hit: _number(hit.cosine)): compared,
        _Column("words", lambda hit: _number(hit.words)): by_words,
        _Column("match", lambda hit: _number(hit.match)): reranked,
        _Column("score", lambda hit: _number(hit.score)): reranked,
        _Column("moved", _moved): reranked,
    }
    return [column for column, is_shown in columns.items() if is_shown]


def _texts(hit: Hit) -> Text:
    return Text("; ".join(hit.texts[:3]) + (" ..." if len(hit.texts) > 3 else ""))


def _level(hit: Hit) -> Text:
    return Text(hit.level or "", style=LEVEL_STYLES[hit.level or "unlikely"])


def _number(value: float | None) -> Text:
    return Text("" if value is None else f"{value:.3f}")


def _moved(hit: Hit) -> Text:
    up = hit.pre_rank - hit.rank
    if up == 0:
        return Text("")
    return Text(f"↑{up}", style="green") if up > 0 else Text(f"↓{-up}", style="red")
