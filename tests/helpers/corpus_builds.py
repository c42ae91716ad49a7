"""Shared by tests of whole builds: a small log with every kind of dirt."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from helpers.colour_model import Colours as Colours
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.table import PairsTable


def scene(seed, size=(160, 120)):
    """A smooth random picture, that a smaller copy of it still looks like."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality=92):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


SCENES = {n: jpeg(scene(n, (200, 150))) for n in range(6)}
DIRTY = [
    # image, query, impressions, clicks, title
    (SCENES[0], "红色的汽车", 1000, 300, "一辆红色的汽车"),
    (SCENES[0], "紅色的汽車", 500, 200, None),  # the same in traditional characters
    (SCENES[0], "蓝天白云", 1000, 2, None),  # shown, hardly clicked
    (SCENES[1], "雪地里的小狗", 400, 90, None),
    (SCENES[1], "雪地里的小狗", 100, 10, None),  # the same pair again
    (jpeg(scene(1, (160, 120)), 60), "小狗在奔跑", 50, 20, "一只小狗"),  # a smaller copy of 1
    (SCENES[2], "加微信abc12345", 300, 100, None),
    (SCENES[3], "澳门六合彩开奖", 300, 100, "山间的湖泊"),
    (b"not a picture", "坏掉的图片", 300, 100, None),
    (png(Image.new("RGB", (160, 120), (200, 200, 200))), "灰色的墙", 300, 100, None),
    (jpeg(scene(7, (60, 80))), "小小的图标", 300, 100, None),
    (jpeg(scene(8, (900, 150))), "全景照片", 300, 100, None),
    (SCENES[4], "一碗牛肉面", -5, 3, None),
    (SCENES[4], "一碗牛肉面", 3, 5, None),
    (SCENES[4], None, 10, 3, None),
    (None, "没有图片", 10, 3, None),
    (SCENES[5], "从未被点击", 500, 0, None),
]
NO_DEDUP = ("dedup.radius=null", "dedup.exact=false")
SETTINGS = ("image.max_harmful=null", "image.min_entropy=2.0")


def write_log(path, rows=DIRTY):
    names = ("image", "query", "impressions", "clicks", "title")
    schema = pa.schema(
        [("image", pa.binary()), ("query", pa.string()), ("impressions", pa.int64()),
         ("clicks", pa.int64()), ("title", pa.string())]
    )  # fmt: skip
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or pq.read_table(path) != table:  # a log that is touched is another one
        pq.write_table(table, path)
    return str(path)


def built(folder, rows=DIRTY, settings=(), out="zero.lance", **more):
    log = write_log(folder / "log.parquet", rows)
    config = make_corpus_config("zero", settings=[*SETTINGS, *settings])
    return build_corpus([log], folder / out, config, **more)


def texts_of(path):
    """All texts of a table, sorted."""
    table = PairsTable.open(path)
    return sorted(text.text for pair in table.take(table.rows()) for text in pair.texts)


def tinted(rgb, seed):
    noise = np.random.default_rng(seed).normal(0, 30, (150, 200, 3)) + np.array(rgb)
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    return jpeg(picture.filter(ImageFilter.GaussianBlur(3)))


RED, GREEN = (200, 60, 60), (60, 200, 60)
TINTED = [
    (tinted(RED, 0), "红色的墙面", 100, 30, None),
    (tinted(RED, 0), "蓝色的墙面", 100, 30, None),
    (tinted(RED, 1), "红色的画布", 100, 30, None),
    (tinted(GREEN, 2), "绿色的草地", 100, 30, None),
]
