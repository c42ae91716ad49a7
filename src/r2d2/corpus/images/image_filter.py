"""Which pictures are kept: one decode a picture, after which all that later stages ask is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from r2d2.corpus.config import ImageConfig
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.harmful import harmful, open_classifier
from r2d2.corpus.images.phash import perceptual_hashes
from r2d2.corpus.keep import ImageVerdict, keep_images
from r2d2.corpus.rows import IMAGES, part_file, read_images
from r2d2.corpus.stages import StageContext
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.ids import content_id

MEASURED = pa.schema(
    [
        ("image_id", pa.string()),
        ("final_id", pa.string()),  # that the image has in the table
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
        ("clicks", pa.int64()),  # of its queries
        ("impressions", pa.int64()),
    ]
)
_KNOWN = ("image_id", "url", "image", "clicks", "impressions")
NO_FILE = "no file"


@dataclass(frozen=True)
class ImageMeasures:
    """What a picture measures."""

    width: int
    height: int
    std: float
    entropy: float
    sharpness: float


def measure(picture: Image.Image, sharpness_side: int = 256) -> ImageMeasures:
    """Measure an RGB picture.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al., 2000) where the longer side has
    `sharpness_side` pixels; a smaller picture keeps its size.
    """
    grey = picture.convert("L")
    # All by the histogram: an array of a large picture's values takes eight times their memory.
    shares = np.array(grey.histogram()) / (picture.width * picture.height)
    levels = np.arange(256)
    mean = (shares * levels).sum()
    present = shares[shares > 0]
    scale = min(1.0, sharpness_side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float64)
    return ImageMeasures(
        width=picture.width,
        height=picture.height,
        std=float(np.sqrt((shares * (levels - mean) ** 2).sum())),
        entropy=max(0.0, float(-(present * np.log2(present)).sum())),
        sharpness=float(_laplacian(small).var()) if min(small.shape) > 2 else 0.0,
    )


def judge(measures: ImageMeasures, config: ImageConfig) -> str | None:
    """The rule that drops a picture; None: it is kept."""
    low, high = sorted((measures.width, measures.height))
    if config.min_side is not None and low < config.min_side:
        return "too small"
    if config.max_aspect is not None and high > config.max_aspect * low:
        return "too long"
    if config.min_std is not None and measures.std < config.min_std:
        return "near blank"
    if config.min_entropy is not None and measures.entropy < config.min_entropy:
        return "low entropy"
    if config.min_sharpness is not None and measures.sharpness < config.min_sharpness:
        return "blurred"
    return None


def look(data: bytes | None, config: ImageConfig) -> tuple[str | None, dict[str, Any]]:
    """Decode a file once, and measure all that is asked of it.

    Returns:
        The rule that drops it, or None and the columns of MEASURED from `width` on.

    Raises:
        R2D2Error: the classifier cannot be used.
    """
    if data is None:
        return NO_FILE, {}
    try:
        picture = decode_image(data, max_pixels=config.max_pixels)
    except BadImage as error:
        return error.kind, {}
    measures = measure(picture, config.sharpness_side)
    rule = judge(measures, config) if config.enabled else None
    score = None
    if config.enabled and rule is None and config.max_harmful is not None:
        score = harmful(picture, config.harmful_model)
        rule = "harmful" if score > config.max_harmful else None
    if rule is not None:
        return rule, {}
    return None, {
        **asdict(measures),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "phash": int(perceptual_hashes([picture])[0]),
        "harmful": score,
    }


def filter_images(settings: ImageConfig, context: StageContext) -> list[StageCount]:
    """The stage: pictures that the rules keep, with their measures."""
    return [context.each_part(ImageWork(settings), "looking at images")]


def check_images(config: ImageConfig, context: StageContext) -> None:
    """R2D2Error where the classifier that is asked for does not serve."""
    if config.enabled and config.max_harmful is not None:
        harmful(Image.new("RGB", (64, 64)), config.harmful_model)


def final_id(row: Mapping[str, Any]) -> str:
    """The id of an image in the table: of its address, or of its content where it has none.

    Until its file is read, an image by path is known by the place of that file, which differs
    between machines.
    """
    return str(row["image_id"]) if row.get("url") is not None else content_id(row["image"])


@dataclass(frozen=True)
class ImageWork:
    """The pictures of a part: decoded, measured, judged; those kept with their measures."""

    config: ImageConfig

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        if self.config.enabled and self.config.max_harmful is not None:
            open_classifier(self.config.harmful_model)  # what is wrong with it shows at once
        part = part_file(Path(job["images"]), IMAGES, int(job["part"]))
        return keep_images(job, self._verdicts(part), MEASURED, "image filter")

    def _verdicts(self, part: Path) -> Iterator[ImageVerdict]:
        for row in read_images(part):
            rule, fields = look(row.get("image"), self.config)
            shown = f"{row['image_id']} {row.get('url') or row.get('path') or ''}".strip()
            measured = None
            if rule is None:
                known = {name: row.get(name) for name in _KNOWN}
                measured = {**known, "final_id": final_id(row), **fields}
            yield ImageVerdict(row, rule, shown, written=measured)


def _laplacian(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    around = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return around - 4 * x[1:-1, 1:-1]
