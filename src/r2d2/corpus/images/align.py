"""Alignment of texts with their images by a model: pairs outside two bounds are dropped.

A low similarity means noise; a high one often means a text that is printed in the picture. The
report shows the histogram, and examples at both bounds, so that a person can set them.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.corpus.clicks.unite import UNITED_IMAGES
from r2d2.corpus.config import AlignConfig
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.keep import NO_TEXT_LEFT, ImageVerdict, keep_images, keep_texts
from r2d2.corpus.rows import IMAGES, PAIRS, part_count, part_file, read_images, read_pairs
from r2d2.corpus.runner import Job, Runner, map_jobs
from r2d2.files import write_text
from r2d2.images.decode import decode_image
from r2d2.progress import Update

EDGES = tuple(round(-0.2 + 0.05 * n, 2) for n in range(24))  # of the histogram
SHOWN = 9  # examples on each side of a bound
SIDE = 256  # pixels of their pictures, at most
IMAGES_AT_ONCE = 64
FOUND = "align.json"
PARTS = "shown"  # folder of what is shown of each part, while they are done
Floats = npt.NDArray[np.float32]


class EmbeddingModel(Protocol):
    """A model as the corpus uses it: embeddings of unit length, without torch."""

    @property
    def fingerprint(self) -> str:
        """Of the weights: what was done by a model of another one is done anew."""

    def encode_images(self, files: Sequence[bytes]) -> Floats:
        """(n, d) of encoded files."""

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """(n, d)."""


@dataclass
class AlignmentSamples:
    """What is shown of the alignment."""

    config: AlignConfig
    counts: list[int] = field(default_factory=lambda: [0] * len(EDGES))
    # (bound, whether above it): (how far from it, similarity, text, encoded file)
    nearest: dict[tuple[str, bool], list[tuple[float, float, str, bytes]]] = field(
        default_factory=dict
    )

    def see(self, file: bytes, texts: Sequence[str], scores: Floats) -> None:
        """Take in the texts of an image."""
        for place in np.clip(np.searchsorted(EDGES, scores, "right") - 1, 0, None).tolist():
            self.counts[place] += 1
        for name, bound in (("low", self.config.low), ("high", self.config.high)):
            if bound is None:
                continue
            for text, score in zip(texts, scores.tolist(), strict=True):
                examples = self.nearest.setdefault((name, score >= bound), [])
                examples.append((abs(score - bound), score, text, file))
                if len(examples) > 4 * SHOWN:
                    examples.sort()
                    del examples[SHOWN:]

    def to_part(self) -> dict[str, Any]:
        """Plain data for JSON, of which `together` puts several in one."""
        nearest = [
            [name, above, distance, score, text, thumbnail(file)]
            for (name, above), examples in sorted(self.nearest.items())
            for distance, score, text, file in sorted(examples)[:SHOWN]
        ]
        return {"counts": self.counts, "nearest": nearest}

    def to_dict(self) -> dict[str, Any]:
        """See `together`."""
        return together(self.config, [self.to_part()])


def together(config: AlignConfig, parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What is shown, of all parts: of each bound the nearest texts on both sides, with pictures."""
    counts = np.zeros(len(EDGES), np.int64)
    sides: dict[tuple[str, bool], list[tuple[float, float, str, str]]] = {}
    for part in parts:
        counts += part["counts"]
        for name, above, *shown in part["nearest"]:
            sides.setdefault((name, above), []).append(tuple(shown))
        sides = {side: sorted(examples)[:SHOWN] for side, examples in sides.items()}
    nearest: dict[str, list[tuple[float, str, str]]] = {}
    for (name, _), examples in sorted(sides.items()):
        nearest.setdefault(name, []).extend(shown[1:] for shown in examples)
    ordered = {name: sorted(examples) for name, examples in nearest.items()}
    bounds = {"low": config.low, "high": config.high}
    return {"edges": EDGES, "counts": counts.tolist(), "bounds": bounds, "nearest": ordered}


