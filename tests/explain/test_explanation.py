"""Pictures and texts in, maps and words out; what cannot be explained is said in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.cli import refused
from r2d2.config import ModelConfig, TextConfig, VisionConfig
from r2d2.data.preprocessing import Preprocessing
from r2d2.explain import explain
from r2d2.explain.attention import text_to_image
from r2d2.explain.labels import labels_for
from r2d2.explain.maps import DROPPING, FULL, LONGEST, MapMethod, choose, map_methods, upsample
from r2d2.explain.panel import heat, overlay
from r2d2.explain.report import lines
from r2d2.explain.unrelated import WORDS
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer

TEXT = "一只狗在草地上追飞盘"


def build(cross_layers=2, max_length=16, texts=(TEXT,)):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(texts, max_length=max_length)
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
    return build(texts=[TEXT, *WORDS])


def with_evidence(found, **changes):
    """The same explanation, with other evidence."""
    return replace(found, evidence=replace(found.evidence, **changes))


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
    """By attention: every word has a share of what a patch looks at."""
    found = explain(model, picture, TEXT, dropping=False)
    said = found.words_at(2, 3)
    assert {word for word, _ in said} == {span.text for span in found.words}
    shares = [share for _, share in said]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert "no patch" in refused(found.words_at, 4, 0)


def test_patches_belong_to_the_entities_that_stand_out_there(model, picture):
    """By dropping: what is above the noise, in multiples of it, and nothing else."""
    plain = explain(model, picture, TEXT)
    assert plain.words == plain.entities
    np.testing.assert_array_equal(plain.patches[..., 1], plain.evidence.shown(1))
    patches = np.zeros((4, 4, 3), np.float32)
    assert not replace(plain, patches=patches).parts_differ
    patches[1, 2] = [3, 0, 1]
    found = replace(plain, patches=patches)
    assert found.words_at(1, 2) == [("狗", 0.75), ("飞盘", 0.25)]
    assert found.words_at(0, 0) == []
    assert not found.parts_differ  # one word for all that have one
    patches[0, 0, 2] = 1
    assert replace(plain, patches=patches).parts_differ


def test_the_map_of_words_is_left_out_where_every_part_has_the_same(model, picture):
    plain = explain(model, picture, TEXT)
    patches = np.zeros((4, 4, 3), np.float32)
    patches[..., 1] = 2
    same = replace(plain, patches=patches).draw()
    patches = patches.copy()
    patches[0, 0] = [5, 2, 0]
    different = replace(plain, patches=patches).draw()
    assert different.height > same.height  # a fifth cell: 3 entities, the picture, and this


def test_over_the_picture(model, picture):
    maps = np.zeros((3, 4, 4), np.float32)
    maps[0, 0, 0], maps[0, 3, 3] = 0.2, 0.05
    found = explain(model, picture, TEXT)
    found = with_evidence(found, maps=maps, levels=(0.99,) * 3, noise=0.1, rare=0.3, words=100)
    values = found.over_picture(0)
    assert values.shape == (20, 30)
    assert values.max() == pytest.approx(2)  # times the noise, not stretched
    assert not values[10:].any()  # within the noise
    assert not found.over_picture(1).any()


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
    assert (found.notes[0].code, found.notes[0].about) == ("text_cut", "草地、飞盘")
    assert "草地、飞盘" in found.notes[0].note
    assert "the 4 tokens" in found.notes[0].note
    assert "shorter text" in refused(explain, short, picture, "在在在在在在狗")


def test_a_text_is_never_cut_without_a_word(picture):
    """Also where every entity begins before the end."""
    found = explain(build(max_length=8), picture, "狗狗狗狗狗狗狗狗狗狗狗狗")
    assert found.notes[0].note == (
        "the text is longer than the 6 tokens that the model reads, and is cut before: 狗狗狗狗狗狗"
    )
    found = explain(build(max_length=16, texts=[TEXT, *WORDS]), picture, "狗")
    assert found.notes == ()


def test_a_dual_encoder_without_cross_encoders(picture):
    """Dropping needs the two towers only, and is what is done where nothing is asked for."""
    plain = build(cross_layers=0, texts=[TEXT, *WORDS])
    found = explain(plain, picture, TEXT)
    assert found.match is None
    assert found.method == DROPPING
    assert found.maps.shape == (3, 4, 4)
    assert found.evidence.words > 90
    assert found.draw().mode == "RGB"


def test_the_map_of_a_model_that_sees_the_middle_lies_over_the_middle():
    """CLIP cuts a square out of the picture; maps are of the whole picture all the same."""
    plain = build(cross_layers=0, texts=[TEXT, *WORDS])
    middle = Pretrained(plain.model, plain.tokenizer, preprocessing=Preprocessing(24, shortest=24))
    noise = np.random.default_rng(0).integers(0, 256, (24, 48, 3)).astype(np.uint8)
    wide = explain(middle, Image.fromarray(noise), TEXT)
    square = explain(plain, Image.fromarray(noise[:, 12:36]), TEXT)
    assert wide.maps.shape == (3, 4, 8)
    assert wide.patches.shape == (4, 8, 3)
    np.testing.assert_allclose(wide.maps[..., 2:6], square.maps, atol=1e-5)
    assert not wide.maps[..., :2].any()
    assert not wide.maps[..., 6:].any()
    strip = explain(middle, Image.new("RGB", (40_000, 1)), TEXT)
    assert strip.maps.shape == (3, 4, 4 * LONGEST)
    assert "middle_only" in [note.code for note in wide.notes]
    assert "middle_only" not in [note.code for note in square.notes]


def test_refusals(model, picture):
    assert "no noun" in refused(explain, model, picture, "在笑")
    assert "no noun" in refused(explain, model, picture, "")
    assert "not in the text" in refused(explain, model, picture, TEXT, only=["猫"])
    assert "give a sentence" in refused(explain, model, picture, "狗" * 5000)
    assert "layers 1 to 2" in refused(explain, model, picture, TEXT, layer=3)
    assert "choose an earlier" in refused(
        explain, model, picture, TEXT, layer=2, weighted=True, alone=False
    )
    for attention in ({"dropping": False}, {"layer": 1}, {"weighted": True}, {"alone": False}):
        assert "prd2" in refused(explain, build(cross_layers=0), picture, TEXT, **attention)
    assert "PIL.Image" in refused(explain, model, np.zeros((4, 4, 3)), TEXT)


def test_ways(picture):
    assert choose(1, alone=False) == MapMethod(1, False, False)
    assert explain(build(cross_layers=1), picture, TEXT, alone=False).maps.any()
    assert [way for way in map_methods(1) if way.weighted] == [MapMethod(1, True, True)]
    assert len(map_methods(3)) == 1 + 3 * 4 - 1
    assert all(choose(3, way.layer, way.weighted, way.alone) == way for way in map_methods(3)[1:])
    assert choose(3) == choose(3, dropping=True) == map_methods(3)[0] == DROPPING
    assert not choose(3, dropping=False).dropping
    assert map_methods(0) == [choose(0)] == [DROPPING]
    assert "no attention" in refused(choose, 3, 1, dropping=True)


def test_a_text_with_half_a_surrogate(model, picture):
    assert "Unicode" in refused(explain, model, picture, "狗\ud800")


def test_colours_have_one_scale(picture):
    """Grey up to the noise; from it to FULL times it, in every panel."""
    values = np.full((20, 30), 0.99, np.float32)
    values[10:] = FULL
    covered = np.asarray(overlay(picture, values)).astype(int)
    grey = np.asarray(picture.convert("L")).astype(int)
    assert (covered[:10] == grey[:10, :, None]).all()
    assert (covered[10:, :, 0] - covered[10:, :, 2]).min() > 30  # yellow
    ends = heat(np.array([[1.0, FULL, 2 * FULL]], np.float32)).tolist()
    assert ends == [[[81, 18, 124], [252, 253, 191], [252, 253, 191]]]


def test_a_panel_of_what_is_not_known_is_grey(model, picture):
    """The cells of entities, that is; a strong effect within the noise counts as none."""
    found = explain(model, picture, TEXT)
    maps = np.full((3, 4, 4), 0.09, np.float32)
    for levels, noise in (((0.2,) * 3, 0.05), ((0.99,) * 3, 0.1)):
        quiet = with_evidence(found, maps=maps, levels=levels, noise=noise, rare=1, words=100)
        cells = np.asarray(quiet.draw().crop((320, 160, 1200, 280))).astype(int)
        assert (cells.max(-1) == cells.min(-1)).all()
    loud = with_evidence(found, maps=maps, levels=(0.99,) * 3, noise=0.05, rare=1, words=100)
    cells = np.asarray(loud.draw().crop((320, 160, 1200, 280))).astype(int)
    assert (cells.max(-1) - cells.min(-1)).max() > 30


def test_the_report_says_whether_the_whole_picture_matches(model, picture):
    maps = np.zeros((3, 4, 4), np.float32)
    maps[:, 0, 3] = 0.4
    found = with_evidence(
        explain(model, picture, TEXT), maps=maps, levels=(0.99, 0.2, 0.97), noise=0.1, rare=0.3,
        words=100,
    )  # fmt: skip
    said = [line for line in lines(found) if "upper right (+0.400, 4.0 times" in line]
    assert [line.split("; ")[-1] for line in said] == [
        "matches better than 99% of unrelated words",
        "the whole picture matches no more than unrelated words do",
        "the whole picture matches no more than unrelated words do",  # one of three, by chance
    ]
    maps = maps / 10
    quiet = lines(with_evidence(found, maps=maps, levels=(0.99, 0.2, 0.97)))
    assert "狗: matches better than 99% of unrelated words, but no part stands out" in quiet[2]
    assert quiet[3] == "草地: nothing known (matches better than 20% of unrelated words)"


def test_panels_of_any_shape(model):
    for size in ((30, 20), (1, 900), (900, 1)):
        panel = explain(model, Image.new("RGB", size), TEXT + "，" + "很" * 90).draw()
        assert panel.mode == "RGB"
        assert max(panel.size) < 3000


def facts(labels, found):
    return labels.facts(found.evidence, found.cosine, found.match, found.draws)


def test_labels_are_in_the_language_of_the_text(model, picture):
    found = explain(model, picture, TEXT)
    chinese, english = labels_for(TEXT), labels_for("a dog")
    assert "灰色" in chinese.within
    assert "grey" in english.within
    maps = np.zeros((3, 4, 4), np.float32)
    maps[0, 0, 0], maps[1, 0, 0] = 0.25, 0.05
    known = with_evidence(
        found, maps=maps, levels=(0.99, 0.99, 0.5), noise=0.1, rare=0.3, words=100
    )
    said = [english.of_entity(known.evidence, index, dropping=True) for index in range(3)]
    assert said == [
        "up to +0.250, 2.5 times the noise",
        "matches, but no part stands out",
        "nothing known",
    ]
    said = [chinese.of_entity(known.evidence, index, dropping=True) for index in range(3)]
    assert said == [
        "最高 +0.250，为噪声的 2.5 倍",
        "与图相符，但没有突出的部位",
        "模型没有把握，不作标注",
    ]
    strange = with_evidence(known, readable=(True, True, False))
    assert "cannot read" in english.of_entity(strange.evidence, 2, dropping=True)
    assert "读不懂" in chinese.of_entity(strange.evidence, 2, dropping=True)
    assert "随机遮挡 128 次" in facts(chinese, known)[1]
    assert "128 random draws" in facts(english, known)[1]
    unknown = with_evidence(known, levels=(0.5,) * 3)
    assert "无关的词" in facts(chinese, unknown)[-1]
    assert "Nothing known" in facts(english, unknown)[-1]
    assert "Nothing known" not in facts(english, known)[-1]
