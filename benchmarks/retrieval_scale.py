"""Retrieval evaluation at the size of a whole corpus: 100,000 images, 500,000 texts, one thread.

    OMP_NUM_THREADS=1 python benchmarks/retrieval_scale.py --out runs/retrieval_scale

Makes a pairs table and embeddings of 64 numbers: images are random unit vectors, a text is that of
its image with noise. Then runs `r2d2 evaluate retrieval` on them in a process of its own and prints
its wall and processor seconds, the peak of its resident memory (mapped files count), and recall.
Linux only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from r2d2.evaluation.precomputed import write
from r2d2.table import Pair, Text, write_table

IMAGES, TEXTS_EACH, WIDTH = 100_000, 5, 64
NOISE = 0.25  # of each number of a text, beside 1 / 8 of its image's


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(folder: Path, images: int) -> None:
    """The table and the embeddings, deterministic in their number."""
    random = np.random.default_rng(0)
    vectors = unit(random.standard_normal((images, WIDTH), dtype=np.float32))
    noise = NOISE * random.standard_normal((images * TEXTS_EACH, WIDTH), dtype=np.float32)
    texts = unit(np.repeat(vectors, TEXTS_EACH, axis=0) + noise)
    ids = [f"i{n}" for n in range(images)]
    sentences = [f"第{n}句" for n in range(images * TEXTS_EACH)]
    write(folder / "embeddings", vectors, ids, texts, sentences)
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")

    def pairs() -> Iterator[Pair]:
        for n, name in enumerate(ids):
            own = sentences[n * TEXTS_EACH : (n + 1) * TEXTS_EACH]
            yield Pair(name, file.getvalue(), tuple(Text(t, "caption") for t in own), "test")

    write_table(folder / "pairs.lance", pairs())


def main() -> None:
    """Make what is not there, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/retrieval_scale"))
    arguments = parser.parse_args()
    data = arguments.out / f"data-{arguments.images}"
    if not (data / "pairs.lance").exists():
        make(data, arguments.images)
    command = [sys.executable, "-m", "r2d2", "evaluate", "retrieval", str(data / "embeddings")]
    command += [str(data / "pairs.lance"), "--out", str(arguments.out / "figures"), "--overwrite"]
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    metrics = json.loads((arguments.out / "figures" / "metrics.json").read_text())["test"]
    print(
        f"{arguments.images} images, {arguments.images * TEXTS_EACH} texts: {wall:.0f} s, "
        f"processor {used.ru_utime + used.ru_stime:.0f} s, peak {used.ru_maxrss / 2**20:.2f} GiB, "
        f"R@M {metrics['prerank']['r_mean']:.2f}"
    )


if __name__ == "__main__":
    main()
