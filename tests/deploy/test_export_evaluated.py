"""`r2d2 export onnx`, then `r2d2 evaluate retrieval` on the folder: the figures of the model."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.pictures import png
from r2d2.cli import app
from r2d2.table import Pair, Text, write_table

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from explain.test_explanation import TEXT, build

SAME = ("prerank", "two_stage", "published", "curve", "intervals", "matching", "chance", "gallery")


def pairs(count):
    """Pictures of the model's own size, so that none is resized; one of them cannot be read."""
    random = np.random.default_rng(0)
    for n in range(count):
        picture = random.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        words = ["".join(random.permutation(list(TEXT))[: 3 + n % 5]) for _ in range(2)]
        file = b"no picture" if n == 3 else png(Image.fromarray(picture))
        texts = tuple(Text(word, "caption") for word in words)
        yield Pair(f"i{n}", file, texts, "val" if n % 4 == 0 else "test")


@pytest.mark.parametrize("cross_layers", [1, 0])
def test_the_exported_pair_gets_the_models_figures(cross_layers, tmp_path):
    model = build(cross_layers=cross_layers)
    model.top_k = 6
    model.save(tmp_path / "model")
    write_table(tmp_path / "t.lance", pairs(40))
    run = CliRunner().invoke
    exported = run(
        app, ["export", "onnx", str(tmp_path / "model"), "--out", str(tmp_path / "onnx")]
    )
    assert exported.exit_code == 0, exported.output
    found = {}
    for name in ("model", "onnx"):
        done = run(
            app,
            [
                "evaluate", "retrieval", str(tmp_path / name), str(tmp_path / "t.lance"),
                "--out", str(tmp_path / f"{name}-figures"), "--resamples", "20",
            ],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        found[name] = json.loads((tmp_path / f"{name}-figures" / "metrics.json").read_text())
    ours, theirs = found["model"], found["onnx"]
    assert (ours["run"]["kind"], theirs["run"]["kind"]) == ("r2d2", "onnx")
    assert theirs["run"]["cut"] == ours["run"]["cut"]
    assert theirs["skipped"] == ours["skipped"] == {"unreadable": 1}
    assert theirs.get("weight") == ours.get("weight")
    assert theirs["top_k"] == ours["top_k"] == 6
    assert ("two_stage" in theirs["test"]) == bool(cross_layers)
    assert 5 < theirs["test"]["prerank"]["r_mean"] < 95  # neither nothing nor everything
    for name in SAME:
        assert theirs["test"].get(name) == ours["test"].get(name), name
