"""`r2d2 index` against Pillow and a model that sees one picture at a time.

Sizes: the model that comes along (tiny) over its own pictures and over photographs of 500 x 375,
base over photographs. Ours is the whole command but for the loading of the model: read the table,
decode, embed, write the vectors into it.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed.compare import Result, compare
from benchmarks.speed.plain.embedding import embed
from benchmarks.speed.plain.layers import PlainR2D2, plain_names
from benchmarks.speed.sides import settings
from r2d2.config import ModelConfig
from r2d2.index.build import build_index
from r2d2.index.layout import VECTOR, as_matrix
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained
from r2d2.saved_model import SHIPPED
from r2d2.table import Pair, write_table
from r2d2.tokenizer import Tokenizer

FASTER = 3.0  # times
PHOTOGRAPH = (500, 375)  # pixels, as many sets have them
COUNTS = {"emoji": 1024, "photographs": 512, "base": 24, "toy": 12}


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Each size."""
    for name in ("toy",) if quick else ("emoji", "photographs", "base"):
        with tempfile.TemporaryDirectory(prefix="r2d2-bench-") as folder:
            sides = make_sides(name, Path(folder))
            yield compare(
                f"embedding.{name}", FASTER, sides.plain, sides.ours, rounds,
                note=f"{len(sides.files)} pictures",
            )  # fmt: skip


@dataclass
class Sides:
    """Both ways over the same files."""

    files: Sequence[bytes]
    usual: PlainR2D2
    size: int  # of the model's pictures, in pixels
    model: str  # a folder, or the one that comes along
    table: Path

    def plain(self) -> Tensor:
        """Embeddings (n, d)."""
        return embed(self.usual, self.files, self.size)

    def ours(self) -> None:
        """Into the table."""
        build_index(self.table, self.model, texts=False, overwrite=True)

    def vectors(self) -> Tensor:
        """What `ours` wrote, (n, d)."""
        import lance

        column = lance.dataset(str(self.table)).to_table(columns=[VECTOR])[VECTOR]
        return torch.from_numpy(as_matrix(column.combine_chunks()).copy())


def make_sides(name: str, folder: Path, photographs: Callable[[int], bytes] | None = None) -> Sides:
    """A table of pictures in `folder`, and a model both ways.

    `photographs` gives the file of a number; None: `photograph`.
    """
    count = COUNTS[name]
    files = (
        _emoji(count) if name == "emoji" else [(photographs or photograph)(n) for n in range(count)]
    )
    place = SHIPPED
    if name in ("base", "toy"):
        place = str(folder / "model")
        _random(settings(name).model).save(place)
    model = load(place, "cpu").model
    usual = PlainR2D2(model.config)
    usual.load_state_dict(plain_names(model.state_dict(), model.config.vision.patch_size))
    table = folder / "pictures.lance"
    write_table(table, (Pair(f"i{n}", file, (), "train") for n, file in enumerate(files)))
    return Sides(files, usual.eval(), model.config.vision.image_size, place, table)


def photograph(number: int, size: tuple[int, int] = PHOTOGRAPH, kind: str = "JPEG") -> bytes:
    """A file as long as a photograph's: soft shapes, and some grain."""
    draw = np.random.default_rng(number)
    soft = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    pixels = np.asarray(soft.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    pixels = (pixels + draw.integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return out.getvalue()


def _emoji(count: int) -> list[bytes]:
    from r2d2.data.emoji import emoji_pairs

    return [pair.image for pair in emoji_pairs()[:count]]


def _random(config: ModelConfig) -> Pretrained:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["文"], 64, config.text.max_length)
    return Pretrained(R2D2(config), tokenizer)
