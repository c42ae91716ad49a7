"""Exported folders, opened by the real libraries and held against our own embeddings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer

import r2d2
from helpers.cli import refused
from helpers.encoder_files import save_image_encoder, save_text_encoder
from helpers.named_models import write_model
from helpers.published_weights import save_small, small_config, spread, write_vocab
from helpers.small_hf_models import save_hf
from r2d2.integrations.hf_folder import export_hf
from r2d2.model.r2d2 import R2D2
from r2d2.models import load_network
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer
from r2d2.weights.encoder_pairs import import_pair
from r2d2.weights.towers import TowerOptions

CHINESE_CLIP_SHAPE = {"vision": {"pooled_norm": True}, "projection_bias": False}
OWN = {
    "plain": {},
    "output_norm": {"vision": {"output_norm": True, "norm_eps": 1e-6}},
    "pooled_norm": {"vision": {"pooled_norm": True}, "cross_layers": 0},
    "chinese_clip_shape": CHINESE_CLIP_SHAPE,
}
FOREIGN = ("chinese_clip", "clip", "siglip", "siglip2", "fgclip2", "chinese_clip_pt")
TEXTS = [
    "一个红色方块",
    "白 [MASK] ａｂｃ " + "红橙黄绿" * 30,
    "<eos>红",
    "",
    "ABC蓝",
    "雪地里的男孩",
]


def pictures():
    noise = np.random.default_rng(0)
    shapes = ((50, 80), (24, 24), (10, 100), (300, 200))
    found = [Image.fromarray(noise.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in shapes]
    return [*found, found[0].convert("L")]


def exported(source, out, trust=False):
    """Our model as it is exported, of squares, and the folder's as sentence-transformers has it."""
    export_hf(source, out)
    return load_network(source, "export", "cpu"), SentenceTransformer(
        str(out), device="cpu", local_files_only=True, trust_remote_code=trust
    )


