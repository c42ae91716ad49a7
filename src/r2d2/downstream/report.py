"""Write the report of a set: what was left out, what its splits share, and some of its pairs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from r2d2.corpus.report.report import flat
from r2d2.corpus.report.sample import numbers
from r2d2.downstream.make import DownstreamSet, report_file
from r2d2.files import write_text
from r2d2.images.decode import BadImage, decode_image
from r2d2.page import template
from r2d2.table import PairsTable

SHOWN = 12  # the number of pictures that the report shows
NAMES = {
    "icm": "image-caption matching",
    "iqm": "image-query matching",
    "icr": "image-caption retrieval",
    "iqr": "image-query retrieval",
}


def write_set_report(made: DownstreamSet) -> Path:
    """Write the report as HTML beside the set, and its figures as JSON; return the HTML's path."""
    home, page = Path(made.path), report_file(made.path)
    shared = [fact for fact in made.check.facts if fact.parts]
    facts = [fact for fact in made.check.facts if not fact.parts]
    name = NAMES[made.config.task]
    html = template("r2d2.downstream", "report.html").render(
        title=home.name,
        about=f"A set for {name} ({made.config.task.upper()}).",
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tiles=_tiles(made),
        stages=[stage.to_dict() for stage in made.stages],
        shared=shared,
        columns=list(dict.fromkeys(kind for fact in shared for kind in fact.parts)),
        facts=facts,
        findings=made.check.findings,
        verdict=made.check.verdict,
        items=_items(made),
        settings=flat(asdict(made.config)),
    )
    data = {
        "set": made.path,
        "pairs": made.pairs,
        "pictures": made.pictures,
        "splits": made.splits,
        "groups": made.groups,
        "largest_group": made.largest_group,
        "stages": [stage.to_dict() for stage in made.stages],
        "similarity": {
            name: None if math.isnan(value) else value
            for name, value in (
                ("match", made.hardness.match), ("non_match", made.hardness.other),
            )
        },
        "near_negatives": made.hardness.near,
        "kept_apart_from": list(made.excluded),
        "check": json.loads(made.check.json()),
        "config": asdict(made.config),
    }  # fmt: skip
    write_text(page.with_suffix(".json"), json.dumps(data, ensure_ascii=False, indent=1))
    write_text(page, html)
    return page


def _tiles(made: DownstreamSet) -> list[tuple[str, str, str]]:
    splits = " / ".join(f"{made.splits.get(name, 0):,}" for name in ("train", "val", "test"))
    tiles = [
        ("pairs", f"{made.pairs:,}", "half of them matches" if made.config.matching else ""),
        ("pictures", f"{made.pictures:,}", ""),
        ("train / val / test", splits, "pairs"),
        ("groups of like pictures", f"{made.groups:,}", f"largest {made.largest_group:,}"),
    ]
    if not math.isnan(made.hardness.match):
        tiles.append(
            ("cosine, match and not",
             f"{made.hardness.match:.2f} / {made.hardness.other:.2f}", "")
        )  # fmt: skip
    return tiles


def _items(made: DownstreamSet) -> list[dict[str, Any]]:
    """Return SHOWN pictures, drawn by a hash of their id, with their true and wrong texts."""
    table = PairsTable.open(made.path)
    ids = table.image_ids(table.rows())
    rows_of: dict[str, list[int]] = {}
    for row, image_id in enumerate(ids):
        rows_of.setdefault(image_id, []).append(row)
    names = sorted(rows_of)
    draws = numbers(names, made.config.seed, "sheet").tolist()
    chosen = [name for _, name in sorted(zip(draws, names, strict=True))[:SHOWN]]
    items = []
    for name in chosen:
        pairs = table.take(rows_of[name])
        try:
            picture = decode_image(pairs[0].image)
        except BadImage:
            continue
        texts = sorted(
            ((pair.texts[0].text, pair.label, pair.split) for pair in pairs),
            key=lambda text_label_split: -(text_label_split[1] or 0),
        )
        items.append({"picture": picture, "texts": texts})
    return items
