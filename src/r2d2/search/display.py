"""Results in a terminal, and as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from r2d2.notes import Note
from r2d2.search.calibration import LIKELY, POSSIBLE
from r2d2.search.kinds import calibration_note
from r2d2.search.query import SearchQuery, SearchResults
from r2d2.search.searcher import Searcher
from r2d2.search.shipped import EmojiGallery, emoji_character

LEVEL_STYLES = {"likely": "green", "possible": "", "unlikely": "dim"}
LEVELS = (
    f"of texts on other subjects, at most {LIKELY:.0%} find as good a result by chance where it is "
    f"likely, {POSSIBLE:.0%} where it is possible"
)


def to_dict(found: SearchResults) -> dict[str, Any]:
    """Plain data; what does not apply is null."""
    return asdict(found)


def as_json(found: SearchResults) -> str:
    """One object, readable; in ASCII where standard output has no room for its characters."""
    text = json.dumps(to_dict(found), ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(to_dict(found), indent=1)
    return text


def missing_level_notes(found: SearchResults, query: SearchQuery, searcher: Searcher) -> list[Note]:
    """Why it is not known how sure the results of a text are."""
    note = calibration_note(searcher.gallery)
    return [] if note is None or found.level is not None or query.text is None else [note]


def as_table(
    found: SearchResults, query: SearchQuery, searcher: Searcher, console: Console | None = None
) -> None:
    """A table of the results; the emoji corpus is drawn."""
    console = Console() if console is None else console
    for note in (*found.notes, *missing_level_notes(found, query, searcher)):
        console.print(Text(note.note, style="yellow"))
    if not found.hits:
        more = f" from place {query.offset + 1} on" if query.offset else ""
        only = "" if query.where is None else f", of which only those with {query.where} count"
        # As plain text: a condition may hold square brackets, which are markup otherwise.
        console.print(Text(f"nothing found{more} among {found.searched} {query.target}{only}"))
        return
    draws = isinstance(searcher.gallery, EmojiGallery)
    worded = draws or any(hit.texts for hit in found.hits)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    if draws:
        table.add_column("")
    if worded:
        table.add_column("text")
    if not draws:
        table.add_column("image_id", style="dim" if worded else None, overflow="fold")
    if found.level is not None:
        table.add_column("fit")
    hybrid = found.by == "both"
    if hybrid:
        table.add_column("found by")
    compared = any(hit.cosine is not None for hit in found.hits)
    if compared:
        table.add_column("cosine", justify="right")
    if found.by == "words":
        table.add_column("words", justify="right")
    if found.reranked:
        table.add_column("match", justify="right")
        table.add_column("score", justify="right")
        table.add_column("moved", justify="right")
    for hit in found.hits:
        cells: list[str | Text] = [str(hit.rank)]
        if draws:
            cells.append(Text(emoji_character(hit.image_id) or ""))
        if worded:
            more = " ..." if len(hit.texts) > 3 else ""
            cells.append(Text("; ".join(hit.texts[:3]) + more))
        if not draws:
            cells.append(Text(hit.image_id))
        if found.level is not None:
            cells.append(Text(hit.level or "", style=LEVEL_STYLES[hit.level or "unlikely"]))
        if hybrid:
            cells.append(hit.found_by)
        if compared:
            cells.append(_number(hit.cosine))
        if found.by == "words":
            cells.append(_number(hit.words))
        if found.reranked:
            cells += [_number(hit.match), _number(hit.score), _moved(hit)]
        table.add_row(*cells)
    console.print(table)
    stages = {"vectors": "pre-ranked by cosine", "words": "ranked by words (BM25)"}.get(
        found.by, "pre-ranked by words and cosine" if compared else "ranked by words"
    )
    if found.reranked:
        again = f"the best {found.reranked} ranked again"
        if query.cascade is not None and query.cascade < found.reranked:
            again += f", the first {query.cascade} of these by both sides"
        stages += f", {again} (score = {found.weight:g} match + cosine)"
    console.print(Text(f"{found.searched} {query.target}, {stages}", style="dim"))
    if found.level is not None:
        console.print(Text(LEVELS, style="dim"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _moved(hit: Any) -> Text:
    up = hit.pre_rank - hit.rank
    if up == 0:
        return Text("")
    return Text(f"↑{up}", style="green") if up > 0 else Text(f"↓{-up}", style="red")
