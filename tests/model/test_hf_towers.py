"""Others' towers under R2D2: the same embeddings as theirs, a step that trains what it should."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import r2d2
from helpers.calls import watched
from helpers.cli import call_cli, refused
from helpers.hf_step import TEXTS, losses_of_step, without_gradient
from helpers.runs import small_table
from helpers.small_hf_models import IMAGE, KINDS, LENGTH, PATCH, save_hf
from r2d2.data.augment import normalize
from r2d2.errors import R2D2Error
from r2d2.finetune import tuning_config
from r2d2.fingerprint import PARTS, _tokenizer_state
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.mlm import positions_of
from r2d2.training.pretrain import pretrain
from r2d2.training.start import config_from, find_start
from r2d2.weights.towers import TowerOptions, import_towers

MASK = {"clip": "9"}  # a vocabulary without a token for it


def pictures(n, side=IMAGE):
    noise = np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return [Image.fromarray(one) for one in noise]


def imported(folder, kind, **more):
    theirs = save_hf(folder / "theirs", kind)
    options = TowerOptions(**{"cross_layers": 1, "mask_token": MASK.get(kind), **more})
    report = import_towers(folder / "theirs", folder / "ours", options)
    return theirs, r2d2.load(folder / "ours", "cpu"), report


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """Kind, their model, ours of it."""
    return request.param, *imported(tmp_path_factory.mktemp(request.param), request.param)


def their_pixels(kind, images):
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float() / 255
    if "siglip" in kind:
        x = (x - 0.5) / 0.5
    else:
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
        x = (x - mean) / torch.tensor([0.26862954, 0.26130258, 0.27577711])
    if kind != "siglip2":
        return {"pixel_values": x.permute(0, 3, 1, 2)}
    side = IMAGE // PATCH
    rows = x.reshape(len(x), side, PATCH, side, PATCH, 3).transpose(2, 3)
    return {
        "pixel_values": rows.reshape(len(x), side * side, -1),
        "pixel_attention_mask": torch.ones(len(x), side * side, dtype=torch.long),
        "spatial_shapes": torch.full((len(x), 2), side),
    }


@torch.no_grad()
def test_embeddings_are_theirs(both):
    kind, theirs, ours, _ = both
    images = pictures(3)
    expected = theirs.get_image_features(**their_pixels(kind, images)).pooler_output
    found = ours.encode_images(images).embedding
    assert torch.allclose(F.normalize(expected, dim=-1), found, atol=1e-5)
    # alone, so that no padding of ours is in it; SigLIP's own processor pads to the longest
    for text in TEXTS:
        ids, mask = ours.tokenizer([text])
        asked = {"input_ids": ids, "attention_mask": mask.long()}
        if "siglip" in kind:
            asked = {"input_ids": F.pad(ids, (0, LENGTH - ids.shape[1]), value=0)}
        expected = theirs.get_text_features(**asked).pooler_output
        alone = ours.encode_texts([text]).embedding
        together = ours.encode_texts(TEXTS).embedding[TEXTS.index(text)]
        assert torch.allclose(F.normalize(expected, dim=-1), alone, atol=1e-5)
        assert torch.allclose(alone[0], together, atol=1e-5)


def test_every_tensor_is_accounted_for(both):
    kind, theirs, ours, report = both
    (one,) = report.sources
    used = {name for used in one.used for name in used.theirs}
    names = set(dict(theirs.named_parameters()))
    assert used | set(one.unused) >= names
    assert set(one.unused) <= {"text_model.pooler.dense.weight", "text_model.pooler.dense.bias"}
    assert all(not name.startswith("towers.") for name in report.fresh)
    tau = float(ours.model.temperature.detach())
    assert tau == pytest.approx(np.exp(-2.5), rel=1e-5)
    assert ours.model.config.text.width != ours.model.config.vision.width or "siglip" in kind


@torch.no_grad()
def test_half_of_the_patches_are_seen(both):
    _, _, ours, _ = both
    pixels = normalize(torch.randint(0, 256, (2, IMAGE, IMAGE, 3), dtype=torch.uint8))
    towers = ours.model.towers
    everything = torch.arange(16).expand(2, -1)
    whole, all_kept = towers.encode_images(pixels), towers.encode_images(pixels, everything)
    assert torch.allclose(whole.embedding, all_kept.embedding, atol=1e-6)
    some = towers.encode_images(pixels, everything[:, :5])
    assert some.states.shape == (2, 6, ours.model.config.vision.width)
    assert not torch.allclose(some.embedding, whole.embedding, atol=1e-3)
    changed = pixels.clone()
    changed[:, :, -PATCH:, -PATCH:] += 1  # the last patch is not among the first five
    assert torch.equal(towers.encode_images(changed, everything[:, :5]).states, some.states)
    assert torch.equal(towers.encode_images(pixels).states, whole.states)  # nothing is left behind


def test_a_step_reaches_every_parameter(both, tmp_path):
    kind, *_ = both
    _, ours, _ = imported(tmp_path, kind)
    losses = losses_of_step(ours, IMAGE)()
    assert {"tgd", "fgr", "mlm", "fgd"} <= losses.keys()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    losses["total"].backward()
    assert without_gradient(ours.model) == []


@pytest.mark.parametrize("variant", ["r2d2", "wo_et"])
def test_the_head_reads_the_states_of_masked_tokens(both, variant):
    _, _, ours, _ = both
    with watched(positions_of, R2D2.cross_text) as calls:
        losses_of_step(ours, IMAGE, variant)()
    asked = [call.returned for call in calls if call.name == "positions_of"]
    read = [
        (call.arguments["positions"], call.arguments["real"])
        for call in calls if call.name == "cross_text"
    ]  # fmt: skip
    positions, real = read[0 if variant == "r2d2" else -1]
    assert torch.equal(positions[:4, 1:], asked[0][0] + ours.model.towers.text_offset)
    assert torch.equal(real[:4, 1:], asked[0][1])
    assert real[:, 0].all()
    assert not real[4:, 1:].any()


def test_masked_tokens_stand_where_they_are_asked(both):
    """The state that predicts a token is that token's own, also where a summary stands in front."""
    kind, _, ours, _ = both
    model = ours.model
    ids, mask = ours.tokenizer(TEXTS)
    side = model.encode_texts(ids, mask)
    offset = model.towers.text_offset
    assert offset == (0 if kind == "chinese_clip" else 1)
    assert side.states.shape[1] == offset + (LENGTH if "siglip" in kind else ids.shape[1])
    assert bool((side.real()[:, offset : offset + ids.shape[1]] == mask).all())
    other = ids.clone()
    other[0, 2] = (other[0, 2] + 1) % 20 + 5
    moved = (model.encode_texts(other, mask).states - side.states)[0].detach().norm(dim=-1)
    # the changed token's own place moves most of all real places
    real = side.real()[0].clone()
    real[:offset] = False
    assert int(moved.masked_fill(~real, 0).argmax()) == 2 + offset


