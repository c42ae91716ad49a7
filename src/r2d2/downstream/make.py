"""Make a downstream set from a pairs table, and check that it shares nothing with other tables."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from r2d2.checks.against import table_hashes
from r2d2.checks.base import CheckOptions
from r2d2.checks.run import CheckReport, check_table
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.align import EmbeddingModel
from r2d2.corpus.report.sample import numbers
from r2d2.downstream.candidates import (
    NO_TEXT,
    Candidate,
    pick,
    read_candidates,
    set_apart,
)
from r2d2.downstream.config import RADIUS, DownstreamConfig
from r2d2.downstream.groups import split_groups
from r2d2.downstream.likeness import PerceptualDuplicates
from r2d2.downstream.negatives import Floats, KnownTexts, WrongTexts, deal
from r2d2.downstream.picture_groups import picture_groups
from r2d2.errors import R2D2Error
from r2d2.outputs import Output, a_file, a_table, check_outputs
from r2d2.progress import Update
from r2d2.table import Pair, PairsTable, Text, write_table

CHUNK = 256  # how many pictures are in memory at a time
METADATA = "r2d2.downstream"  # the metadata key of a set's table that has the set's settings


@dataclass(frozen=True)
class Hardness:
    """How similar the pairs are by the model that chose the negatives; NaN without a model."""

    match: float = float("nan")  # mean cosine of matches
    other: float = float("nan")  # mean cosine of non-matches
    near: int = 0  # how many non-matches have one of the nearest texts


@dataclass(frozen=True)
class DownstreamSet:
    """A set that was written, and its figures."""

    path: str
    config: DownstreamConfig
    pairs: int
    pictures: int
    splits: dict[str, int]  # the number of pairs of each split
    groups: int
    largest_group: int
    stages: tuple[StageCount, ...]
    hardness: Hardness
    check: CheckReport
    excluded: tuple[str, ...] = field(default=())


def set_outputs(out: str | Path) -> list[Output]:
    """Return everything that making a set writes: the table, and the report beside it."""
    page = report_file(out)
    return [a_table(out), a_file(page, ".html"), a_file(page.with_suffix(".json"), ".json")]


def report_file(out: str | Path) -> Path:
    """Return the path of the report of a set."""
    home = Path(out)
    return home.with_name(home.name + ".report.html")


def make_set(
    table: PairsTable,
    out: str | Path,
    config: DownstreamConfig,
    *,
    exclude: Sequence[str | Path] = (),
    model: EmbeddingModel | None = None,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> DownstreamSet:
    """Write a set and check it; return its figures and the report of the check.

    Args:
        table: the pairs that the set is made from.
        out: the table to write.
        config: the task and its settings.
        exclude: tables that the set must not share pictures with.
        model: chooses hard negatives.
        overwrite: whether a table at `out` is replaced.
        update: is told the progress.

    Raises:
        R2D2Error: hard negatives without a model, too few pictures for the split, or `out` exists.
    """
    if config.negatives.kind == "hard" and config.matching and model is None:
        raise R2D2Error("hard negatives need a model: give --model, or negatives.kind=random")
    if config.matching and (config.size or 0) % 2:
        raise R2D2Error(f"size is {config.size}: matches and non-matches are as many, give it even")
    check_outputs(set_outputs(out), inputs=[table.path, *exclude], overwrite=overwrite)
    near = PerceptualDuplicates(config.same.radius)
    known = tuple(table_hashes(path, near, update) for path in exclude)
    candidates, seen, read = read_candidates(table, config, update)
    candidates, apart = set_apart(candidates, known, config)
    stages = [read, *apart]
    count = None
    if config.size is not None:
        count = config.size // 2 if config.matching else config.size
    picked = pick(candidates, count, config)
    if len(picked) < len(candidates):
        dropped = {"more than were asked for": len(candidates) - len(picked)}
        stages.append(StageCount("pick", "pictures", len(candidates), len(picked), dropped))
    if not picked:
        raise R2D2Error(_nothing(table, stages))
    groups, group_texts = picture_groups(picked, seen, config.same.radius)
    ids = [candidate.image_id for candidate in picked]
    splits = split_groups(ids, groups, config.split, config.seed)
    rows = [_SetRow(n, n, split) for n, split in enumerate(splits)]
    hardness = Hardness()
    if config.matching:
        embedder = None if model is None else _Embedder(table, picked, model, update)
        texts = KnownTexts([candidate.key for candidate in picked], group_texts, groups)
        dealt = _deal(picked, texts, splits, config, embedder)
        lost = sorted({int(n) for wrong_texts in dealt for n in wrong_texts.left})
        if lost:
            stages.append(_lost(picked, lost))
        rows = _labelled(dealt, splits)
        hardness = _hardness(dealt, embedder)
        _enough(rows, splits, table)
    rows = _shuffled(rows, ids, config.seed)
    metadata = {METADATA: json.dumps(_noted(table, config, exclude), ensure_ascii=False)}
    write_table(
        out, _pairs(table, picked, rows, update), overwrite=overwrite,
        metadata=table.metadata | metadata,
    )  # fmt: skip
    report = check_table(out, update, CheckOptions(near=near, against=known), pictures=len(rows))
    sizes = np.unique(groups, return_counts=True)[1]
    return DownstreamSet(
        str(out), config, len(rows), len({row.picture for row in rows}),
        dict(sorted(Counter(row.split for row in rows).items())), len(sizes), int(sizes.max()),
        tuple(stages), hardness, report, tuple(str(path) for path in exclude),
    )  # fmt: skip


def set_radius(table: PairsTable) -> int | None:
    """Return the radius in bits of near pictures of a set; None for other tables."""
    noted = set_config(table)
    same = {} if noted is None else noted.get("same")
    bits = same.get("radius") if isinstance(same, dict) else None
    lowest, highest = RADIUS
    return bits if isinstance(bits, int) and lowest <= bits <= highest else None


def set_config(table: PairsTable) -> dict[str, object] | None:
    """Read the settings of a set from its table; None where the table is not a downstream set."""
    noted = table.metadata.get(METADATA)
    try:
        config = None if noted is None else json.loads(noted)
    except (ValueError, RecursionError):  # written by another program, or damaged
        return None
    return config if isinstance(config, dict) else None


@dataclass(frozen=True)
class _SetRow:
    """A pair of the set, by the positions of its picture and of its text."""

    picture: int
    text: int
    split: str
    label: int | None = None


class _Embedder:
    """Embeds the pictures and the texts at positions of the set."""

    def __init__(
        self, table: PairsTable, picked: Sequence[Candidate], model: EmbeddingModel, update: Update
    ) -> None:
        self.table, self.picked, self.model, self.update = table, picked, model, update
        self.done = 0

    def __call__(self, positions: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the embeddings (n, d) of the pictures, and (n, d) of the texts."""
        images, texts = [], []
        for start in range(0, len(positions), CHUNK):
            chunk = [self.picked[n] for n in positions[start : start + CHUNK]]
            pairs = self.table.take([candidate.row for candidate in chunk], ("image",))
            images.append(self.model.encode_images([pair.image for pair in pairs]))
            texts.append(self.model.encode_texts([candidate.text.text for candidate in chunk]))
            self.done += len(chunk)
            self.update("embedding", self.done, None)
        return np.concatenate(images), np.concatenate(texts)


