"""Make a downstream set of a pairs table, and check it against the tables it must differ from."""

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

CHUNK = 256  # pictures in memory
METADATA = "r2d2.downstream"  # the key under which a set's table keeps how it was made


@dataclass(frozen=True)
class Hardness:
    """Similarities of the pairs by the model that chose the negatives; NaN without a model."""

    match: float = float("nan")  # mean cosine of matches
    other: float = float("nan")  # of non-matches
    near: int = 0  # non-matches that are among the model's nearest


@dataclass(frozen=True)
class DownstreamSet:
    """A set that was written, and its figures."""

    path: str
    config: DownstreamConfig
    pairs: int
    pictures: int
    splits: dict[str, int]  # pairs
    groups: int
    largest_group: int
    stages: tuple[StageCount, ...]
    hardness: Hardness
    check: CheckReport
    excluded: tuple[str, ...] = field(default=())


def set_outputs(out: str | Path) -> list[Output]:
    """All that making a set writes: the table, and the report beside it."""
    page = report_file(out)
    return [a_table(out), a_file(page, ".html"), a_file(page.with_suffix(".json"), ".json")]


def report_file(out: str | Path) -> Path:
    """Where the report of a set stands."""
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
    """Write a set and check it; returns its figures and the report of the check.

    Args:
        table: pairs to make it of.
        out: the table to write.
        config: of the task.
        exclude: tables that the set shares no picture with.
        model: for hard negatives.
        overwrite: replace a table at `out`.
        update: progress.

    Raises:
        R2D2Error: hard negatives without a model, too few pictures for the split, or something
            stands at `out`.
    """
    if config.negatives.kind == "hard" and config.matching and model is None:
        raise R2D2Error("hard negatives need a model: give --model, or negatives.kind=random")
    if config.matching and (config.size or 0) % 2:
        raise R2D2Error(f"size is {config.size}: matches and non-matches are as many, give it even")
    check_outputs(set_outputs(out), inputs=[table.path, *exclude], overwrite=overwrite)
    look = PerceptualDuplicates(config.same.radius)
    known = tuple(table_hashes(path, look, update) for path in exclude)
    candidates, seen, read = read_candidates(table, config, update)
    candidates, apart = set_apart(candidates, known, config)
    stages = [read, *apart]
    wanted = None
    if config.size is not None:
        wanted = config.size // 2 if config.matching else config.size
    picked = pick(candidates, wanted, config)
    if len(picked) < len(candidates):
        dropped = {"more than were asked for": len(candidates) - len(picked)}
        stages.append(StageCount("pick", "pictures", len(candidates), len(picked), dropped))
    if not picked:
        raise R2D2Error(_nothing(table, stages))
    groups, own = picture_groups(picked, seen, config.same.radius)
    ids = [one.image_id for one in picked]
    splits = split_groups(ids, groups, config.split, config.seed)
    rows = [_SetRow(n, n, split) for n, split in enumerate(splits)]
    hardness = Hardness()
    if config.matching:
        embedder = None if model is None else _Embedder(table, picked, model, update)
        dealt = _deal(
            picked, KnownTexts([one.key for one in picked], own, groups), splits, config, embedder
        )
        lost = sorted({int(n) for one in dealt for n in one.left})
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
    report = check_table(out, update, CheckOptions(near=look, against=known), pictures=len(rows))
    sizes = np.unique(groups, return_counts=True)[1]
    return DownstreamSet(
        str(out), config, len(rows), len({row.picture for row in rows}),
        dict(sorted(Counter(row.split for row in rows).items())), len(sizes), int(sizes.max()),
        tuple(stages), hardness, report, tuple(str(path) for path in exclude),
    )  # fmt: skip


def set_radius(table: PairsTable) -> int | None:
    """The bits within which a set's pictures count as near; None where it is no downstream set."""
    noted = set_config(table)
    same = {} if noted is None else noted.get("same")
    bits = same.get("radius") if isinstance(same, dict) else None
    lowest, highest = RADIUS
    return bits if isinstance(bits, int) and lowest <= bits <= highest else None


def set_config(table: PairsTable) -> dict[str, object] | None:
    """How a set was made, from its table; None where it is no downstream set."""
    noted = table.metadata.get(METADATA)
    try:
        config = None if noted is None else json.loads(noted)
    except (ValueError, RecursionError):  # somebody else's, or damaged: no set of ours
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
    """Embeddings of pictures and of texts, by position."""

    def __init__(
        self, table: PairsTable, picked: Sequence[Candidate], model: EmbeddingModel, update: Update
    ) -> None:
        self.table, self.picked, self.model, self.update = table, picked, model, update
        self.done = 0

    def __call__(self, positions: Sequence[int]) -> tuple[Floats, Floats]:
        """Embeddings (n, d) of pictures, and of texts."""
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
        dealt.append(deal(pictures, texts, [one.image_id for one in picked], config, hard))
    return dealt


def _labelled(dealt: Sequence[WrongTexts], splits: Sequence[str]) -> list[_SetRow]:
    rows = []
    for one in dealt:
        for picture, text in zip(one.picture.tolist(), one.text.tolist(), strict=True):
            rows.append(_SetRow(picture, picture, splits[picture], 1))
            rows.append(_SetRow(picture, text, splits[picture], 0))
    return rows


def _hardness(dealt: Sequence[WrongTexts], embedder: _Embedder | None) -> Hardness:
    """Mean cosines over at most a chunk of pictures a split."""
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
    told = {why: tuple(picked[n].text.text for n in lost[:3])}
    left = len(picked) - len(lost)
    return StageCount("negatives", "pictures", len(picked), left, {why: len(lost)}, told)


def _enough(rows: Sequence[_SetRow], splits: Sequence[str], table: PairsTable) -> None:
    counts = Counter(row.split for row in rows)
    for split in sorted(set(splits)):
        if not counts[split]:
            raise R2D2Error(
                f"{table.path}: the {splits.count(split)} pictures of '{split}' have no text that "
                "is surely not true of another: add pictures, or loosen same.jaccard"
            )


def _shuffled(rows: Sequence[_SetRow], ids: Sequence[str], seed: int) -> list[_SetRow]:
    """By hash, so that no order tells a label."""
    draws = numbers([f"{ids[row.picture]}\0{ids[row.text]}" for row in rows], seed, "order")
    return [rows[n] for n in np.argsort(draws, kind="stable").tolist()]


def _pairs(
    table: PairsTable, picked: Sequence[Candidate], rows: Sequence[_SetRow], update: Update
) -> Iterator[Pair]:
    pairs = table.stream([picked[row.picture].row for row in rows], stage="writing", update=update)
    for row, pair in zip(rows, pairs, strict=True):
        own, text = picked[row.picture].text, picked[row.text].text
        if row.label is not None:
            pair, text = _of_its_own(pair, own), _bare(text)
        elif text.text_id is None:
            text = replace(text, text_id=pair.image_id)
        yield replace(pair, texts=(text,), split=row.split, label=row.label)


def _of_its_own(pair: Pair, own: Text) -> Pair:
    """A row of a matching set with the clicks of its picture's own text, whatever text it bears."""
    if own.clicks is None:
        return pair
    return replace(pair, clicks=own.clicks, impressions=own.impressions)


def _bare(text: Text) -> Text:
    """A text without what would tell its picture from another, in both rows that it stands in.

    Ids of texts are often made of the id of their picture, and its clicks are those of the picture,
    so the label could be read from whether they agree. The id is a hash of the text alone.
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
