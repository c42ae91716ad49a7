"""The report of a corpus, or of two beside each other: one HTML file, and the same as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.corpus.funnel import StageCount, clicks_of
from r2d2.corpus.images.align import FOUND
from r2d2.corpus.report.sample import numbers
from r2d2.corpus.report.stats import CorpusStats, Histogram
from r2d2.files import write_text
from r2d2.images.decode import BadImage, decode_image
from r2d2.page import number, template
from r2d2.table import PairsTable

SHOWN = 48  # pictures on the contact sheet
TEXTS_SHOWN = 4  # of a picture


@dataclass(frozen=True)
class SheetEntry:
    """One picture of a sheet, its texts each with a note."""

    picture: Image.Image
    texts: list[tuple[str, str]]


@dataclass(frozen=True)
class ContactSheet:
    """Pictures chosen in one way."""

    title: str
    about: str
    entries: list[SheetEntry]


def write_corpus_report(
    path: Path,
    title: str,
    stats: Mapping[str, CorpusStats],
    *,
    funnel: Sequence[StageCount] = (),
    sheets: Sequence[ContactSheet] = (),
    panels: Sequence[dict[str, Any]] = (),
    figures: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    about: str = "",
    dropped: Path | None = None,
) -> None:
    """Write `path` (HTML) and, beside it, the same figures as JSON.

    Args:
        path: of the HTML file.
        title: of the page.
        stats: of one corpus, or of two to compare, by name; none where a build left nothing.
        funnel: the stages of the build.
        sheets: contact sheets.
        panels: bars beside those of `stats`.
        figures: what `panels` and `sheets` show, by name, for the JSON.
        settings: what it was made by, flat.
        about: one sentence under the title.
        dropped: folder of the rows that the stages dropped, beside `path`.
    """
    page = template("r2d2.corpus.report", "report.html").render(
        title=title,
        about=about,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tiles=_tiles(next(iter(stats.values()))) if len(stats) == 1 else [],
        funnel=[_stage(stage) for stage in funnel],
        names=list(stats),
        panels=[*_panels(list(stats.values())), *panels],
        word_lists=[
            (f"Words of meaning{'' if len(stats) == 1 else ': ' + name}", corpus.top_words.items())
            for name, corpus in stats.items()
        ],
        sheets=sheets,
        settings=dict(settings or {}),
        dropped="" if dropped is None else dropped.name,
    )
    data = {
        "title": title,
        "stats": {name: corpus.to_dict() for name, corpus in stats.items()},
        "funnel": [stage.to_dict() for stage in funnel],
        **(figures or {}),
        "settings": dict(settings or {}),
        **({} if dropped is None else {"dropped": dropped.name}),
    }
    write_text(path.with_suffix(".json"), json.dumps(data, ensure_ascii=False, indent=1))
    write_text(path, page)


def contact_sheet(table: PairsTable, count: int = SHOWN, title: str = "Examples") -> ContactSheet:
    """Pictures with their texts, drawn by hash of image_id rather than by taste."""
    rows = table.rows()
    best: list[tuple[float, int]] = []
    for start in range(0, len(rows), 65536):
        block = rows[start : start + 65536]
        drawn = numbers(table.image_ids(block), 0, "sheet").tolist()
        best = sorted([*best, *zip(drawn, block.tolist(), strict=True)])[:count]
    entries = []
    for pair in table.take([row for _, row in best]):
        try:
            picture = decode_image(pair.image)
        except BadImage:
            continue
        texts = [
            (text.text, f"{text.source} {text.clicks}/{text.impressions}")
            if text.clicks is not None
            else (text.text, text.source)
            for text in sorted(pair.texts, key=lambda text: -text.weight)[:TEXTS_SHOWN]
        ]
        if len(pair.texts) > TEXTS_SHOWN:
            texts.append(("", f"and {len(pair.texts) - TEXTS_SHOWN} more"))
        entries.append(SheetEntry(picture, texts))
    return ContactSheet(
        title,
        f"{len(entries)} of {len(table):,} images, drawn by a hash of their ids; the notes are "
        "the source and, of queries, clicks of impressions.",
        entries,
    )


def alignment(
    folder: Path | None,
) -> tuple[list[dict[str, Any]], list[ContactSheet], dict[str, Any]]:
    """A panel of similarities, examples on both sides of each bound, and both as figures.

    All are empty where there was no such stage.
    """
    if folder is None or not (folder / FOUND).exists():
        return [], [], {}
    record = json.loads((folder / FOUND).read_text(encoding="utf-8"))
    bounds = record["bounds"]
    span = " to ".join(
        "any" if bound is None else f"{bound:g}" for bound in (bounds["low"], bounds["high"])
    )
    panel = _bins(
        "Similarity",
        f"texts by cosine with their image; kept: {span}",
        [Histogram(tuple(record["edges"]), tuple(record["counts"]))],
    )
    sheets = []
    nearest: dict[str, list[dict[str, Any]]] = {}
    for name, examples in record["nearest"].items():
        nearest[name] = [
            {
                "text": text,
                "similarity": score,
                "kept": score >= bounds[name] if name == "low" else score <= bounds[name],
            }
            for score, text, _ in examples
        ]
        entries = [
            SheetEntry(
                decode_image(base64.b64decode(file)),
                [(text, f"{score:.3f} {'kept' if shown['kept'] else 'dropped'}")],
            )
            for (score, text, file), shown in zip(examples, nearest[name], strict=True)
        ]
        sheets.append(
            ContactSheet(
                f"At the {'lower' if name == 'low' else 'upper'} bound",
                f"Texts whose similarity to their image lies nearest align.{name} = "
                f"{bounds[name]:g}, on both sides of it.",
                entries,
            )
        )
    counted = {name: record[name] for name in ("bounds", "edges", "counts")}
    return [panel], sheets, {"alignment": {**counted, "nearest": nearest}}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as group.name: value."""
    flattened: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flattened |= flat(value, f"{prefix}{name}.")
        else:
            flattened[prefix + name] = str(value)
    return flattened