def _deal(
    picked: Sequence[Candidate],
    texts: KnownTexts,
    splits: Sequence[str],
    config: DownstreamConfig,
    embedder: _Embedder | None,
) -> list[WrongTexts]:
    hard = embedder if config.negatives.kind == "hard" else None
    dealt = []
    for split in sorted(set(splits)):
        pictures = [n for n, name in enumerate(splits) if name == split]
        image_ids = [candidate.image_id for candidate in picked]
        dealt.append(deal(pictures, texts, image_ids, config, hard))
    return dealt


def _labelled(dealt: Sequence[WrongTexts], splits: Sequence[str]) -> list[_SetRow]:
    rows = []
    for wrong_texts in dealt:
        pairs = zip(wrong_texts.picture.tolist(), wrong_texts.text.tolist(), strict=True)
        for picture, text in pairs:
            rows.append(_SetRow(picture, picture, splits[picture], 1))
            rows.append(_SetRow(picture, text, splits[picture], 0))
    return rows


def _hardness(dealt: Sequence[WrongTexts], embedder: _Embedder | None) -> Hardness:
    """Compute the mean cosines over at most CHUNK pictures of each split."""
    if embedder is None:
        return Hardness()
    match: list[float] = []
    other: list[float] = []
    for of_split in dealt:
        positions = of_split.picture[:CHUNK].tolist()
        if not positions:
            continue
        images, texts = embedder(positions)
        wrong = embedder(of_split.text[:CHUNK].tolist())[1]
        match += (images * texts).sum(1).tolist()
        other += (images * wrong).sum(1).tolist()
    near = sum(of_split.near for of_split in dealt)
    return Hardness(float(np.mean(match)), float(np.mean(other)), near)


