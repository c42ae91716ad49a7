"""The exported folder gives what the model gives, over batches, lengths and sizes, every time."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer as Engine

import r2d2
from helpers.cli import refused
from r2d2.data.emoji import emoji_pairs
from r2d2.deploy.export import export_onnx
from r2d2.deploy.quantise import recall_lines
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.images.decode import resize
from r2d2.model.encoded_states import EncodedStates
from r2d2.onnx_models.exported import OnnxModel

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from explain.test_explanation import build

TEXTS = [
    "狗",
    "一只狗在草地上追飞盘",
    "[MASK] 和 [CLS]",
    "",
    "在草地上追飞盘在草地上追飞盘在草地",
    "ＡＢ　a",
]
LONG = "在草地上追飞盘的狗" * 9 + "红"  # 84 tokens with [CLS] and [SEP]
CLOSE = {"atol": 1e-4, "rtol": 0}


def pictures(*sizes, seed=0):
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (h, w, 3)).astype(np.uint8)) for w, h in sizes]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy")
    build().save(folder / "model")
    build(cross_layers=0).save(folder / "prd2")
    export_onnx(folder / "model", folder / "out", int8=True)
    export_onnx(folder / "prd2", folder / "plain")
    return folder


@pytest.fixture(scope="module")
def ours(place):
    return r2d2.load(place / "model", "cpu")


@pytest.fixture(scope="module")
def theirs(place):
    return OnnxModel(place / "out")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_images(ours, theirs, n):
    """From equal pixels; a picture of the model's size is not resized."""
    given = pictures(*[(24, 24)] * n)
    expected, found = ours.encode_images(given), theirs.encode_images(given)
    torch.testing.assert_close(found.embedding, expected.embedding, **CLOSE)
    torch.testing.assert_close(found.states, expected.states, **CLOSE)


@pytest.mark.parametrize("size", [(60, 40), (24, 90), (7, 5), (300, 200), (1, 1)])
def test_the_resize_is_ours(theirs, size):
    """Within one grey level of Pillow's for each pixel, and equal for nearly all."""
    picture = pictures(size, seed=1)[0]
    expected = resize(picture, 24).astype(int)
    found = resized(theirs, picture)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.01


def resized(model, picture):
    """What the graph makes of a picture, read off in front of the encoder."""
    import onnx
    import onnxruntime

    graph = onnx.load(model.folder / "image.onnx")
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info("pixels.float", onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(["pixels.float"], {"image": np.asarray(picture)[None]})[0]
    return found[0].transpose(1, 2, 0).astype(int)


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], TEXTS[1:3], [TEXTS[3]] * 4])
def test_texts(ours, theirs, texts):
    expected, found = ours.encode_texts(texts), theirs.encode_texts(texts)
    assert torch.equal(found.real(), expected.real())
    torch.testing.assert_close(found.embedding, expected.embedding, **CLOSE)
    real = expected.real()
    torch.testing.assert_close(found.states[real], expected.states[real], **CLOSE)


def test_texts_that_are_cut_by_no_one(place, ours):
    """As libraries give them that ignore the truncation of tokenizer.json, also in one batch."""
    check_uncut(ours, OnnxModel(place / "out"), ["狗", "狗" * 14, "狗" * 13 + "草地", LONG, ""])


def check_uncut(ours, exported, texts):
    engine = Engine.from_file(str(exported.folder / "tokenizer.json"))
    engine.no_truncation()
    for part in (texts, *([text] for text in texts)):
        encoded = engine.encode_batch(part)
        ids, mask = (
            np.array([getattr(one, name) for one in encoded]) for name in ("ids", "attention_mask")
        )
        assert ids.shape[1] == max(len(one.ids) for one in encoded)
        _, real, embedding = exported.run("text", {"ids": ids, "mask": mask})
        side = ours.encode_texts(part)
        torch.testing.assert_close(torch.from_numpy(embedding), side.embedding, **CLOSE)
        assert np.array_equal(real.astype(bool), side.real().numpy())


def test_pairs(ours, theirs):
    given = pictures(*[(24, 24)] * len(TEXTS))
    expected = ours.match(given, TEXTS)
    found = theirs.match(theirs.encode_images(given), theirs.encode_texts(TEXTS))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert expected.std() > 0.01  # they differ, so the parity says something


def test_padding_changes_nothing(theirs):
    alone = theirs.encode_texts(["狗"])
    beside = theirs.encode_texts(["狗", TEXTS[1]])[:1]
    torch.testing.assert_close(alone.embedding, beside.embedding, atol=1e-5, rtol=0)
    image = theirs.encode_images(pictures((24, 24)))
    torch.testing.assert_close(
        theirs.match(image, alone), theirs.match(image, beside), atol=1e-5, rtol=0
    )


def test_the_same_every_time(place, theirs):
    given = pictures((50, 30), (24, 24))
    again = OnnxModel(place / "out")
    for _ in range(2):
        first, second = theirs.encode_images(given), again.encode_images(given)
        assert torch.equal(first.states, second.states)
        texts = theirs.encode_texts(TEXTS[:2])
        assert torch.equal(texts.embedding, again.encode_texts(TEXTS[:2]).embedding)
        assert torch.equal(theirs.match(first, texts), again.match(second, texts))


