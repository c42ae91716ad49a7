"""The image filter and the perceptual hash on photographs that nobody would want to lose.

    python benchmarks/corpus_images.py ../shared/data/flickr8k-cn/train.parquet

Takes Parquet files with a column `image` of photographs and prints: how many the filter drops, by
rule, with the default settings; between which bounds the measures lie; how many bits the hash moves
when a picture is altered, and how many lie between different pictures, from which to choose
`dedup.radius`; and milliseconds a picture on one thread.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance

from r2d2.corpus.config import ImageConfig
from r2d2.corpus.images.harmful import harmful, open_classifier
from r2d2.corpus.images.image_filter import judge, measure
from r2d2.corpus.images.phash import perceptual_hashes
from r2d2.images.decode import decode_image

RADII = (0, 2, 4, 6, 8, 10, 12)


def resized(share):
    return lambda p: p.resize((round(p.width * share), round(p.height * share)))


def jpeg(quality):
    def alter(picture):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return alter


def cropped(share):
    def alter(picture):
        x, y = round(picture.width * share), round(picture.height * share)
        return picture.crop((x, y, picture.width - x, picture.height - y))

    return alter


def marked(picture):
    picture = picture.copy()
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    draw.text((0.6 * width, 0.9 * height), "www.photos.example", "white", font_size=height / 18)
    return picture


ALTERED = {
    "half the size": resized(0.5),
    "twice the size": resized(2),
    "JPEG of quality 30": jpeg(30),
    "2% cropped on each side": cropped(0.02),
    "5% cropped on each side": cropped(0.05),
    "brightness 1.2": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
    "contrast 0.8": lambda p: ImageEnhance.Contrast(p).enhance(0.8),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "a mark in the corner": marked,
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def shares(distances) -> str:
    return " | ".join(f"{100 * np.mean(distances <= radius):.1f}" for radius in RADII)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    files = []
    for path in arguments.photographs:
        files += pq.read_table(path, columns=["image"])["image"].to_pylist()
    files = files[: arguments.count]
    config = ImageConfig()
    open_classifier()
    seconds: Counter[str] = Counter()

    def timed(what, work, *given):
        start = time.perf_counter()
        found = work(*given)
        seconds[what] += time.perf_counter() - start
        return found

    pictures = [timed("decode", decode_image, file) for file in files]
    looks = [timed("measure", measure, picture) for picture in pictures]
    hashes = timed("hash", perceptual_hashes, pictures)
    scores = [timed("classify", harmful, picture) for picture in pictures]

    rules = Counter(
        judge(one, config) or ("harmful" if score > config.max_harmful else "kept")
        for one, score in zip(looks, scores, strict=True)
    )
    print(f"{len(files)} photographs: {dict(rules)}\n")
    print("| measure | least | 1% | half | 99% | most |\n|---|---|---|---|---|---|")
    for name in ("std", "entropy", "sharpness", "harmful"):
        values = scores if name == "harmful" else [getattr(one, name) for one in looks]
        found = np.percentile(values, (0, 1, 50, 99, 100))
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in found) + " |")

    print("\n| % within bits of the hash | " + " | ".join(map(str, RADII)) + " |")
    print("|---|" + "---|" * len(RADII))
    for name, alter in ALTERED.items():
        altered = perceptual_hashes([alter(picture) for picture in pictures])
        print(f"| {name} | {shares(np.bitwise_count(hashes ^ altered))} |")
    between = np.bitwise_count(hashes[:, None] ^ hashes[None, :])[np.triu_indices(len(hashes), 1)]
    print(f"\n{len(between)} pairs of different photographs, how many within bits of the hash:")
    print({radius: int((between <= radius).sum()) for radius in RADII}, "least", between.min())
    print(
        "\nmilliseconds a picture:",
        {k: round(1000 * v / len(files), 2) for k, v in seconds.items()},
    )


if __name__ == "__main__":
    main()