def _lost(picked: Sequence[Candidate], lost: Sequence[int]) -> StageCount:
    why = "no text that is surely not true of it"
    examples = {why: tuple(picked[n].text.text for n in lost[:3])}
    left = len(picked) - len(lost)
    return StageCount("negatives", "pictures", len(picked), left, {why: len(lost)}, examples)


def _enough(rows: Sequence[_SetRow], splits: Sequence[str], table: PairsTable) -> None:
    counts = Counter(row.split for row in rows)
    for split in sorted(set(splits)):
        if not counts[split]:
            raise R2D2Error(
                f"{table.path}: the {splits.count(split)} pictures of '{split}' have no text that "
                "is surely not true of another: add pictures, or loosen same.jaccard"
            )


def _shuffled(rows: Sequence[_SetRow], ids: Sequence[str], seed: int) -> list[_SetRow]:
    """Sort the rows by a hash, so that their order does not tell the labels."""
    draws = numbers([f"{ids[row.picture]}\0{ids[row.text]}" for row in rows], seed, "order")
    return [rows[n] for n in np.argsort(draws, kind="stable").tolist()]


def _pairs(
    table: PairsTable, picked: Sequence[Candidate], rows: Sequence[_SetRow], update: Update
) -> Iterator[Pair]:
    pairs = table.stream([picked[row.picture].row for row in rows], stage="writing", update=update)
    for row, pair in zip(rows, pairs, strict=True):
        picture_text, text = picked[row.picture].text, picked[row.text].text
        if row.label is not None:
            pair, text = _with_clicks_of(pair, picture_text), _without_source(text)
        elif text.text_id is None:
            text = replace(text, text_id=pair.image_id)
        yield replace(pair, texts=(text,), split=row.split, label=row.label)


def _with_clicks_of(pair: Pair, text: Text) -> Pair:
    """Return a row with the clicks of the true text of its picture, whatever text it has."""
    if text.clicks is None:
        return pair
    return replace(pair, clicks=text.clicks, impressions=text.impressions)


def _without_source(text: Text) -> Text:
    """Return a text without its clicks, and with an id that is a hash of the text alone.

    The id of a text often contains the id of its picture, and its clicks are those of the picture.
    So one could read the label from whether text and picture agree in them.
    """
    digest = hashlib.blake2b(text.text.encode(), digest_size=8).hexdigest()
    return Text(text.text, text.source, text_id=digest)


def _noted(
    table: PairsTable, config: DownstreamConfig, exclude: Sequence[str | Path]
) -> dict[str, object]:
    return {
        **asdict(config),
        "table": Path(table.path).name,
        "fingerprint": table.fingerprint,
        "apart_from": [Path(path).name for path in exclude],
    }


def _nothing(table: PairsTable, stages: Sequence[StageCount]) -> str:
    why = "; ".join(
        f"{reason} {count:,}" for stage in stages for reason, count in stage.dropped.items()
    )
    texts = any(NO_TEXT in stage.dropped for stage in stages)
    return (
        f"{table.path} is too small: not one picture with a text that fits ({why or 'no row'}): "
        + ("see text.sources, text.least and text.most" if texts else "give a table with more")
    )
