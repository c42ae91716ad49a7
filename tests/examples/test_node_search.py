"""examples/node/search.mjs gives what the model gives, also of a text that is too long."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import r2d2
from explain.test_explanation import build
from r2d2.deploy.export import export_onnx

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"
PACKAGES = ("@huggingface/tokenizers", "onnxruntime-node", "sharp")
NODE = shutil.which("node")
MISSING = [name for name in PACKAGES if not (EXAMPLE / "node_modules" / name).is_dir()]
LONG = "在草地上追飞盘的狗" * 9 + "红"  # 84 tokens, where the model takes 16

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"npm install in examples/node: {', '.join(MISSING)} missing"
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    for name, layers in (("r2d2", 2), ("prd2", 0)):
        build(cross_layers=layers).save(folder / name)
        export_onnx(folder / name, folder / f"{name}-onnx")
    random = np.random.default_rng(0)
    for number in range(4):  # of the model's own size, so that no resize differs by a grey level
        values = random.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


def search(place, name, text, pictures):
    return subprocess.run(
        [NODE, EXAMPLE / "search.mjs", place / f"{name}-onnx", text, *pictures],
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["r2d2", "prd2"])
@pytest.mark.parametrize("text", ["一只狗在草地上", "ＡＢ[MASK] é", LONG])
def test_scores_are_the_models(place, name, text):
    pictures = sorted(place.glob("*.png"))
    ran = search(place, name, text, pictures)
    assert ran.returncode == 0, ran.stderr
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    model = r2d2.load(place / name, "cpu")
    ranked = model.rank(text, [Image.open(file) for file in pictures])
    assert [result["picture"] for result in results] == [str(pictures[r.index]) for r in ranked]
    for result, expected in zip(results, ranked, strict=True):
        for key in ("score", "cosine", "match"):
            assert result[key] == pytest.approx(getattr(expected, key), abs=1e-4), key
    assert ("cut at 16" in ran.stderr) == (text == LONG)


def test_a_large_transparent_picture_that_lies_on_its_side(place, tmp_path):
    """What the graph does not do is done by the program."""
    random = np.random.default_rng(1)
    picture = Image.fromarray(random.integers(0, 256, (40, 60, 4)).astype(np.uint8), "RGBA")
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "p.png", exif=exif)
    ran = search(place, "prd2", "狗", [tmp_path / "p.png"])
    assert ran.returncode == 0, ran.stderr
    model = r2d2.load(place / "prd2", "cpu")
    side = model.encode_images([Image.open(tmp_path / "p.png")])
    cosine = float((side.embedding @ model.encode_texts(["狗"]).embedding.T)[0, 0])
    assert json.loads(ran.stdout)["cosine"] == pytest.approx(cosine, abs=0.02)
