"""From a JPEG to 224 pixels: the loader's way beside Pillow with a bicubic filter, in turn.

    python benchmarks/decode.py ../shared/data/flickr8k-cn/val.parquet

Takes a Parquet file with a column `image` of photographs, re-encodes them at usual sizes, and
prints per size the milliseconds a picture of both ways, their ratio, and how far the pixels differ
in grey levels of 255. One thread; each figure is the best of several rounds.
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from r2d2.images.decode import decode_image, decode_resized, resize

SIZES = ((500, 375), (640, 480), (800, 533), (1024, 768))
SIZE = 224


def encode(file: bytes, size: tuple[int, int], quality: int) -> bytes:
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(file)).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def best(work, items, rounds: int) -> float:
    """Milliseconds an item."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()  # of this thread alone: other work does not count
        for item in items:
            work(item)
        found.append(time.thread_time() - start)
    return 1000 * min(found) / len(items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quality", type=int, default=90)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photographs = pq.read_table(arguments.photographs)["image"].to_pylist()[: arguments.count]

    def slow(file):
        return resize(decode_image(file), SIZE)

    def fast(file):
        return decode_resized(file, SIZE)

    print("| JPEG | Pillow, ms | ours, ms | ratio | mean difference | worst picture |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        files = [encode(photograph, size, arguments.quality) for photograph in photographs]
        far = [np.abs(slow(f).astype(float) - fast(f)).mean() for f in files]
        times = [best(work, files, arguments.rounds) for work in (slow, fast)]
        print(
            f"| {size[0]}x{size[1]} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.1f} "
            f"| {np.mean(far):.2f} | {max(far):.2f} |"
        )


if __name__ == "__main__":
    main()
