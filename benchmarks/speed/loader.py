"""How long the trainer waits for data: the share of a step, at the small size, with two workers.

Photographs of 500x375 as JPEG, none decoded twice: a run's first epoch, its hardest.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.speed.compare import Result, quartiles, tell
from r2d2.config import make_config
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import Tokenizer
from r2d2.training.trainer import Trainer

WAITS = 0.03  # of a step, at most
WORKERS = 2
STEPS = 4  # a round
CHARACTERS = "红橙黄绿蓝紫黑白猫狗马鱼鸟花树车山水日月人家大小上下左右前后东西南北"


def photograph(number: int, width: int = 500, height: int = 375) -> bytes:
    """A JPEG with soft shapes and some grain, of about the bytes of a photograph."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def table_of(rows: int, folder: Path) -> PairsTable:
    """Pairs whose texts are 6 to 38 characters long."""

    def pairs() -> Iterator[Pair]:
        rng = np.random.default_rng(0)
        for number in range(rows):
            text = "".join(rng.choice(list(CHARACTERS), int(rng.integers(6, 39))))
            yield Pair(f"i{number}", photograph(number), (Text(text, "title"),), "train")

    write_table(folder / "pairs.lance", pairs())
    return PairsTable.open(str(folder / "pairs.lance"))


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """The share, a round of some steps each."""
    batch = 8 if quick else 32
    steps = 1 + (1 if quick else STEPS) * rounds  # the first fills the pipe
    more = ("model.vision.layers=1", "model.text.layers=1", "model.cross_layers=1") if quick else ()
    config = make_config(
        "small", "r2d2",
        (f"train.batch_size={batch}", "train.train_vocab=true", "train.cache_mb=0",
         f"system.decode_threads={WORKERS}", "objectives.queue_size=512", *more),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        table = table_of(batch * (steps + 4), Path(folder))
        texts = [text.text for row in table.texts(table.rows("train")) for text in row]
        tokenizer = Tokenizer.train(texts, 2000, config.model.text.max_length)
        trainer = Trainer(table, Path(folder) / "run", config, tokenizer)
        waited, took = _steps(trainer, steps, batch)
    each = 1 if quick else STEPS
    shares = [sum(waited[k : k + each]) / sum(took[k : k + each]) for k in range(1, steps, each)]
    yield Result(
        "loader.small", statistics.median(shares), WAITS, spread=quartiles(shares), at_most=True,
        ours_s=statistics.median(took[1:]),
        note=f"share of a step that the trainer waits for {WORKERS} workers, "
        f"{torch.get_num_threads()} threads of torch",
    )  # fmt: skip


def _steps(trainer: Trainer, steps: int, batch: int) -> tuple[list[float], list[float]]:
    """Seconds waited, and in all, of each step."""
    waited, took = [], []
    batches = trainer.loader.batches(0, steps, batch)
    began = time.perf_counter()
    for done in range(steps):
        tell("loader", done, steps)
        raw = next(batches)
        came = time.perf_counter()
        trainer.train_step(trainer.prepare(raw))
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        waited.append(came - began)
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
    tell("loader", steps, steps)
    return waited, took
