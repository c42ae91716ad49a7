"""A small corpus and small settings: a whole run in a second, for every test that needs one."""

import json

from safetensors.torch import load_file

from helpers.pictures import SIDE, picture, png
from r2d2.config import make_config
from r2d2.table import Pair, Text, write_table

SETTINGS = (
    f"model.vision.image_size={SIDE}",
    "model.vision.patch_size=16",
    "model.vision.width=32",
    "model.vision.layers=1",
    "model.vision.heads=2",
    "model.text.width=32",
    "model.text.layers=1",
    "model.text.heads=2",
    "model.text.max_length=16",
    "model.text.vocab_size=64",
    "model.cross_layers=1",
    "model.embed_dim=16",
    "objectives.queue_size=20",
    "train.epochs=6",
    "train.batch_size=8",
    "train.warmup_steps=4",
    "train.log_every=1",
    "train.checkpoint_every=7",
    "system.threads=1",
)
TIMINGS = {"pairs_per_second"}  # what two equal runs may differ in
COLOURS = ("红", "橙", "黄", "绿", "蓝", "紫", "黑", "白")
THINGS = ("猫", "狗", "马", "鱼", "鸟", "花", "树", "车")


def small_settings(variant="r2d2", *more):
    """The settings as the command line takes them."""
    no_cross = ("model.cross_layers=0",) if variant == "prd2" else ()
    return (*SETTINGS, *no_cross, *more)


def small_config(variant="r2d2", *more):
    """Settings under which a step takes some milliseconds."""
    return make_config("tiny", variant, small_settings(variant, *more))


def name(number):
    """A text of its own for each of the first 64."""
    return f"{COLOURS[number % 8]}色的{THINGS[number // 8 % 8]}"


def small_pairs(rows=32, split="train"):
    """Rows whose pictures and texts all differ."""
    return [Pair(f"i{n}", png(picture(n)), (Text(name(n), "title"),), split) for n in range(rows)]


def small_table(path, rows=32, bad=(), textless=(), empty=()):
    """Write a table: `rows` to train on, some of them bad, a second text for each third of them."""
    pairs = []
    for n in range(rows):
        texts = [Text(name(n), "title")]
        if n % 3 == 0:
            texts.append(Text(f"{name(n)}照片", "query", 0.2))
            texts.append(Text(f"{THINGS[n % 8]}图", "query", 0.6))
        image = png(picture(n))
        if n in bad:
            image = b"no picture"
        if n in empty:
            image = b""
        pairs.append(Pair(f"i{n}", image, () if n in textless else tuple(texts), "train"))
    for n, split in enumerate(["val", "test", "test_novel"] * 4, start=rows):
        pairs.append(Pair(f"i{n}", png(picture(n)), (Text(name(n), "title"),), split))
    write_table(path, pairs)
    return path


def tensors(run):
    """All that a run holds in tensors: weights, teacher, queue, optimiser, and the saved model."""
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    files = [*checkpoint.glob("*.safetensors"), run / "model" / "model.safetensors"]
    assert len(files) == 3
    return {
        f"{file.parent.name}/{file.name}/{name}": tensor
        for file in files
        for name, tensor in load_file(file).items()
    }


def history(run):
    """history.jsonl, less what a clock measured."""
    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMINGS} for line in lines]


def assert_same_run(run, other):
    """Bit for bit: every tensor, every line of the history, the tokenizer, the settings."""
    ours, theirs = tensors(run), tensors(other)
    assert ours.keys() == theirs.keys()
    kinds = {name.split("/")[2] for name in ours if "state.safetensors" in name}
    assert kinds == {"objectives", "optimizer"}
    different = [name for name in ours if not ours[name].equal(theirs[name])]
    assert not different, f"{len(different)} of {len(ours)} tensors differ: {different[:3]}"
    assert history(run) == history(other)
    for file in ("tokenizer.json", "run.json", "model/tokenizer.json", "model/config.json"):
        assert (run / file).read_bytes() == (other / file).read_bytes(), file


def contents(folder):
    """Every file under a folder with its bytes: what must not change."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def logged(run):
    """How many lines the history has by now."""
    path = run / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0
