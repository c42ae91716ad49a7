"""Checkpoints as the official R2D2, PRD2 and Chinese-CLIP code writes them, names made by hand."""

import argparse

import pytest
import torch

from helpers.published_weights import (
    EMBED,
    HEADS,
    IMAGE,
    LAYERS,
    PATCH,
    VOCAB,
    WIDTH,
    batch,
    save_small,
    write_vocab,
)
from r2d2.errors import R2D2Error
from r2d2.models import load
from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer
from r2d2.weights.exporting import export_weights
from r2d2.weights.importing import import_weights
from r2d2.weights.layout import ImportOptions
from weights import official_forward

JOINT_LAYERS = 3
INNER = 4 * WIDTH
HEAD_WISHES = {"vision_heads": HEADS, "text_heads": HEADS}


class Names(dict):
    """Random weights by official names."""

    def tensor(self, name, *shape):
        one = 1.0 if "norm" in name.lower() or ".ln_" in name else 0.0
        self[name] = 0.2 * torch.randn(*shape) + (one if name.endswith("weight") else 0.0)

    def linear(self, name, ins, outs, bias=True):
        self.tensor(f"{name}.weight", outs, ins)
        if bias:
            self.tensor(f"{name}.bias", outs)

    def norm(self, name):
        self.tensor(f"{name}.weight", WIDTH)
        self.tensor(f"{name}.bias", WIDTH)

    def bert_attention(self, name, context):
        self.linear(f"{name}.self.query", WIDTH, WIDTH)
        self.linear(f"{name}.self.key", context, WIDTH)
        self.linear(f"{name}.self.value", context, WIDTH)
        self.linear(f"{name}.output.dense", WIDTH, WIDTH)
        self.norm(f"{name}.output.LayerNorm")

    def bert(self, name, layers, context=0, segments=2, pooler=False):
        self.tensor(f"{name}.embeddings.word_embeddings.weight", VOCAB, WIDTH)
        self.tensor(f"{name}.embeddings.position_embeddings.weight", 512, WIDTH)
        if segments:
            self.tensor(f"{name}.embeddings.token_type_embeddings.weight", segments, WIDTH)
        self.norm(f"{name}.embeddings.LayerNorm")
        self[f"{name}.embeddings.position_ids"] = torch.arange(512)[None]
        for i in range(layers):
            layer = f"{name}.encoder.layer.{i}"
            self.bert_attention(f"{layer}.attention", WIDTH)
            if context:
                self.bert_attention(f"{layer}.crossattention", context)
            self.linear(f"{layer}.intermediate.dense", WIDTH, INNER)
            self.linear(f"{layer}.output.dense", INNER, WIDTH)
            self.norm(f"{layer}.output.LayerNorm")
        if pooler:
            self.linear(f"{name}.pooler.dense", WIDTH, WIDTH)

    def clip(self, name):
        positions = (IMAGE // PATCH) ** 2 + 1
        self.tensor(f"{name}.embeddings.class_embedding", WIDTH)
        self.tensor(f"{name}.embeddings.patch_embedding.weight", WIDTH, 3, PATCH, PATCH)
        self.tensor(f"{name}.embeddings.position_embedding.weight", positions, WIDTH)
        self[f"{name}.embeddings.position_ids"] = torch.arange(positions)[None]
        self.norm(f"{name}.pre_layrnorm")
        self.norm(f"{name}.post_layernorm")
        for i in range(LAYERS):
            layer = f"{name}.encoder.layers.{i}"
            for m in ("q_proj", "k_proj", "v_proj", "out_proj"):
                self.linear(f"{layer}.self_attn.{m}", WIDTH, WIDTH)
            self.norm(f"{layer}.layer_norm1")
            self.norm(f"{layer}.layer_norm2")
            self.linear(f"{layer}.mlp.fc1", WIDTH, INNER)
            self.linear(f"{layer}.mlp.fc2", INNER, WIDTH)


def official(joint_layers=JOINT_LAYERS):
    names = Names()
    names.clip("visual_encoder")
    names.bert("text_encoder", LAYERS, pooler=True)
    names.linear("vision_proj", WIDTH, EMBED)
    names.linear("text_proj", WIDTH, EMBED)
    names["temp"] = torch.tensor(0.0421)
    if joint_layers:
        names.bert("text_joint_layer", joint_layers, context=WIDTH, segments=0)
        names.bert("img_joint_layer", joint_layers, context=WIDTH, segments=0)
        names.linear("img_joint_proj", WIDTH, WIDTH)
        names.linear("itm_head", WIDTH, 2)
        names.linear("itm_head_i", WIDTH, 2)
    return names


def original_chinese_clip():
    names = Names()
    names.tensor("visual.class_embedding", WIDTH)
    names.tensor("visual.positional_embedding", (IMAGE // PATCH) ** 2 + 1, WIDTH)
    names.tensor("visual.proj", WIDTH, EMBED)
    names.tensor("visual.conv1.weight", WIDTH, 3, PATCH, PATCH)
    names.norm("visual.ln_pre")
    names.norm("visual.ln_post")
    for i in range(LAYERS):
        block = f"visual.transformer.resblocks.{i}"
        names.tensor(f"{block}.attn.in_proj_weight", 3 * WIDTH, WIDTH)
        names.tensor(f"{block}.attn.in_proj_bias", 3 * WIDTH)
        names.linear(f"{block}.attn.out_proj", WIDTH, WIDTH)
        names.norm(f"{block}.ln_1")
        names.norm(f"{block}.ln_2")
        names.linear(f"{block}.mlp.c_fc", WIDTH, INNER)
        names.linear(f"{block}.mlp.c_proj", INNER, WIDTH)
    names.bert("bert", LAYERS, pooler=True)
    del names["bert.embeddings.position_ids"]
    names.tensor("text_projection", WIDTH, EMBED)
    names["logit_scale"] = torch.tensor(3.9)
    return names


def saved(path, content, legacy=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_vocab(path.parent)
    content = {k: dict(v) if isinstance(v, Names) else v for k, v in content.items()}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def doubled(names):
    return {name: tensor.double() for name, tensor in names.items() if tensor.is_floating_point()}


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def same_match(model, images, texts, match, pairs=None):
    ours = torch.stack([x.softmax(-1)[:, 1] for x in model.match_logits(images, texts, pairs)])
    close(ours, match)
    close(model.match(images, texts, pairs).double(), match.mean(0))


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_official_r2d2_gives_the_same_scores(tmp_path, legacy):
    names = official()
    content = {
        "model": names,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    }
    path = saved(tmp_path / "theirs/r2d2.pth", content, legacy)
    report = import_weights(path, tmp_path / "ours", ImportOptions(max_length=16, **HEAD_WISHES))
    pretrained = load(tmp_path / "ours", device="cpu")
    model = pretrained.model.double()
    ids, mask, pixels = batch()
    sims, match = official_forward.r2d2(
        doubled(names), ids, mask, pixels, HEADS, LAYERS, JOINT_LAYERS
    )
    images, texts = model.encode_images(pixels), model.encode_texts(ids, mask)
    assert sims.std() > 0.5
    assert (match.std(1) > 0.01).all()
    close(images.embedding @ texts.embedding.T / model.temperature, sims)
    same_match(model, images, texts, match)
    # all pairs at once, as re-ranking asks for them
    i, j = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    _, match = official_forward.r2d2(
        doubled(names), ids[j], mask[j], pixels[i], HEADS, LAYERS, JOINT_LAYERS
    )
    same_match(model, images, texts, match, (i, j))

    (source,) = report.sources
    told = {name for used in source.used for name in used.theirs} | source.unused.keys()
    assert told == names.keys() | {"optimizer", "epoch"}
    assert {name.split(".")[0] for name in report.fresh} == {"mlm_head"}
    assert "not a name" not in " ".join(source.unused.values())
    assert pretrained.match_weight == 1.0
    assert pretrained.top_k == 128


@torch.no_grad()
def test_official_prd2_gives_the_same_scores(tmp_path):
    names = official(joint_layers=0)
    path = saved(tmp_path / "theirs/prd2.pth", {"model": names})
    report = import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    model = load(tmp_path / "ours", device="cpu").model.double()
    ids, mask, pixels = batch()
    sims, _ = official_forward.r2d2(doubled(names), ids, mask, pixels, HEADS, LAYERS, 0)
    images, texts = model.encode_images(pixels), model.encode_texts(ids, mask)
    close(images.embedding @ texts.embedding.T / model.temperature, sims)
    assert not model.has_match
    assert not report.fresh


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize(
    ("content", "length", "longest"),
    [
        (lambda: {"state_dict": original_chinese_clip()}, 52, 200),  # of its own tokenizer
        (lambda: {"model": official()}, 64, 100),  # transformers' BertTokenizer
    ],
    ids=["chinese_clip", "official"],
)
def test_texts_are_cut_where_their_own_code_cuts_them(content, length, longest, file, tmp_path):
    path = saved(tmp_path / "theirs/weights.pt", content())
    vocab = path.parent / "vocab.txt"
    vocab.write_text("\n".join([*SPECIAL_TOKENS, "a", "##a", *"bcdef"]), encoding="utf-8")
    if file == "tokenizer.json":
        Tokenizer.from_vocab(vocab).save(path.parent / file)
        vocab.unlink()
    import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    tokenizer = load(tmp_path / "ours", device="cpu").tokenizer
    ids, mask = tokenizer(["a " * 99])
    assert mask.sum() == ids.shape[1] == length
    assert ids[0, [0, -1]].tolist() == [tokenizer.cls_id, tokenizer.sep_id]
    assert tokenizer.uncut(["a" * longest]) == [["a"] + ["##a"] * (longest - 1)]
    assert tokenizer.uncut(["a" * (longest + 1)]) == [["[UNK]"]]


@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_original_chinese_clip(tmp_path, half):
    names = original_chinese_clip()
    if half:  # as its code keeps them on a GPU
        names = Names({name: tensor.half() for name, tensor in names.items()})
    state = {f"module.{name}": tensor for name, tensor in names.items()}
    path = saved(tmp_path / "theirs/clip.pt", {"epoch": 1, "name": "x", "state_dict": state})
    report = import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    model = load(tmp_path / "ours", device="cpu").model.double()
    ids, mask, pixels = batch()
    image, text = official_forward.chinese_clip(doubled(names), ids, mask, pixels, HEADS, LAYERS)
    close(model.encode_images(pixels).embedding, image)
    close(model.encode_texts(ids, mask).embedding, text)
    close(model.log_temperature, -names["logit_scale"].double())
    (source,) = report.sources
    assert set(source.unused) == {
        "module.bert.pooler.dense.weight",
        "module.bert.pooler.dense.bias",
        "epoch",
        "name",
    }
    assert ("float16" in source.used[0].how) == half
    assert not report.fresh


def test_heads_are_asked_for_where_nothing_tells(tmp_path):
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": official()})
    with pytest.raises(R2D2Error, match="give --vision-heads"):
        import_weights(path, tmp_path / "ours")


def test_a_vocabulary_is_asked_for(tmp_path):
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": official()})
    (tmp_path / "theirs/vocab.txt").unlink()
    with pytest.raises(R2D2Error, match="--vocab"):
        import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    vocab = write_vocab(tmp_path / "elsewhere")
    import_weights(path, tmp_path / "ours", ImportOptions(vocab=vocab, **HEAD_WISHES))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text_encoder.encoder.layer.1.output.dense.bias", "lacks .*output.dense.bias"),
        ("itm_head_i.bias", "lacks itm_head_i.bias"),
        ("temp", "lacks temp"),
        ("vision_proj.weight", "lacks vision_proj.weight"),
        ("text_joint_layer.encoder.layer.0.crossattention.self.key.weight", "crossattention"),
    ],
)
def test_half_a_checkpoint_is_refused(tmp_path, name, words):
    names = official()
    del names[name]
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": names})
    with pytest.raises(R2D2Error, match=words):
        import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    assert not (tmp_path / "ours").exists()


def test_a_shape_that_does_not_fit_names_both(tmp_path):
    names = official()
    names["text_joint_layer.encoder.layer.1.crossattention.self.key.weight"] = torch.randn(
        WIDTH, WIDTH + 8
    )
    names["text_joint_layer.encoder.layer.1.crossattention.self.value.weight"] = torch.randn(
        WIDTH, WIDTH + 8
    )
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": names})
    with pytest.raises(R2D2Error, match=r"gives \(64, 40\) where .* is \(64, 32\)"):
        import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")])
def test_a_temperature_that_is_none(tmp_path, value):
    names = official(0)
    names["temp"] = torch.tensor(value)
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": names})
    with pytest.raises(R2D2Error, match="temp"):
        import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))