def test_without_cross_encoders(place):
    model, exported = r2d2.load(place / "prd2", "cpu"), OnnxModel(place / "plain")
    assert not exported.has_match
    assert not (place / "plain" / "match.onnx").exists()
    found = exported.encode_texts(TEXTS).embedding
    torch.testing.assert_close(found, model.encode_texts(TEXTS).embedding, **CLOSE)
    assert "match" not in (place / "plain" / "README.md").read_text()


def test_the_tokenizer_is_ours(ours, theirs):
    """Every emoji's name, and what a user may type."""
    names = [text.text for pair in emoji_pairs() for text in pair.texts]
    hard = [
        *TEXTS,
        "[PAD][SEP]",
        "##狗",
        "e\u0301é",
        "㍿ﷺ",
        "👍🏽",
        "\u200b狗\u3000猫\t",
        "A" * 300,
    ]
    for start in range(0, len(names), 500):
        part = names[start : start + 500]
        check_ids(ours, theirs, part)
    for text in hard:
        check_ids(ours, theirs, [text])


def check_ids(ours, theirs, texts):
    ids, mask = ours.tokenizer(texts)
    found = theirs.tokenizer.encodings(texts)
    assert [one.ids for one in found] == ids.tolist()
    assert [one.attention_mask for one in found] == mask.long().tolist()


def test_the_folder_says_what_is_in_it(place):
    config = json.loads((place / "out" / "config.json").read_text())
    assert config["graphs"] == {name: f"{name}.onnx" for name in ("image", "text", "match")}
    assert (config["image_size"], config["max_length"], config["top_k"]) == (24, 16, 32)
    said = (place / "out" / "README.md").read_text(encoding="utf-8")
    assert "24x24" in said
    assert "match.onnx" in said
    assert "{" not in said
    assert "<!--" not in said


def test_no_trace_of_this_machine(place):
    for file in (place / "out").glob("*.onnx"):
        assert b"site-packages" not in file.read_bytes()
        assert str(r2d2.__path__[0]).encode() not in file.read_bytes()


def test_eight_bits(place, ours):
    small = OnnxModel(place / "out", int8=True)
    given = pictures(*[(24, 24)] * 3)
    cosine = (small.encode_images(given).embedding * ours.encode_images(given).embedding).sum(1)
    assert (cosine > 0.98).all()
    assert not torch.equal(
        small.encode_images(given).states, OnnxModel(place / "out").encode_images(given).states
    )
    shown = pictures(*[(24, 24)] * 3)
    data = EvaluationSet(
        ["a", "b", "c"], ["test"] * 3, TEXTS[:3], [0, 1, 2], lambda p: [shown[i] for i in p]
    )
    lines = recall_lines(place / "out", data)
    assert [line.split()[0] for line in lines] == ["R@M", "pre-ranking", "two-stage"]


def test_what_is_there_is_kept(place, tmp_path):
    message = refused(export_onnx, place / "model", place / "out")
    assert "--overwrite" in message
    (tmp_path / "mine.txt").write_text("x")
    assert "was not written by this command" in refused(
        export_onnx, place / "model", tmp_path, overwrite=True
    )
    assert "no model at" in refused(export_onnx, tmp_path / "none", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_folder(place, tmp_path):
    assert "export it again" in refused(OnnxModel, tmp_path)
    assert "export it again" in refused(OnnxModel, place / "plain", int8=True)


def test_sides_of_other_lengths_join(theirs):
    """As the evaluation joins them."""
    joined = EncodedStates.cat([theirs.encode_texts(TEXTS[:1]), theirs.encode_texts(TEXTS[1:2])])
    image = theirs.encode_images(pictures((24, 24)) * 2)
    assert theirs.match(image, joined).shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["chinese_clip", "clip", "siglip", "siglip2"])
def test_towers_of_others(kind, tmp_path):
    """Parity over batches, and of a text alone with one that is padded."""
    from helpers.small_hf_models import IMAGE, save_hf
    from r2d2.weights.towers import TowerOptions, import_towers

    save_hf(tmp_path / "theirs", kind)
    mask = {"clip": "9"}.get(kind)  # a vocabulary without a token for it
    import_towers(
        tmp_path / "theirs", tmp_path / "ours", TowerOptions(cross_layers=1, mask_token=mask)
    )
    model = r2d2.load(tmp_path / "ours", "cpu")
    for head in (model.model.match_head_text, model.model.match_head_image):
        torch.nn.init.normal_(head.weight)
    model.save(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "out")
    exported = OnnxModel(tmp_path / "out")
    given, texts = pictures(*[(IMAGE, IMAGE)] * 3), ["红色方块", "照片", "一个蓝色横条"]
    images, found = model.encode_images(given), exported.encode_images(given)
    torch.testing.assert_close(found.embedding, images.embedding, **CLOSE)
    check_uncut(model, exported, [*texts, "红色方块" * 30])
    for some in (texts, texts[:1]):
        side, theirs = model.encode_texts(some), exported.encode_texts(some)
        torch.testing.assert_close(theirs.embedding, side.embedding, **CLOSE)
        n = len(some)
        match = exported.match(found[:n], theirs)
        torch.testing.assert_close(match, model.match(images[:n], side), **CLOSE)