def _tiles(stats: CorpusStats) -> list[tuple[str, str, str]]:
    tiles = [
        ("images", number(stats.images), ""),
        ("texts", number(stats.texts), f"{stats.texts / max(stats.images, 1):.2f} an image"),
        ("distinct texts", f"{100 * stats.distinct_texts / max(stats.texts, 1):.0f}", "%"),
        ("characters a text", f"{stats.mean_length:.1f}", ""),
        ("words with meaning", f"{100 * stats.content_share:.0f}", "%"),
    ]
    if stats.impressions:
        tiles.append(("clicks", number(stats.clicks), f"of {number(stats.impressions)}"))
    return tiles


def _stage(stage: StageCount) -> dict[str, Any]:
    order = sorted(stage.dropped.items(), key=lambda item: (-item[1], item[0]))
    shown = {**stage.to_dict(), "dropped": order, "examples": stage.examples}
    return {**shown, "sums": _sums(stage)}


def _sums(stage: StageCount) -> dict[str, Any]:
    """Clicks and impressions of a stage in words: seen, kept, and dropped by rule; or nothing."""
    if not stage.flows:
        return {}
    clicks, shown = stage.flows["clicks"], stage.flows["impressions"]
    rules = [*clicks.dropped, *shown.dropped]
    dropped = {
        rule: clicks_of(clicks.dropped.get(rule, 0), shown.dropped.get(rule, 0)) for rule in rules
    }
    others = [(rule, words) for rule, words in dropped.items() if rule not in stage.dropped]
    if clicks.added or shown.added:
        joined = clicks_of(clicks.added, shown.added)
        others.append(("added from copies whose queries did not rank", joined))
    return {
        "seen": clicks_of(clicks.seen, shown.seen),
        "kept": clicks_of(clicks.kept, shown.kept),
        "dropped": dropped,
        "others": others,
    }


