import hashlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.onnx_file import write_onnx
from helpers.photographs import blank, blurred, decode, drawing, encode, noise, photographs
from r2d2.corpus.config import ImageConfig
from r2d2.corpus.images.image_filter import MEASURED, ImageWork, look, measure
from r2d2.corpus.images.phash import perceptual_hashes
from r2d2.corpus.rows import IMAGE_COLUMNS, IMAGES, part_file, write_images
from r2d2.errors import R2D2Error

QUICK = ImageConfig(max_harmful=None)
GRADIENT = Image.linear_gradient("L").resize((300, 200)).convert("RGB")


def animated():
    """Its first frame is worth keeping, its second is blank."""
    frames = [noise((200, 150)), blank()]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def bomb():
    """A PNG of some hundred bytes that says it has 30,000 by 30,000 pixels."""

    def chunk(kind, data):
        tail = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + tail

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(30_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def half(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (encode(noise((300, 200))), None),
        (encode(noise((300, 200)), "JPEG"), None),
        (encode(noise((300, 200)), "WEBP"), None),
        (encode(noise((300, 100))), None),  # both bounds are within
        (encode(noise((99, 150))), "too small"),
        (encode(noise((301, 100))), "too long"),  # a panorama
        (encode(noise((100, 301))), "too long"),
        (encode(blank()), "near blank"),
        (encode(drawing()), "low entropy"),
        (encode(GRADIENT), None),
        (animated(), None),
        (None, "no file"),
        (b"", "empty"),
        (b"<html>Not found</html>", "unreadable"),
        (half(encode(noise((300, 200)), "JPEG")), "truncated"),
        (half(encode(noise((300, 200)))), "truncated"),
        (bomb(), "too large"),
    ],
)
def test_rules(data, rule):
    assert look(data, QUICK)[0] == rule


def test_blur_is_a_matter_of_sharpness():
    config = ImageConfig(max_harmful=None, min_sharpness=20.0)
    for data in photographs(40):
        assert look(data, config)[0] is None
        assert look(encode(blurred(decode(data))), config)[0] == "blurred"


def test_sharpness_is_measured_at_one_size():
    for data in photographs(5):
        large = decode(data).resize((1024, 768))
        found = [measure(p).sharpness for p in (large, large.resize((512, 384), Image.BOX))]
        assert found[0] == pytest.approx(found[1], rel=0.01)
        assert measure(large, 1024).sharpness < 0.5 * found[0]


def test_no_photograph_is_dropped_but_for_the_classifier():
    assert [look(data, QUICK)[0] for data in photographs(113)] == [None] * 113


def test_the_first_frame_counts():
    fields = look(animated(), QUICK)[1]
    with Image.open(io.BytesIO(animated())) as frames:
        assert fields["phash"] == int(perceptual_hashes([frames.convert("RGB")])[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 256), st.integers(0, 99))
def test_measures_are_those_of_their_definitions(width, height, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)
    found = measure(Image.fromarray(values).convert("RGB"))
    _, counts = np.unique(values, return_counts=True)
    shares = counts / values.size
    assert (found.width, found.height) == (width, height)
    assert found.std == pytest.approx(values.std(), abs=1e-6)
    assert found.entropy == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-9)
    inner = [
        int(values[y - 1, x]) + int(values[y + 1, x]) + int(values[y, x - 1])
        + int(values[y, x + 1]) - 4 * int(values[y, x])
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]  # fmt: skip
    assert found.sharpness == pytest.approx(np.var(inner) if inner else 0, rel=1e-6)


def run(folder, rows, config):
    ids = [f"{n:032x}" for n in range(len(rows))]
    known = [
        {"image_id": key, "url": url, "path": path, "image": data}
        for key, (url, path, data) in zip(ids, rows, strict=True)
    ]
    write_images(part_file(folder / "in", IMAGES, 0), IMAGE_COLUMNS, known)
    job = {"images": str(folder / "in"), "out": str(folder / "out"), "part": "0"}
    count = ImageWork(config)(job)
    return count, pq.read_table(part_file(folder / "out", IMAGES, 0)), ids


def test_a_part(tmp_path):
    kept = [encode(noise((300, 200), seed)) for seed in range(3)]
    rows = [(None, None, kept[0]), ("http://a/b.png", None, encode(blank())),
            (None, "c.png", kept[1]), (None, "d.png", None), ("http://e", None, kept[2]),
            (None, None, encode(blank((150, 200))))]  # fmt: skip
    count, table, ids = run(tmp_path, rows, QUICK)
    assert (count.stage, count.unit, count.seen, count.kept) == ("image filter", "images", 6, 3)
    assert count.dropped == {"near blank": 2, "no file": 1}
    assert count.examples == {
        "near blank": (f"{ids[1]} http://a/b.png", ids[5]),
        "no file": (f"{ids[3]} d.png",),
    }
    assert table.schema == MEASURED
    found = table.to_pylist()
    assert [row["image_id"] for row in found] == [ids[0], ids[2], ids[4]]
    for row, data in zip(found, kept, strict=True):
        assert (row["image"], row["bytes"]) == (data, len(data))
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert (row["width"], row["height"], row["harmful"]) == (300, 200, None)
        assert row["phash"] == int(perceptual_hashes([decode(data)])[0])


def test_harmful_pictures_go_by_the_classifier(tmp_path):
    red, blue = ((np.array(noise((200, 150))) // 4 + colour).astype(np.uint8)
                 for colour in ([160, 0, 0], [0, 0, 160]))  # fmt: skip
    model = write_onnx(tmp_path / "m.onnx", ("n", 3, 8, 8), (2, 3))  # blue is harmful
    rows = [("http://red", None, encode(Image.fromarray(red))),
            ("http://blue", None, encode(Image.fromarray(blue)))]  # fmt: skip
    count, table, ids = run(tmp_path, rows, ImageConfig(max_harmful=0.5, harmful_model=model))
    assert count.dropped == {"harmful": 1}
    assert count.examples == {"harmful": (f"{ids[1]} http://blue",)}
    assert table["harmful"][0].as_py() == pytest.approx(red[..., 2].mean() / 255, abs=0.02)


def test_off_still_decodes(tmp_path):
    rows = [(None, None, encode(blank())), (None, None, b"no image"), (None, None, None)]
    count, table, _ = run(tmp_path, rows, ImageConfig(enabled=False))
    assert (count.kept, count.dropped) == (1, {"unreadable": 1, "no file": 1})
    assert table["width"].to_pylist() == [200]


def test_a_model_that_is_not_there_stops_before_any_image(tmp_path):
    with pytest.raises(R2D2Error, match="harmful_model"):
        run(tmp_path, [], ImageConfig(harmful_model=str(tmp_path / "none.onnx")))
    assert not (tmp_path / "out").exists()


def test_a_part_without_images(tmp_path):
    count, table, _ = run(tmp_path, [], QUICK)
    assert (count.seen, len(table), table.schema) == (0, 0, MEASURED)


def test_no_heavy_import():
    code = (
        "import sys, r2d2.corpus.images.image_filter, r2d2.corpus.images.duplicates;"
        "print([m for m in ('torch', 'onnxruntime', 'cv2', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