def thumbnail(file: bytes) -> str:
    """A small JPEG of an encoded image, in base64."""
    picture = decode_image(file)
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode()


def align(
    united: Path,
    out: Path,
    config: AlignConfig,
    model: EmbeddingModel,
    runner: Runner,
    update: Update,
) -> list[StageCount]:
    """Drop texts outside the bounds, and images that lose all.

    Args:
        united: folder of `unite`.
        out: folder to write pairs, images, and `align.json` into.
        config: the bounds.
        model: of both sides; on a cluster it travels to the workers.
        runner: who does it; on one machine this process, where the model takes all cores by itself.
        update: progress.

    Returns:
        Counts of texts, then of images.
    """
    jobs = [
        {"united": str(united), "out": str(out), "part": str(part)}
        for part in range(part_count(united))
    ]
    runner = runner if runner.cluster else Runner()
    work = AlignPart(config, model)
    counts = map_jobs(work, jobs, runner, "aligning", update, holds_model=True)
    parts = (json.loads(_found_file(job).read_text(encoding="utf-8")) for job in jobs)
    write_text(out / FOUND, json.dumps(together(config, parts), ensure_ascii=False))
    shutil.rmtree(out / PARTS, ignore_errors=True)
    none = [StageCount("align", unit, 0, 0) for unit in ("texts", "images")]
    return [add_counts(of_stage) for of_stage in zip(none, *counts, strict=True)]


@dataclass(frozen=True)
class AlignPart:
    """The texts of a part that lie within the bounds, and their images."""

    config: AlignConfig
    model: EmbeddingModel

    def __call__(self, job: Job) -> tuple[StageCount, StageCount]:
        """See `map_jobs`; gives the counts of texts and of images."""
        united, part = Path(job["united"]), int(job["part"])
        pairs, files = (part_file(united, kind, part) for kind in (PAIRS, IMAGES))
        samples = AlignmentSamples(self.config)
        rows = read_pairs(pairs)
        rules = list(_rules(rows, files, self.config, self.model, samples))
        texts = keep_texts(job, rows, rules, "align")
        ids = rows["image_id"].to_pylist()
        wanted = {image for image, rule in zip(ids, rules, strict=True) if rule is None}
        verdicts = (
            ImageVerdict(row, None if row["image_id"] in wanted else NO_TEXT_LEFT)
            for row in read_images(files)
        )
        images = keep_images(job, verdicts, UNITED_IMAGES, "align")
        write_text(_found_file(job), json.dumps(samples.to_part(), ensure_ascii=False))
        return texts, images


def _found_file(job: Job) -> Path:
    """Where what is shown of a part lies until all parts are done."""
    return Path(job["out"]) / PARTS / f"part-{int(job['part']):04d}.json"


def _rules(
    rows: pa.Table,
    files: Path,
    config: AlignConfig,
    model: EmbeddingModel,
    samples: AlignmentSamples,
) -> Iterator[str | None]:
    """For each pair of a part the bound that it crosses."""
    together = zip(rows["image_id"].to_pylist(), rows["text"].to_pylist(), strict=True)
    groups = itertools.groupby(together, key=lambda pair: pair[0])
    by_image = (
        (image_id, [text for _, text in texts_of_image]) for image_id, texts_of_image in groups
    )
    images = (row["image"] for row in read_images(files, ["image"]))
    low, high = (np.inf if b is None else b for b in (config.low, config.high))
    while batch := list(itertools.islice(by_image, IMAGES_AT_ONCE)):
        shown = list(itertools.islice(images, len(batch)))
        seen = model.encode_images(shown)
        read = model.encode_texts([text for _, texts in batch for text in texts])
        place = 0
        for (_, texts), file, image in zip(batch, shown, seen, strict=True):
            scores = read[place : place + len(texts)] @ image
            place += len(texts)
            samples.see(file, texts, scores)
            for score in scores.tolist():
                if low != np.inf and score < low:
                    yield "similarity too low"
                else:
                    yield "similarity too high" if score > high else None