def test_a_temperature_out_of_range_is_noted(tmp_path):
    names = official(0)
    names["temp"] = torch.tensor(0.9)
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": names})
    report = import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    assert "tau is 0.9" in report.lines()[-1]


def test_a_teacher_and_a_queue_are_listed(tmp_path):
    names = official(0)
    for name in ("visual_encoder_m.pre_layrnorm.bias", "image_queue", "queue_ptr", "surprise"):
        names[name] = torch.zeros(3)
    path = saved(tmp_path / "theirs/r2d2.pth", {"model": names, "args": {"lr": 1}})
    report = import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))
    unused = report.sources[0].unused
    assert "teacher" in unused["visual_encoder_m.pre_layrnorm.bias"]
    assert "queue" in unused["image_queue"]
    assert "queue" in unused["queue_ptr"]
    assert unused["surprise"] == "not a name of this layout"
    assert "a dict of 1" in unused["args"]


def test_a_file_with_more_than_tensors_is_refused(tmp_path):
    content = {"model": official(0), "args": argparse.Namespace(lr=1)}
    path = saved(tmp_path / "theirs/r2d2.pth", content)
    with pytest.raises(R2D2Error, match=r"argparse\.Namespace.*convert it to safetensors"):
        import_weights(path, tmp_path / "ours", ImportOptions(**HEAD_WISHES))