def check_equal(ours, theirs):
    for items, side in (
        (TEXTS, ours.encode_texts(TEXTS)),
        (pictures(), ours.encode_images(pictures())),
    ):
        found = theirs.encode(items, convert_to_tensor=True)
        torch.testing.assert_close(found, side.embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", FOREIGN)
def test_towers_of_hugging_face_classes_give_equal_embeddings(kind, tmp_path):
    source = write_model(kind, tmp_path / "source")
    ours, theirs = exported(source, tmp_path / "out")
    check_equal(ours, theirs)
    model = transformers.AutoModel.from_pretrained(tmp_path / "out", local_files_only=True)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out", local_files_only=True)
    with torch.inference_mode():
        inputs = processor(images=pictures(), return_tensors="pt")
        states = model.get_image_features(**inputs).pooler_output
    found = torch.nn.functional.normalize(states, dim=-1)
    side = ours.encode_images(pictures())
    torch.testing.assert_close(found, side.embedding, atol=1e-5, rtol=0)
    again = r2d2.load(tmp_path / "out", "cpu")
    torch.testing.assert_close(again.encode_texts(TEXTS).embedding,
                               ours.encode_texts(TEXTS).embedding, atol=1e-5, rtol=0)  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_our_own_towers_give_equal_embeddings_and_match_scores(kind, tmp_path):
    save_small(tmp_path / "ours", **dict(OWN[kind]))
    ours, theirs = exported(tmp_path / "ours", tmp_path / "out")
    check_equal(ours, theirs)
    assert (tmp_path / "out/config.json").exists() == (kind == "chinese_clip_shape")
    inner = tmp_path / "out/cross-encoder"
    assert inner.exists() == ours.has_match
    if not ours.has_match:
        return
    ranker = CrossEncoder(str(inner), trust_remote_code=True, device="cpu", local_files_only=True)
    shown = [pictures()[n % 5] for n in range(6)]
    pairs = [(t, p) if n % 2 else (p, t) for n, (t, p) in enumerate(zip(TEXTS, shown, strict=True))]
    found = ranker.predict(pairs, batch_size=4, convert_to_tensor=True)
    torch.testing.assert_close(found, ours.match(shown, TEXTS), atol=1e-5, rtol=0)
    ranked = ranker.rank(TEXTS[0], shown)
    best = ours.match(shown, TEXTS[:1] * 6).argmax()
    assert ranked[0]["corpus_id"] == int(best)


def test_the_model_of_the_package_is_exported(tmp_path):
    """Its overlapping patches are in no class of transformers, so the folder needs this package."""
    ours, theirs = exported("emoji", tmp_path / "out", trust=True)
    check_equal(ours, theirs)
    again = r2d2.load(tmp_path / "out", "cpu").encode_texts(TEXTS)
    torch.testing.assert_close(again.embedding, ours.encode_texts(TEXTS).embedding)
    assert r2d2.load(tmp_path / "out/cross-encoder", "cpu").has_match


def test_two_models_behind_a_router_are_no_model_of_ours(tmp_path):
    save_small(tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "out")
    assert "cross-encoder/" in refused(r2d2.load, tmp_path / "out")
    assert r2d2.load(tmp_path / "out/cross-encoder", "cpu").has_match


@pytest.mark.parametrize("kind", ["chinese_clip", "siglip", "ours"])
def test_embeddings_of_fewer_numbers(kind, tmp_path):
    if kind == "ours":
        save_small(tmp_path / "source")
    else:
        write_model(kind, tmp_path / "source")
    export_hf(tmp_path / "source", tmp_path / "out", dim=8)
    opened = SentenceTransformer(
        str(tmp_path / "out"), device="cpu", trust_remote_code=kind == "siglip"
    )
    assert opened.get_embedding_dimension() == 8
    check_equal(r2d2.load(tmp_path / "source", "cpu", dim=8), opened)


def test_a_tokenizer_that_folds_width_stays_one(tmp_path):
    tokenizer = Tokenizer.train(["abc 一个男孩", "红色的汽车"], 60, 16)
    config = small_config()
    config = replace(config, text=replace(config.text, vocab_size=tokenizer.vocab_size))
    Pretrained(spread(R2D2(config)), tokenizer).save(tmp_path / "ours")
    _, theirs = exported(tmp_path / "ours", tmp_path / "out")
    wide, narrow = theirs.encode(["ａｂｃ", "abc"])
    assert np.array_equal(wide, narrow)


def test_pictures_that_are_cropped_stay_so(tmp_path):
    save_hf(tmp_path / "source", "clip")
    settings = {"do_center_crop": True, "size": {"shortest_edge": 30}, "resample": 2,
                "crop_size": {"height": 24, "width": 24}}  # fmt: skip
    (tmp_path / "source/preprocessor_config.json").write_text(json.dumps(settings))
    ours, theirs = exported(tmp_path / "source", tmp_path / "out")
    assert ours.preprocessing.shortest == 30
    check_equal(ours, theirs)


def test_no_weights_are_missing_or_left_over(tmp_path, capsys):
    """What the libraries would say of them on loading."""
    save_small(tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "out")
    for part in ("text_0_Transformer", "image_0_Transformer"):
        more = {"add_pooling_layer": False} if part.startswith("text") else {}
        _, told = transformers.AutoModel.from_pretrained(
            tmp_path / "out" / part, output_loading_info=True, **more
        )
        assert not told["missing_keys"]
        assert not told["unexpected_keys"]


def test_what_a_pair_must_be(tmp_path):
    save_small(tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "out")
    inner = str(tmp_path / "out/cross-encoder")
    ranker = CrossEncoder(inner, trust_remote_code=True, device="cpu")
    assert "a text and a PIL.Image" in refused(ranker.predict, [("猫", "狗")])
    assert "prompt" in refused(ranker.predict, [("猫", pictures()[0])], prompt="query: ")


def test_the_libraries_are_silent_while_a_folder_is_written(tmp_path, capfd, caplog):
    caplog.set_level("INFO")
    save_small(tmp_path / "ours", cross_layers=0)
    export_hf(tmp_path / "ours", tmp_path / "out")
    assert capfd.readouterr().err == ""
    assert "Loading" not in caplog.text


def test_a_damaged_folder_is_told_in_one_line(tmp_path):
    save_small(tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "out")
    inner = tmp_path / "out/cross-encoder"
    config = json.loads((inner / "config.json").read_text())
    config["model"]["heads_of_a_later_version"] = 3
    (inner / "config.json").write_text(json.dumps(config))
    line = refused(CrossEncoder, str(inner), trust_remote_code=True)
    assert "config.json is damaged" in line
    assert "heads_of_a_later_version" in line


@pytest.mark.parametrize("vision", [{"pooled_norm": True, "output_norm": True}, {"stem": "conv"}])
def test_towers_that_no_class_holds_name_a_class_of_this_package(vision, tmp_path):
    save_small(tmp_path / "ours", vision=vision)
    export_hf(tmp_path / "ours", tmp_path / "out")
    opened = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    check_equal(r2d2.load(tmp_path / "ours", "cpu"), opened)
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert 'SentenceTransformer("DIR", trust_remote_code=True)' in card
    assert "AutoModel" not in card
    opened.save(str(tmp_path / "again"))
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu", trust_remote_code=True)
    assert np.array_equal(again.encode(TEXTS), opened.encode(TEXTS))


def test_a_pair_of_encoders_of_one_modality_is_exported(tmp_path):
    save_image_encoder(tmp_path / "i", "dinov2")
    save_text_encoder(tmp_path / "t", "bert")
    import_pair(
        tmp_path / "i",
        tmp_path / "t",
        tmp_path / "pair",
        TowerOptions(embed_dim=24, cross_layers=1),
    )
    export_hf(tmp_path / "pair", tmp_path / "out")
    opened = SentenceTransformer(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    check_equal(r2d2.load(tmp_path / "pair", "cpu"), opened)


def test_what_cannot_be_exported_is_refused(tmp_path):
    graphs = write_model("onnx_pair", tmp_path / "graphs")
    assert "ONNX" in refused(export_hf, graphs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_vocab(tmp_path / "there")
    assert "exists" in refused(export_hf, "emoji", tmp_path / "there")
    line = refused(export_hf, "emoji", tmp_path / "there", overwrite=True)
    assert "was not written by this command" in line
