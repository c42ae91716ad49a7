"""Duplicates found bucket by bucket are those that are found where all images meet."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.click_logs import silent
from r2d2.corpus.config import DedupConfig
from r2d2.corpus.images import by_band
from r2d2.corpus.images.by_band import find_by_band
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.images.image_filter import MEASURED
from r2d2.corpus.rows import DROPPED, IMAGES, part_file, part_range, write_images
from r2d2.corpus.runner import Runner

PARTS = 3


class Bytes:
    """A model that sees in a file the direction that its one byte numbers."""

    fingerprint = "bytes"

    def encode_images(self, files):
        turn = np.array([file[0] for file in files]) * 0.01
        return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)

    def encode_texts(self, texts):
        raise NotImplementedError


def clumps(seed, count):
    """Rows of the image filter: chains of near hashes, equal files, and images of their own."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, count // 4).astype(np.uint64)
    rows = []
    for number in rng.permutation(count).tolist():
        value = int(hashes[rng.integers(len(hashes))])
        for bit in rng.integers(0, 64, rng.integers(0, 7)).tolist():
            value ^= 1 << bit
        if rng.random() < 0.3:  # the same file as another
            value = int(hashes[rng.integers(len(hashes))])
        size = int(rng.integers(50, 60))
        rows.append(
            {"image_id": f"{number * 2**32 // count:08x}{number:024x}",
             "final_id": f"{rng.integers(2**62):032x}", "sha256": f"{value:016x}{size:048x}",
             "phash": value, "width": size, "height": 50, "bytes": size,
             "image": bytes([int(rng.integers(256))]),
             "clicks": int(rng.integers(9)), "impressions": 10}
        )  # fmt: skip
    return sorted(rows, key=lambda row: row["image_id"])


def write(folder, rows):
    for part in range(PARTS):
        first, last = part_range(part, PARTS)
        some = [row for row in rows if first <= row["image_id"] < last]
        write_images(part_file(folder, IMAGES, part), MEASURED, some)
    return folder


CONFIGS = [
    DedupConfig(),
    DedupConfig(radius=0),
    DedupConfig(radius=8),
    DedupConfig(radius=None),
    DedupConfig(exact=False, radius=None),
    DedupConfig(exact=False, radius=3),
    DedupConfig(meaning=0.0001),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_groups_are_those_of_one_machine(tmp_path, config, monkeypatch):
    images = write(tmp_path / "images", clumps(1, 600))
    monkeypatch.setattr(by_band, "BUCKET_IMAGES", 90)  # seven buckets
    model = Bytes() if config.meaning is not None else None
    counts = []
    for name in ("one", "many"):
        (tmp_path / name / DROPPED).mkdir(parents=True)
        out = tmp_path / name / "merge.parquet"
        if name == "one":
            encode = model.encode_images if model else None
            counts.append(find_duplicates(images, out, config, silent, encode))
        else:
            counts.append(find_by_band(images, out, config, Runner(), silent, model))
    assert counts[0] == counts[1]
    assert len(counts[0].dropped) >= (config.radius is not None) + config.exact
    one, many = (pq.read_table(tmp_path / name / "merge.parquet") for name in ("one", "many"))
    assert one.equals(many)
    dropped = [
        sorted(pq.read_table(tmp_path / name / DROPPED).to_pylist(), key=str)
        for name in ("one", "many")
    ]
    assert dropped[0] == dropped[1]
    assert len(dropped[0]) == sum(counts[0].dropped.values())
    left = {file.name for file in (tmp_path / "many").iterdir()}
    assert left == {"merge.parquet", DROPPED}


def test_images_without_any_duplicate_and_none_at_all(tmp_path):
    rows = clumps(2, 8)[:1]
    for name, some in (("lone", rows), ("none", [])):
        images = write(tmp_path / name, some)
        out = tmp_path / f"{name}.parquet"
        count = find_by_band(images, out, DedupConfig(), Runner(), silent)
        assert (count.seen, count.kept) == (len(some), len(some))
        assert len(pq.read_table(out)) == 0
