"""Which pictures are kept: one decode a picture, after which all that later stages ask is known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from r2d2.corpus.config import ImageConfig
from r2d2.corpus.funnel import EXAMPLES, StageCount
from r2d2.corpus.harmful import harmful
from r2d2.corpus.phash import perceptual_hashes
from r2d2.corpus.rows import IMAGES, part_file, read_images, write_images
from r2d2.data.images import BadImage, decode_image

MEASURED = pa.schema(
    [
        ("image_id", pa.string()),
        ("url", pa.string()),
        ("image", pa.large_binary()),
        ("width", pa.int32()),  # pixels
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("phash", pa.uint64()),
        ("std", pa.float32()),  # of the grey values, 0 to 255
        ("entropy", pa.float32()),  # bits, of the histogram of grey values
        ("sharpness", pa.float32()),  # variance of the Laplacian
        ("harmful", pa.float32()),  # probability; null where it was not asked
    ]
)
BATCH = 32  # pictures that the classifier sees at once
NO_FILE = "no file"


@dataclass(frozen=True)
class Looks:
    """What a picture measures."""

    width: int
    height: int
    std: float
    entropy: float
    sharpness: float


def measure(picture: Image.Image, sharpness_side: int = 256) -> Looks:
    """Measure an RGB picture.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., 2000) where the longer side has
    `sharpness_side` pixels; a smaller picture keeps its size.
    """
    grey = picture.convert("L")
    values = np.asarray(grey)
    counts = np.bincount(values.reshape(-1), minlength=256)
    shares = counts[counts > 0] / values.size
    scale = min(1.0, sharpness_side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float64)
    return Looks(
        width=picture.width,
        height=picture.height,
        std=float(values.std()),
        entropy=float(-(shares * np.log2(shares)).sum()),
        sharpness=float(_laplacian(small).var()) if min(small.shape) > 2 else 0.0,
    )


def judge(looks: Looks, config: ImageConfig) -> str | None:
    """The rule that drops a picture; None: it is kept."""
    low, high = sorted((looks.width, looks.height))
    if config.min_side is not None and low < config.min_side:
        return "too small"
    if config.max_aspect is not None and high > config.max_aspect * low:
        return "too long"
    if config.min_std is not None and looks.std < config.min_std:
        return "near blank"
    if config.min_entropy is not None and looks.entropy < config.min_entropy:
        return "low entropy"
    if config.min_sharpness is not None and looks.sharpness < config.min_sharpness:
        return "blurred"
    return None


@dataclass(frozen=True)
class ImageWork:
    """The pictures of a part: decoded, measured, judged; those kept with their measures."""

    config: ImageConfig

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_parts`."""
        part = int(job["part"])
        out = part_file(Path(job["out"]), IMAGES, part)
        dropped: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        seen = kept = 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal seen, kept
            for batch in _batches(read_images(part_file(Path(job["images"]), IMAGES, part))):
                for row, rule, fields in self._look(batch):
                    seen += 1
                    if rule is None:
                        kept += 1
                        yield {**{n: row.get(n) for n in ("image_id", "url", "image")}, **fields}
                        continue
                    dropped[rule] += 1
                    shown = examples.setdefault(rule, [])
                    if len(shown) < EXAMPLES:
                        shown.append(row.get("url") or row.get("path") or row["image_id"])

        write_images(out, MEASURED, rows())
        told = {rule: tuple(found) for rule, found in examples.items()}
        return StageCount("image filter", "images", seen, kept, dict(dropped), told)

    def _look(
        self, batch: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], str | None, dict[str, Any]]]:
        """Each row with the rule that drops it, or None and its measures."""
        config = self.config
        rules: list[str | None] = []
        found: list[dict[str, Any]] = []
        pictures: dict[int, Image.Image] = {}
        for place, row in enumerate(batch):
            rule, fields, picture = self._one(row)
            rules.append(rule)
            found.append(fields)
            if rule is None and picture is not None:
                pictures[place] = picture
        if config.enabled and config.max_harmful is not None and pictures:
            scores = harmful(list(pictures.values()), config.harmful_model)
            for place, score in zip(pictures, scores.tolist(), strict=True):
                found[place]["harmful"] = score
                if score > config.max_harmful:
                    rules[place] = "harmful"
        yield from zip(batch, rules, found, strict=True)

    def _one(self, row: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], Image.Image | None]:
        data = row.get("image")
        if not data:
            return NO_FILE, {}, None
        try:
            picture = decode_image(data, max_pixels=self.config.max_pixels)
        except BadImage as error:
            return error.kind, {}, None
        looks = measure(picture, self.config.sharpness_side)
        rule = judge(looks, self.config) if self.config.enabled else None
        fields = {
            **looks.__dict__,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "phash": int(perceptual_hashes([picture])[0]),
            "harmful": None,
        }
        return rule, fields, picture


def _laplacian(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    around = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return around - 4 * x[1:-1, 1:-1]


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == BATCH:
            yield held
            held = []
    if held:
        yield held