@torch.no_grad()
@pytest.mark.parametrize("joint_layers", [0, 2])
def test_the_official_code_could_read_what_we_export(tmp_path, joint_layers):
    model = save_small(tmp_path / "ours", cross_layers=joint_layers).double()
    report = export_weights(load(tmp_path / "ours"), "official", tmp_path / "theirs")
    names = torch.load(tmp_path / "theirs/model.pth", weights_only=True)["model"]
    # its loader drops silently what has another shape, and ignores what is missing
    wanted = official(joint_layers)
    assert {name: t.shape for name, t in names.items()}.items() <= {
        name: t.shape for name, t in wanted.items()
    }.items()
    missing = set(wanted.keys() - names.keys())
    assert all(word in " ".join(missing) for word in ("post_layernorm", "pooler", "position_ids"))
    assert not [
        n
        for n in missing
        if "joint_layer.embeddings" not in n
        and not any(word in n for word in ("post_layernorm", "pooler", "position_ids"))
    ]
    ids, mask, pixels = batch()
    sims, match = official_forward.r2d2(
        doubled(names), ids, mask, pixels, HEADS, LAYERS, joint_layers
    )
    images, texts = model.encode_images(pixels), model.encode_texts(ids, mask)
    close(images.embedding @ texts.embedding.T / model.temperature, sims)
    if joint_layers:
        same_match(model, images, texts, match)
    assert {name.split(".")[0] for name in report.left_out} <= {"mlm_head"}
    assert any("edit its files" in note for note in report.notes)


@torch.no_grad()
def test_the_original_chinese_clip_code_could_read_what_we_export(tmp_path):
    towers = {"vision": {"pooled_norm": True}, "projection_bias": False}
    model = save_small(tmp_path / "ours", **towers).double()
    export_weights(load(tmp_path / "ours"), "chinese_clip_pt", tmp_path / "theirs")
    state = torch.load(tmp_path / "theirs/clip.pt", weights_only=True)["state_dict"]
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    # its loader drops bert.pooler and is strict on the rest
    wanted = {n: t.shape for n, t in original_chinese_clip().items() if "pooler" not in n}
    assert {name: tensor.shape for name, tensor in names.items()} == wanted
    ids, mask, pixels = batch()
    image, text = official_forward.chinese_clip(doubled(names), ids, mask, pixels, HEADS, LAYERS)
    close(model.encode_images(pixels).embedding, image)
    close(model.encode_texts(ids, mask).embedding, text)