def _panels(stats: Sequence[CorpusStats]) -> list[dict[str, Any]]:
    """Bars of the first corpus, and of the second beside them, in shares."""
    if not stats:
        return []
    panels = [
        _counts("Splits", "images", [corpus.splits for corpus in stats]),
        _counts("Sources", "texts", [corpus.sources for corpus in stats]),
        _bins("Texts an image", "images by how many texts they have",
              [corpus.texts_an_image for corpus in stats], whole=True),
        _bins("Length", "texts by characters", [corpus.lengths for corpus in stats], whole=True),
        _bins("Size", "images by their shorter side in pixels", [corpus.sides for corpus in stats],
              whole=True),
        _bins("Click-through rate", "queries by smoothed CTR", [corpus.ctr for corpus in stats]),
    ]  # fmt: skip
    if any(corpus.labels for corpus in stats):
        panels.append(_counts("Labels", "1 match, 0 not", [corpus.labels for corpus in stats]))
    if all(corpus.balance is not None for corpus in stats):
        panels.append(_balance(stats))
    return [panel for panel in panels if panel["rows"]]


def _balance(stats: Sequence[CorpusStats]) -> dict[str, Any]:
    balances = [corpus.balance for corpus in stats if corpus.balance is not None]
    about = "; ".join(
        f"{balance.pictures:,} pictures in {balance.clusters} clusters by {balance.features}: "
        f"evenness {balance.evenness:.3f}, the largest tenth holds "
        f"{100 * balance.largest_tenth:.0f}%"
        for balance in balances
    )
    largest = max(max(balance.shares) for balance in balances)
    rows = []
    for cluster in range(0, max(balance.clusters for balance in balances), 8):
        cells = [
            (100 * share / largest, f"{100 * share:.1f}%")
            for balance in balances
            for share in [balance.shares[cluster] if cluster < balance.clusters else 0.0]
        ]
        rows.append((f"cluster {cluster + 1}", cells))
    return {"title": "Balance", "about": about, "rows": rows}


def _counts(title: str, about: str, columns: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    names = sorted({name for counts in columns for name in counts})
    table = [[counts.get(name, 0) for name in names] for counts in columns]
    return {"title": title, "about": about, "rows": _rows(names, table)}


def _bins(
    title: str, about: str, columns: Sequence[Histogram], whole: bool = False
) -> dict[str, Any]:
    """Bars of a histogram; `whole`: of whole numbers, whose bins end one below the next edge."""
    edges = columns[0].edges
    labels = [
        _edge(low) if whole and high - low == 1 else f"{_edge(low)} – {_edge(high - whole)}"
        for low, high in pairwise(edges)
    ]
    labels.append(f"{_edge(edges[-1])} or more")
    table = [list(histogram.counts) for histogram in columns]
    filled = [i for i in range(len(labels)) if any(counts[i] for counts in table)]
    if not filled:
        return {"title": title, "about": about, "rows": []}
    shown = range(filled[0], filled[-1] + 1)
    rows = _rows([labels[i] for i in shown], [[counts[i] for i in shown] for counts in table])
    return {"title": title, "about": about, "rows": rows}


def _edge(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:g}"


def _rows(
    labels: Sequence[str], table: Sequence[Sequence[int]]
) -> list[tuple[str, list[tuple[float, str]]]]:
    """Bars in shares of each corpus, so that a small one can stand beside a large one."""
    shares = [[count / max(sum(counts), 1) for count in counts] for counts in table]
    largest = max((share for row in shares for share in row), default=0.0) or 1.0
    alone = len(table) == 1
    return [
        (
            label,
            [
                (100 * row[i] / largest, number(counts[i]) if alone else f"{100 * row[i]:.1f}%")
                for row, counts in zip(shares, table, strict=True)
            ],
        )
        for i, label in enumerate(labels)
    ]