@pytest.mark.parametrize("frozen", ["vision", "text", "both"])
def test_frozen_towers_stay_bit_equal_and_the_rest_learns(tmp_path, frozen):
    kind = "siglip2" if frozen == "both" else "clip"
    imported(tmp_path, kind)
    before = load_file(tmp_path / "ours" / "model.safetensors")
    table = small_table(tmp_path / "pairs.lance")
    sides = ("vision", "text") if frozen == "both" else (frozen,)
    settings = [f"train.freeze_{side}=true" for side in sides]
    config = config_from(find_start(tmp_path / "run", tmp_path / "ours", False), None, None, [
        "train.epochs=2", "train.batch_size=8", "train.warmup_steps=1", "objectives.queue_size=16",
        "train.layer_decay=0.9", "system.threads=1", *settings,
    ])  # fmt: skip
    pretrain(table, tmp_path / "run", config, init=tmp_path / "ours")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for side in ("vision", "text"):
        names = [name for name in before if name.startswith(f"towers.{side}.")]
        moved = [name for name in names if not torch.equal(before[name], after[name])]
        assert bool(moved) != (side in sides), side
    assert not torch.equal(before["match_head_text.weight"], after["match_head_text.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_trained_saved_loaded_ranked_and_measured(kind, tmp_path, monkeypatch, capsys):
    imported(tmp_path, kind)
    table = small_table(tmp_path / "pairs.lance")
    settings = ["train.epochs=2", "train.batch_size=8", "train.warmup_steps=1",
                "objectives.queue_size=16", "system.threads=1"]  # fmt: skip
    start = find_start(tmp_path / "run", tmp_path / "ours", False)
    config = config_from(start, None, None, settings)
    pretrain(table, tmp_path / "run", config, init=tmp_path / "ours")
    model = r2d2.load(tmp_path / "run", "cpu")
    images = pictures(4, side=40)
    side, texts = model.encode_images(images), model.encode_texts(TEXTS)
    model.save(tmp_path / "again")
    again = r2d2.load(tmp_path / "again", "cpu")
    assert torch.equal(again.encode_images(images).embedding, side.embedding)
    assert torch.equal(again.match(images, TEXTS), model.match(side, texts))
    assert (
        model.tokenizer.decode(model.tokenizer(["红色"])[0][0].tolist()).replace(" ", "") == "红色"
    )
    ranked = model.rank("红色方块", images, top_k=2)
    assert sorted(one.index for one in ranked) == [0, 1, 2, 3]
    assert [one.match is None for one in ranked] == [False, False, True, True]
    code, _, lines = call_cli(
        monkeypatch,
        capsys,
        "evaluate",
        "retrieval",
        tmp_path / "run",
        table,
        "--out",
        tmp_path / "report",
    )
    assert code == 0, lines
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert any("two_stage" in found for found in metrics.values() if isinstance(found, dict))


def test_fine_tuning_goes_on_with_the_sigmoid_that_it_was_trained_by(tmp_path):
    theirs, ours, _ = imported(tmp_path, "siglip2")
    bias = float(theirs.logit_bias.detach())
    assert float(ours.model.logit_bias.detach()) == pytest.approx(bias)
    table = small_table(tmp_path / "pairs.lance")
    start = find_start(tmp_path / "run", tmp_path / "ours", False)
    settings = ["train.epochs=1", "train.batch_size=8", "train.warmup_steps=1"]
    config = config_from(start, None, None, settings)
    tuning = tuning_config(start, "retrieval", settings)
    for one in (config, tuning):
        assert (one.objectives.contrast, one.objectives.tgd) == ("sigmoid", False)
    chosen = config_from(start, None, None, [*settings, "objectives.contrast=softmax"])
    assert (chosen.objectives.contrast, chosen.objectives.tgd) == ("softmax", True)
    pretrain(table, tmp_path / "run", config, init=tmp_path / "ours")
    log = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8")
    assert "sigmoid" in log
    assert "tgd" not in log
    after = r2d2.load(tmp_path / "run", "cpu").model
    assert float(after.logit_bias.detach()) != pytest.approx(bias, abs=1e-7)
    pretrain(table, tmp_path / "softmax", chosen, init=tmp_path / "ours")
    assert float(r2d2.load(tmp_path / "softmax", "cpu").model.logit_bias.detach()) == bias


def test_a_sigmoid_without_a_bias_is_refused_before_work_starts(tmp_path):
    imported(tmp_path, "clip")
    start = find_start(tmp_path / "run", tmp_path / "ours", False)
    config = config_from(start, None, None, ["objectives.contrast=sigmoid", "objectives.tgd=false"])
    with pytest.raises(R2D2Error, match="has none"):
        pretrain(
            small_table(tmp_path / "pairs.lance"), tmp_path / "run", config, init=tmp_path / "ours"
        )
    assert not (tmp_path / "run").exists()


def test_without_cross_encoders_it_is_a_plain_dual_encoder(tmp_path):
    _, ours, _ = imported(tmp_path, "siglip", cross_layers=0)
    assert not ours.has_match
    assert ours.rank("红", pictures(2))[0].match is None


def test_what_cannot_be_taken_is_refused(tmp_path):
    save_hf(tmp_path / "clip", "clip")
    with pytest.raises(R2D2Error, match="--mask-token"):
        import_towers(tmp_path / "clip", tmp_path / "x")
    with pytest.raises(R2D2Error, match="nosuch"):
        import_towers(tmp_path / "clip", tmp_path / "x", TowerOptions(mask_token="nosuch"))
    save_hf(tmp_path / "sig", "siglip")
    with pytest.raises(R2D2Error, match="--max-length"):
        import_towers(tmp_path / "sig", tmp_path / "x", TowerOptions(max_length=5))
    (tmp_path / "sig" / "tokenizer.json").unlink()
    with pytest.raises(R2D2Error, match=r"tokenizer\.json"):
        import_towers(tmp_path / "sig", tmp_path / "x")
    config = json.loads((tmp_path / "clip" / "config.json").read_text())
    code = {"auto_map": {"AutoModel": "evil.Model"}, "model_type": "evil"}
    (tmp_path / "clip" / "config.json").write_text(json.dumps(config | code))
    (tmp_path / "clip" / "evil.py").write_text("raise SystemExit")
    with pytest.raises(R2D2Error, match="'evil'"):
        import_towers(tmp_path / "clip", tmp_path / "x", TowerOptions(mask_token="9"))
    wrong = config | {"vision_config": config["vision_config"] | {"hidden_size": 64}}
    (tmp_path / "clip" / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(R2D2Error, match="another model's"):
        import_towers(tmp_path / "clip", tmp_path / "x", TowerOptions(mask_token="9"))
    assert not (tmp_path / "x").exists()


def test_the_command(tmp_path, monkeypatch, capsys):
    save_hf(tmp_path / "theirs", "chinese_clip")
    code, out, lines = call_cli(
        monkeypatch, capsys, "weights", "towers", tmp_path / "theirs", "--out", tmp_path / "ours",
        "--cross-layers", 1,
    )  # fmt: skip
    assert code == 0, lines
    assert "initialised afresh, to be trained" in out
    config = r2d2.load(tmp_path / "ours", "cpu").model.config
    assert config.hf_towers is not None
    assert dataclasses.asdict(config)["hf_towers"]["kind"] == "chinese_clip"


def test_the_fingerprint_hashes_the_names_of_version_0_1(tmp_path):
    """Vectors that version 0.1 computed stay valid."""
    save_hf(tmp_path, "clip")
    model = r2d2.load(tmp_path, "cpu")
    assert b"ForeignConfig(kind='clip'" in _tokenizer_state(model.tokenizer)
    assert PARTS["hf_towers"] == "foreign"


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("text_config", {"hidden_act": "gelu_of_tomorrow"}),
        ("vision_config", {"hidden_act": "gelu_of_tomorrow"}),
        ("vision_config", {"num_attention_heads": 5}),
    ],
)
def test_settings_of_another_version_of_transformers_are_refused_in_one_line(
    part, setting, tmp_path
):
    """An activation that is not known here was a KeyError."""
    save_hf(tmp_path, "chinese_clip")
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config[part] |= setting
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    line = refused(r2d2.load, tmp_path, "cpu")
    assert line.startswith("config.json of the towers is not understood (")
    assert str(next(iter(setting.values()))) in line
    assert line.endswith("give the file as it was saved, or update transformers")
