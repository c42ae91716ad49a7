"""A dataset card: what a corpus holds, what was dropped on the way, how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.funnel import StageCount, clicks_of
from r2d2.corpus.report.report import flat
from r2d2.corpus.report.stats import CorpusStats
from r2d2.files import write_text


def write_card(
    path: Path,
    name: str,
    stats: CorpusStats,
    funnel: Sequence[StageCount],
    config: CorpusConfig,
    logs: Sequence[str],
) -> None:
    """Write a Markdown card with the front matter that data hubs read."""
    changed = _changed(config)
    rows = "\n".join(
        f"| {stage.stage} | {stage.unit} | {stage.seen:,} | {stage.kept:,} | "
        + ("; ".join(f"{rule} {n:,}" for rule, n in stage.dropped.items()) or "none")
        + f" | {_sums(stage)} |"
        for stage in funnel
    )
    settings = " ".join(f"--set {key}={value}" for key, value in changed.items())
    text = f"""---
language: [zh]
task_categories: [image-to-text, text-to-image, zero-shot-image-classification]
pretty_name: {name}
size_categories: [{_size(stats.images)}]
---

# {name}

{stats.images:,} images with {stats.texts:,} Chinese texts
({", ".join(f"{source} {count:,}" for source, count in stats.sources.items())}),
{"ranked by click-through rate" if config.rank.active else "from a crawl without clicks"}.
Splits: {", ".join(f"{split} {count:,}" for split, count in stats.splits.items())}.

A row is an image (`image_id`, `image`, `url`, `width`, `height`), its texts (`text`, `source`,
`weight`, `clicks`, `impressions`), `ctr` and `split`. A query's weight is its smoothed
click-through rate, by which training draws it.

## How it was made

```sh
r2d2 corpus build LOGS --out {name} --preset {config.preset} {settings}
```

{len(logs)} log file{"s" if len(logs) != 1 else ""}. What each stage saw, kept and dropped:

| stage | of | seen | kept | dropped | left after it |
|---|---|---|---|---|---|
{rows}

## Before you use it

The images are their owners': say here under which terms they may be used. Filters for harmful words
and pictures miss some, and people may be recognisable. Texts from clicks repeat what the people who
searched believe.
"""
    write_text(path, text)


def _sums(stage: StageCount) -> str:
    """The clicks and impressions that are left; nothing where nothing was shown."""
    if not stage.flows:
        return ""
    return clicks_of(stage.flows["clicks"].kept, stage.flows["impressions"].kept)


def _changed(config: CorpusConfig) -> dict[str, str]:
    """Settings that the preset alone does not give."""
    from r2d2.corpus.config import make_corpus_config

    plain = flat(asdict(make_corpus_config(config.preset)))
    return {name: value for name, value in flat(asdict(config)).items() if plain.get(name) != value}


def _size(images: int) -> str:
    """The hub's classes of size."""
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    edges = zip((10**power for power in range(3, 9)), names, strict=True)
    return next((name for edge, name in edges if images < edge), "100M<n<1B")
