"""`r2d2 weights`: a way there and back, and one clear line for what cannot be."""

import json

import r2d2
from helpers.published_weights import HEADS, save_small


def test_a_model_goes_out_and_comes_back(cli, tmp_path):
    save_small(tmp_path / "ours")
    code, out, lines = cli(
        "weights", "export", tmp_path / "ours", "--kind", "official", "--out", tmp_path / "theirs"
    )
    assert code == 0, lines
    assert "model.pth" in out
    code, out, lines = cli(
        "weights", "import", tmp_path / "theirs", "--out", tmp_path / "back", "--text-heads", HEADS,
        "--vision-heads", HEADS, "--max-length", 16,
    )  # fmt: skip
    assert code == 0, lines
    assert f"model: {tmp_path / 'back'}" in out.replace("\n", "")
    assert "initialised afresh, to be trained: mlm_head" in out
    ours, back = (r2d2.load(tmp_path / name) for name in ("ours", "back"))
    texts = ["一个男孩", "红色的汽车"]
    assert ours.encode_texts(texts).embedding.equal(back.encode_texts(texts).embedding)
    assert json.loads((tmp_path / "back" / "import.json").read_text(encoding="utf-8"))["sources"]


def test_what_a_preset_adds(cli, tmp_path):
    save_small(tmp_path / "ours", cross_layers=0)
    cli("weights", "export", tmp_path / "ours", "--kind", "bert", "--out", tmp_path / "bert")
    code, out, lines = cli(
        "weights", "import", tmp_path / "bert", "--out", tmp_path / "new", "--preset", "tiny",
        "--set", "model.cross_layers=1", "--text-heads", HEADS,
    )  # fmt: skip
    assert code == 0, lines
    assert r2d2.load(tmp_path / "new").model.config.cross_layers == 1
    assert "towers.vision" in out or "vision" in out


def test_refusals(cli, tmp_path):
    save_small(tmp_path / "ours")
    code, _, lines = cli(
        "weights", "export", tmp_path / "ours", "--kind", "birt", "--out", tmp_path / "x"
    )
    assert (code, "birt" in " ".join(lines)) == (2, True)
    code, _, lines = cli("weights", "import", tmp_path / "none", "--out", tmp_path / "x")
    assert (code, "none" in " ".join(lines)) == (2, True)
    code, _, lines = cli(
        "weights",
        "import",
        tmp_path / "ours",
        "--out",
        tmp_path / "x",
        "--set",
        "model.embed_dim=8",
    )
    assert (code, "--preset" in " ".join(lines)) == (2, True)
    code, out, _ = cli("weights", "kinds")
    assert code == 0
    assert {"bert:", "clip:", "official:"} <= {line.split(" ")[0] for line in out.splitlines()}
