"""Any image encoder with any text encoder: states of their classes, trained, saved, searched."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import r2d2
from helpers.cli import call_cli, refused
from helpers.encoder_files import save_image_encoder, save_text_encoder
from helpers.hf_step import TEXTS, losses_of_step, without_gradient
from helpers.runs import small_table
from r2d2.config import TrainConfig
from r2d2.data.augment import normalize
from r2d2.errors import R2D2Error
from r2d2.training.optimizer import make_optimizer
from r2d2.training.pretrain import pretrain
from r2d2.training.start import config_from, find_start
from r2d2.weights.encoder_pairs import import_pair
from r2d2.weights.towers import TowerOptions

PAIRS = [
    ("vit", "bert"), ("dinov2", "roberta"), ("dinov3_vit", "qwen3"), ("convnext", "xlm-roberta"),
    ("dinov2_with_registers", "bert"),
]  # fmt: skip
SIDE = 32


def made(folder, image, text, **more):
    theirs = save_image_encoder(folder / "i", image), save_text_encoder(folder / "t", text)
    report = import_pair(
        folder / "i",
        folder / "t",
        folder / "ours",
        TowerOptions(
            mask_token="<|fim_pad|>" if text == "qwen3" else None,
            **{"embed_dim": 24, "cross_layers": 1, "max_length": 16, **more},
        ),
    )
    return theirs, r2d2.load(folder / "ours", "cpu"), report


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def both(request, tmp_path_factory):
    """Kinds, their models, ours of them, the report."""
    return request.param, *made(tmp_path_factory.mktemp(request.param[0]), *request.param)


@torch.no_grad()
def test_states_are_those_of_their_classes(both):
    (image, text), (vision, words), ours, _ = both
    noise = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    pixels = (torch.from_numpy(noise).float() / 255 - 0.4) / 0.25
    more = {"interpolate_pos_encoding": True} if image == "vit" else {}
    expected = vision(pixel_values=pixels.permute(0, 3, 1, 2), **more)
    side = ours.encode_images([Image.fromarray(one) for one in noise])
    if image == "convnext":
        assert torch.allclose(side.states[:, 0], expected.pooler_output, atol=1e-5)
        flat = expected.last_hidden_state.flatten(2).transpose(1, 2)
        assert torch.allclose(side.states[:, 1:], flat, atol=1e-5)
    else:
        assert torch.allclose(side.states, expected.last_hidden_state, atol=1e-5)
    for number, one in enumerate(TEXTS):
        ids, mask = ours.tokenizer([one])
        expected = words(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        alone, together = ours.encode_texts([one]), ours.encode_texts(TEXTS)[number : number + 1]
        if text == "qwen3":
            assert torch.allclose(alone.states[:, 0], expected[:, -1], atol=1e-5)
            assert torch.allclose(alone.states[:, 1:], expected, atol=1e-5)
        else:
            assert torch.allclose(alone.states, expected, atol=1e-5)
        assert torch.allclose(alone.embedding, together.embedding, atol=1e-5)


def test_every_tensor_is_accounted_for(both):
    _, theirs, _, report = both
    for model, one, side in zip(theirs, report.sources, ("vision", "text"), strict=True):
        names = set(load_file(f"{one.source}/model.safetensors"))
        used = {name for entry in one.used for name in entry.theirs}
        assert used | set(one.unused) == names
        assert all("pooler" in name for name in one.unused)
        own = {f"towers.{side}.{name}" for name in dict(model.named_parameters())}
        assert {entry.ours for entry in one.used} >= {n for n in own if "pooler" not in n}
    fresh = [name for name in report.fresh if name.startswith("towers.")]
    assert fresh == ["towers.image_projection.weight", "towers.text_projection.weight"]


@torch.no_grad()
def test_patches_that_are_not_shown_change_nothing(both):
    (image, _), _, ours, _ = both
    towers, shape = ours.model.towers, ours.model.config.vision
    pixels = normalize(torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8))
    if image == "convnext":  # one square of all pixels: nothing to leave out here
        pixels = pixels.repeat(1, 1, 2, 2)
    patches = (pixels.shape[-1] // shape.patch_size) ** 2
    everything = torch.arange(patches).expand(2, -1)
    whole = towers.encode_images(pixels)
    shown = towers.encode_images(pixels, everything)
    assert torch.allclose(whole.states, shown.states, atol=1e-5)
    few = towers.encode_images(pixels, everything[:, : patches // 2])
    assert few.states.shape[1] == whole.states.shape[1] - patches // 2
    changed = pixels.clone()
    changed[:, :, -shape.patch_size :] += 1  # the last row of patches
    kept = everything[:, : patches // 2]
    assert torch.equal(towers.encode_images(changed, kept).states, few.states)
    assert not torch.allclose(towers.encode_images(changed).states, whole.states)


def test_a_step_reaches_every_parameter_that_learns(both, tmp_path):
    kinds, *_ = both
    _, ours, _ = made(tmp_path, *kinds)
    step = losses_of_step(ours, SIDE)
    losses = step()
    assert {"tgd", "fgr", "mlm", "fgd"} <= losses.keys()
    losses["total"].backward()
    assert without_gradient(ours.model) == []
    assert torch.equal(step()["total"], losses["total"])  # no drop-out of their own


def test_layers_have_rates_and_decay_of_their_own(both):
    (image, _), _, ours, _ = both
    optimizer = make_optimizer(ours.model, TrainConfig(layer_decay=0.5))
    names = {id(p): name for name, p in ours.model.named_parameters()}
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    embedding = "towers.vision.embeddings.patch_embeddings"
    top = [group["scale"] for name, group in groups.items() if name == "towers.vision.norm.weight"
           or name == "towers.vision.layernorm.weight"]  # fmt: skip
    low = {group["scale"] for name, group in groups.items() if name.startswith(embedding)}
    layers = 4 if image == "convnext" else 2
    assert (top, low) == ([1.0], {0.5**layers})
    for name, group in groups.items():
        if any(part in name for part in ("position_embedding", "cls_token", "register_tokens")):
            assert group["weight_decay"] == 0.0, name


@pytest.mark.parametrize("pair", PAIRS[:4], ids="+".join)
def test_trained_saved_loaded_indexed_and_searched(pair, tmp_path, monkeypatch, capsys):
    made(tmp_path, *pair)
    before = load_file(tmp_path / "ours" / "model.safetensors")
    table = small_table(tmp_path / "pairs.lance")
    settings = ["train.epochs=1", "train.batch_size=8", "train.warmup_steps=1",
                "objectives.queue_size=16", "train.freeze_text=true"]  # fmt: skip
    start = find_start(tmp_path / "run", tmp_path / "ours", False)
    pretrain(table, tmp_path / "run", config_from(start, None, None, settings),
             init=tmp_path / "ours")  # fmt: skip
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("towers.vision.") for name in moved)
    assert {"towers.image_projection.weight", "towers.text_projection.weight"} <= moved
    assert not any(name.startswith("towers.text.") for name in moved)
    code, _, lines = call_cli(monkeypatch, capsys, "index", table, "--model", tmp_path / "run")
    assert code == 0, lines
    code, out, lines = call_cli(
        monkeypatch, capsys, "search", "红色方块", "--table", table, "--model", tmp_path / "run",
        "--json",
    )  # fmt: skip
    assert code == 0, lines
    assert out.strip()


def test_names_of_larger_models_are_known(tmp_path):
    theirs = save_text_encoder(tmp_path / "t", "bert"), save_image_encoder(tmp_path / "i", "vit")
    tensors = load_file(tmp_path / "t" / "model.safetensors")
    renamed = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    renamed["cls.predictions.bias"] = torch.zeros(3)
    save_file(renamed, tmp_path / "t" / "model.safetensors", metadata={"format": "pt"})
    report = import_pair(
        tmp_path / "i", tmp_path / "t", tmp_path / "ours", TowerOptions(cross_layers=0)
    )
    words = report.sources[1]
    assert "cls.predictions.bias" in words.unused
    ours = r2d2.load(tmp_path / "ours", "cpu")
    found = dict(ours.model.named_parameters())["towers.text.embeddings.word_embeddings.weight"]
    assert torch.equal(found, theirs[0].get_input_embeddings().weight)


def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, capsys):
    save_text_encoder(tmp_path / "t", "bert"), save_image_encoder(tmp_path / "i", "vit")
    out = tmp_path / "ours"
    with pytest.raises(R2D2Error, match="type 'bert': taken here are convnext"):
        import_pair(tmp_path / "t", tmp_path / "t", out)
    with pytest.raises(R2D2Error, match="places for 20 tokens, not 21"):
        import_pair(tmp_path / "i", tmp_path / "t", out, TowerOptions(max_length=21))
    with pytest.raises(R2D2Error, match="image_size 30 is not a multiple of patch_size 8"):
        import_pair(tmp_path / "i", tmp_path / "t", out, TowerOptions(image_size=30))
    for arguments, word in (
        (["--image", tmp_path / "i"], "both --image and --text"),
        ([tmp_path / "t", "--image", tmp_path / "i"], "--image is for a pair"),
    ):
        code, _, lines = call_cli(monkeypatch, capsys, "weights", "towers", "--out", out,
                                  *arguments)  # fmt: skip
        assert (code, word in " ".join(lines)) == (2, True), lines
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    (tmp_path / "t" / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    line = refused(import_pair, tmp_path / "i", tmp_path / "t", out)
    assert "(20, 48), and (20, 32) by its config.json" in line or "(48,), and (32,)" in line, line
    (tmp_path / "t" / "config.json").write_text(json.dumps(config | {"hidden_size": "x"}))
    assert "'hidden_size'" in refused(import_pair, tmp_path / "i", tmp_path / "t", out)
    assert not out.exists()
