"""Import and export: round trips, what goes with what, and what is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.published_weights import HEADS, IMAGE, PATCH, TOKENS, VOCAB, save_small, write_vocab
from r2d2.config import ModelConfig
from r2d2.errors import R2D2Error
from r2d2.models import load
from r2d2.weights.exporting import export_weights
from r2d2.weights.importing import import_weights
from r2d2.weights.layout import ImportOptions
from r2d2.weights.layouts import kinds

CLIP_LIKE = {"vision": {"pooled_norm": True}, "projection_bias": False}
HEAD_WISHES = {"vision_heads": HEADS, "text_heads": HEADS}
FRESH = ModelConfig(cross_layers=0, embed_dim=16)
ODD = {"activation": "gelu", "norm_eps": 1e-3, "inner_width": 40}


def state(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("kind", "changes", "lost"),
    [
        ("official", {}, {"mlm_head"}),
        ("official_safetensors", {}, {"mlm_head"}),
        ("official", {"cross_layers": 0}, set()),
        ("official", {"projection_bias": False, "cross_layers": 0}, set()),
        ("chinese_clip", {**CLIP_LIKE, "cross_layers": 0}, set()),
        ("chinese_clip_pt", {**CLIP_LIKE, "cross_layers": 0}, set()),
        ("chinese_clip", {"vision": {"pooled_norm": True, **ODD}, "projection_bias": False}, None),
    ],
)
def test_round_trip(tmp_path, kind, changes, lost):
    save_small(tmp_path / "ours", **changes)
    export_weights(load(tmp_path / "ours"), kind, tmp_path / "theirs")
    wishes = HEAD_WISHES if kind.startswith(("official", "chinese_clip_pt")) else {}
    report = import_weights(
        tmp_path / "theirs", tmp_path / "back", ImportOptions(**wishes, max_length=16)
    )
    assert not report.sources[0].unused.keys() - {"epoch", "step", "name"}
    before, after = state(tmp_path / "ours"), state(tmp_path / "back")
    if lost is None:  # only the towers were kept
        before = {k: v for k, v in before.items() if k.startswith(("towers.", "log_"))}
    fresh = {name.split(".")[0] for name in report.fresh}
    assert fresh == (lost or set())
    for name, tensor in before.items():
        if name.split(".")[0] in fresh:
            continue
        if name == "log_temperature":  # through tau and back
            torch.testing.assert_close(after[name], tensor)
        else:
            assert torch.equal(after[name], tensor), name
    ours, back = (load(tmp_path / name, device="cpu") for name in ("ours", "back"))
    for part in ("vision", "text"):
        assert getattr(back.model.config, part) == getattr(ours.model.config, part)
    assert (
        back.tokenizer(["一个男孩abc"])[0].tolist() == ours.tokenizer(["一个男孩abc"])[0].tolist()
    )
    # and a second time, byte for byte
    export_weights(load(tmp_path / "back"), kind, tmp_path / "theirs2")
    again = import_weights(
        tmp_path / "theirs2", tmp_path / "back2", ImportOptions(**wishes, max_length=16)
    )
    assert again.config == report.config
    name = "towers.text.layers.1.attention.key_value.weight"
    assert torch.equal(state(tmp_path / "back2")[name], after[name])


def towers(tmp_path, **changes):
    """The two towers of one model, as a BERT with a vocabulary and a CLIP without."""
    save_small(tmp_path / "ours", **changes)
    export_weights(load(tmp_path / "ours"), "bert", tmp_path / "bert")
    export_weights(load(tmp_path / "ours"), "clip", tmp_path / "clip")
    return tmp_path / "bert", tmp_path / "clip"


def test_two_towers_come_back(tmp_path):
    bert, clip = towers(tmp_path)
    report = import_weights([clip, bert], tmp_path / "back", ImportOptions(fresh=FRESH))
    before, after = state(tmp_path / "ours"), state(tmp_path / "back")
    for name in after:
        if name.startswith(("towers.vision", "towers.text.")):
            assert torch.equal(after[name], before[name]), name
    reasons = report.sources[1].unused
    assert reasons["cls.predictions.bias"] == "the model asked for has no mlm_head.bias"
    text = (tmp_path / "back/import.json").read_text(encoding="utf-8")
    noted = json.loads(text)
    assert noted["fresh"] == list(report.fresh)
    assert any("initialised afresh" in line for line in report.lines())
    report = import_weights(
        [clip, bert], tmp_path / "cross", ImportOptions(fresh=FRESH, cross_layers=1)
    )
    assert torch.equal(state(tmp_path / "cross")["mlm_head.bias"], before["mlm_head.bias"])


def test_a_clip_tower_alone_needs_a_vocabulary(tmp_path):
    _, clip = towers(tmp_path)
    with pytest.raises(R2D2Error, match="--vocab"):
        import_weights(clip, tmp_path / "back", ImportOptions(fresh=FRESH))
    text = dataclasses.replace(FRESH.text, width=24, heads=2, layers=1)
    fresh = dataclasses.replace(FRESH, text=text)
    report = import_weights(
        clip,
        tmp_path / "back",
        ImportOptions(fresh=fresh, vocab=write_vocab(tmp_path / "v"), max_length=9),
    )
    assert report.config.text.vocab_size == len(TOKENS)
    assert report.config.text.max_length == 9
    assert "towers.text.token_embedding.weight" in report.fresh


def test_a_bert_alone_gets_an_image_encoder(tmp_path):
    bert, _ = towers(tmp_path)
    vision = dataclasses.replace(FRESH.vision, width=24, heads=2, layers=1)
    report = import_weights(
        bert,
        tmp_path / "back",
        ImportOptions(image_size=32, fresh=dataclasses.replace(FRESH, vision=vision)),
    )
    assert report.config.vision.image_size == 32
    assert "towers.vision.class_embedding" in report.fresh


def test_the_old_names_and_a_twin_head(tmp_path):
    bert, clip = towers(tmp_path)
    tensors = load_file(bert / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("norm.bias", "norm.beta"): t
        for name, t in tensors.items()
    }
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): t for name, t in old.items()}
    assert "bert.embeddings.LayerNorm.gamma" in old
    words = tensors["bert.embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.weight"] = words.clone()
    (bert / "model.safetensors").unlink()
    torch.save(old, bert / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    report = import_weights(
        [bert, clip], tmp_path / "back", ImportOptions(fresh=FRESH, cross_layers=1)
    )
    name = "mlm_head.norm.weight"
    assert torch.equal(state(tmp_path / "back")[name], state(tmp_path / "ours")[name])
    unused = report.sources[0].unused
    assert unused["cls.predictions.decoder.weight"].startswith("the same as bert.embeddings")
    old["cls.predictions.decoder.weight"] += 1
    torch.save(old, bert / "pytorch_model.bin")
    report = import_weights(
        [bert, clip], tmp_path / "back", ImportOptions(fresh=FRESH), overwrite=True
    )
    assert "differs from" in report.sources[0].unused["cls.predictions.decoder.weight"]


def test_parts_of_a_large_checkpoint(tmp_path):
    bert, clip = towers(tmp_path)
    tensors = load_file(bert / "model.safetensors")
    names = sorted(tensors)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, bert / file)
    (bert / "model.safetensors").unlink()
    places = {name: file for file, part in files.items() for name in part}
    index = bert / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    import_weights([bert, clip], tmp_path / "back", ImportOptions(fresh=FRESH))
    (bert / "b.safetensors").unlink()
    with pytest.raises(R2D2Error, match=r"b\.safetensors is missing"):
        import_weights([bert, clip], tmp_path / "again", ImportOptions(fresh=FRESH))
    index.write_text(json.dumps({"weight_map": {"x": "../bert/a.safetensors"}}))
    with pytest.raises(R2D2Error, match="outside of its folder"):
        import_weights([bert, clip], tmp_path / "again", ImportOptions(fresh=FRESH))


def test_a_tokenizer_json_is_a_vocabulary_too(tmp_path):
    bert, clip = towers(tmp_path)
    (bert / "vocab.txt").unlink()
    import_weights([bert, clip], tmp_path / "back", ImportOptions(fresh=FRESH, max_length=7))
    tokenizer = load(tmp_path / "back", device="cpu").tokenizer
    assert tokenizer.max_length == 7
    assert tokenizer(["一个男孩在雪地里玩耍"])[0].shape == (1, 7)


def refused(words, source, out, kind=None, overwrite=False, **options):
    options = ImportOptions(**{"fresh": FRESH, **options})
    with pytest.raises(R2D2Error, match=words) as error:
        import_weights(source, out, options, kind=kind, overwrite=overwrite)
    assert "\n" not in str(error.value)


def test_what_does_not_go_together_is_refused(tmp_path):
    bert, clip = towers(tmp_path)
    out = tmp_path / "back"
    refused("both give the text encoder", [bert, bert], out)
    refused("no source", [], out)
    refused("single source", [bert, clip], out, kind="bert")
    refused("did you mean bert", bert, out, kind="bertt")
    refused("nothing at", tmp_path / "nowhere", out)
    refused("16 text positions, fewer than the 17", [bert, clip], out, max_length=17)
    refused("not a multiple of patch_size", [bert, clip], out, image_size=IMAGE + PATCH - 1)
    refused("lacks vision_model", bert, out, kind="clip")
    refused("is a model of ours already", tmp_path / "ours", out)
    refused("exists: give another --out, or --overwrite", [bert, clip], tmp_path / "ours")
    refused("is read from", bert, bert, overwrite=True)
    (tmp_path / "photos/2020").mkdir(parents=True)
    refused("was not written by this", [bert, clip], tmp_path / "photos", overwrite=True)
    long = tmp_path / "long.txt"
    long.write_text("\n".join([*TOKENS, *(f"w{i}" for i in range(VOCAB))]), encoding="utf-8")
    refused("give the vocab.txt that it was trained with", [bert, clip], out, vocab=long)
    save_file({"a.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused("no layout known here", tmp_path / "other.safetensors", out)
    tensors = load_file(clip / "model.safetensors")
    tensors["embeddings.class_embedding"][3] = float("inf")
    save_file(tensors, clip / "model.safetensors")
    refused("no finite numbers", [bert, clip], out)
    assert not out.exists()


def test_other_means_and_deviations_are_noted(tmp_path):
    bert, clip = towers(tmp_path)
    settings = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (clip / "preprocessor_config.json").write_text(json.dumps(settings))
    report = import_weights([bert, clip], tmp_path / "back", ImportOptions(fresh=FRESH))
    assert "0.5" in report.notes[0]


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("clip", {"vision": {"output_norm": True}}, "output_norm is on"),
        ("chinese_clip", {"vision": {"output_norm": True, "pooled_norm": True}}, "output_norm"),
        ("clip", {"vision": {"stem": "conv"}}, "stem is conv"),
        ("chinese_clip", {"vision": {"stem": "conv", "pooled_norm": True}}, "stem is conv"),
        ("official", {"vision": {"stem": "conv"}}, "stem is conv"),
        ("chinese_clip", {}, "pooled_norm is off"),
        ("chinese_clip", {"vision": {"pooled_norm": True}}, "image_projection.bias is not zero"),
        ("official", {"vision": {"output_norm": True}}, "output_norm"),
        ("official", {"vision": {"pooled_norm": True}}, "pooled_norm is on"),
        ("official", {"vision": {"activation": "gelu"}}, "always quick_gelu"),
        ("official", {"vision": {"norm_eps": 1e-3}}, "always 1e-05"),
        ("chinese_clip_pt", {"vision": {"pooled_norm": True, "inner_width": 40}}, "inner_width"),
        ("nonsense", {}, "choose one of"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(tmp_path, kind, changes, words):
    save_small(tmp_path / "ours", **changes)
    with pytest.raises(R2D2Error, match=words):
        export_weights(load(tmp_path / "ours"), kind, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_kinds_are_described():
    assert list(kinds())[:5] == ["official", "chinese_clip", "chinese_clip_pt", "clip", "bert"]
    assert all(kinds().values())
