"""Pictures and texts in, maps and words out; what cannot be explained is said in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from r2d2.config import ModelConfig, TextConfig, VisionConfig
from r2d2.explain import explain
from r2d2.explain.attention import text_to_image
from r2d2.explain.explanation import upsample
from r2d2.explain.maps import DROPPING, Way, choose, ways
from r2d2.explain.panel import heat, overlay
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer
from training.small import refused

TEXT = "一只狗在草地上追飞盘"


def build(cross_layers=2, max_length=16):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([TEXT], max_length=max_length)
    vision = VisionConfig(image_size=24, patch_size=6, width=24, layers=1, heads=2)
    text = TextConfig(tokenizer.vocab_size, max_length, width=16, layers=1, heads=2)
    config = ModelConfig(vision=vision, text=text, cross_layers=cross_layers, embed_dim=8)
    model = R2D2(config)
    if cross_layers:
        torch.nn.init.normal_(model.match_head_text.weight)
        torch.nn.init.normal_(model.match_head_image.weight)
    return Pretrained(model, tokenizer)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    return Image.fromarray(noise)


def test_maps_are_those_of_the_tokens(model, picture):
    found = explain(model, picture, TEXT, weighted=False, alone=False, layer=1)
    assert [span.text for span in found.entities] == ["狗", "草地", "飞盘"]
    images, texts = model.encode_images([picture]), model.encode_texts([TEXT])
    raw = text_to_image(model.model, images, texts).plain[0, 0].numpy()
    # [CLS] 一 只 狗 在 草 地 上 追 飞 盘 [SEP]
    expected = raw[[5, 6], 1:].mean(0).reshape(4, 4)
    np.testing.assert_allclose(found.maps[1], expected, rtol=1e-5)
    assert found.match == pytest.approx(float(model.match(images, texts)), abs=1e-6)


def test_alone_is_what_cls_of_the_entity_looks_at(model, picture):
    found = explain(model, picture, TEXT, alone=True, weighted=True, layer=2)
    images, texts = model.encode_images([picture]), model.encode_texts(["草地"])
    raw = text_to_image(model.model, images, texts).weighted[1, 0, 0, 1:].numpy()
    np.testing.assert_allclose(found.maps[1].ravel(), raw, rtol=1e-4, atol=1e-9)
    assert raw.any()


def test_words_of_a_patch(model, picture):
    found = explain(model, picture, TEXT)
    said = found.words_at(2, 3)
    assert {word for word, _ in said} == {span.text for span in found.words}
    shares = [share for _, share in said]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert "no patch" in refused(found.words_at, 4, 0)


def test_over_the_picture(model, picture):
    found = explain(model, picture, TEXT)
    values = found.over_picture(0)
    assert values.shape == (20, 30)
    assert values.min() >= 0
    assert values.max() <= 1 + 1e-6


def test_upsample_keeps_the_place():
    values = np.zeros((4, 4), np.float32)
    values[3, 0] = 5
    big = upsample(values, (80, 40))
    assert big.shape == (40, 80)
    row, column = np.unravel_index(big.argmax(), big.shape)
    assert (row >= 30, column < 20) == (True, True)
    assert not upsample(np.zeros((2, 2), np.float32), (4, 4)).any()


def test_equal_runs_are_equal(model, picture):
    first, second = (explain(model, picture, TEXT) for _ in range(2))
    assert (first.maps == second.maps).all()
    assert (first.patches == second.patches).all()


def test_a_picture_of_any_mode(model):
    for mode in ("L", "RGBA", "P", "I;16"):
        assert explain(model, Image.new(mode, (9, 5)), TEXT).picture.mode == "RGB"


def test_only_some_words(model, picture):
    found = explain(model, picture, TEXT, only=["追", "一只狗"])
    assert [span.text for span in found.entities] == ["一只狗", "追"]


def test_a_text_that_is_cut(picture):
    short = build(max_length=6)  # [CLS] 一 只 狗 在 [SEP]
    found = explain(short, picture, TEXT)
    assert [span.text for span in found.entities] == ["狗"]
    assert "草地、飞盘" in found.notes[0]
    assert "shorter text" in refused(explain, short, picture, "在在在在在在狗")


def test_a_text_is_never_cut_without_a_word(picture):
    """Also where every entity begins before the end."""
    found = explain(build(max_length=8), picture, "狗狗狗狗狗狗狗狗狗狗狗狗")
    assert found.notes == ("the model reads 8 tokens of a text: the rest came later",)
    assert explain(build(max_length=16), picture, "狗").notes == ()


def test_refusals(model, picture):
    assert "no noun" in refused(explain, model, picture, "在笑")
    assert "no noun" in refused(explain, model, picture, "")
    assert "not in the text" in refused(explain, model, picture, TEXT, only=["猫"])
    assert "give a sentence" in refused(explain, model, picture, "狗" * 5000)
    assert "layers 1 to 2" in refused(explain, model, picture, TEXT, layer=3)
    assert "choose an earlier" in refused(
        explain, model, picture, TEXT, layer=2, weighted=True, alone=False
    )
    assert "prd2" in refused(explain, build(cross_layers=0), picture, TEXT)
    assert "PIL.Image" in refused(explain, model, np.zeros((4, 4, 3)), TEXT)


def test_ways(picture):
    assert choose(1, alone=False) == Way(1, False, False)
    assert explain(build(cross_layers=1), picture, TEXT, alone=False).maps.any()
    assert [way for way in ways(1) if way.weighted] == [Way(1, True, True)]
    assert len(ways(3)) == 1 + 3 * 4 - 1
    assert all(choose(3, way.layer, way.weighted, way.alone) == way for way in ways(3)[1:])
    assert choose(3) == choose(3, dropping=True) == ways(3)[0] == DROPPING
    assert not choose(3, dropping=False).dropping
    assert "no attention" in refused(choose, 3, 1, dropping=True)


def test_a_text_with_half_a_surrogate(model, picture):
    assert "Unicode" in refused(explain, model, picture, "狗\ud800")


def test_overlay_and_panel(model, picture):
    values = np.zeros((20, 30), np.float32)
    values[:10] = 1
    covered = np.asarray(overlay(picture, values)).astype(int)
    assert covered.shape == (20, 30, 3)
    assert covered[:10].mean() > covered[10:].mean() + 50  # bright where there is much
    assert heat(np.array([[0.0, 1.0]], np.float32)).tolist() == [[[0, 0, 4], [252, 253, 191]]]
    for size in ((30, 20), (1, 900), (900, 1)):
        panel = explain(model, Image.new("RGB", size), TEXT + "，" + "很" * 90).draw()
        assert panel.mode == "RGB"
        assert max(panel.size) < 3000
