"""A trained model as people use it: what goes in, what comes out, what is refused and how."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import r2d2
from helpers.cli import refused
from helpers.pictures import SIDE, picture
from helpers.runs import contents, name, small_config
from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.models import load
from r2d2.pretrained import Pretrained, RankedImage
from r2d2.tokenizer import Tokenizer

PICTURES = [picture(n) for n in range(11)]
TEXTS = [name(n) for n in range(11)]


def make(variant="r2d2", match_weight=0.7, more=(), **settings):
    """A model with weights that tell pictures apart, however little they know of them."""
    tokenizer = Tokenizer.train(TEXTS, 64, 16)
    vocab = f"model.text.vocab_size={tokenizer.vocab_size}"
    torch.manual_seed(5)
    model = R2D2(small_config(variant, vocab, *more).model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return Pretrained(model, tokenizer, match_weight, **settings)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(path)
    return path


# Encoding


def test_sides_have_the_shapes_they_promise(model):
    images, texts = model.encode_images(PICTURES), model.encode_texts([*TEXTS, "", "很" * 40])
    assert len(images) == 11
    assert images.states.shape == (11, 1 + 4, 32)
    assert images.mask is None
    assert images.embedding.shape == (11, 16)
    assert texts.states.shape == (13, 16, 32)  # cut at the longest the model takes
    assert texts.mask.shape == (13, 16)
    assert texts.mask[11].sum() == 2  # [CLS] [SEP]
    assert texts.mask[12].all()
    for side in (images, texts):
        torch.testing.assert_close(side.embedding.norm(dim=1), torch.ones(len(side)))
        assert not side.embedding.requires_grad


@pytest.mark.parametrize("batch_size", [1, 3, 11, 100])
def test_the_batch_size_changes_nothing(batch_size, model):
    small = make(batch_size=batch_size)
    assert small.model.state_dict().keys() == model.model.state_dict().keys()
    for method, items in (("encode_images", PICTURES), ("encode_texts", TEXTS)):
        found, wanted = getattr(small, method)(items), getattr(model, method)(items)
        torch.testing.assert_close(found.embedding, wanted.embedding, atol=1e-5, rtol=0)
        real = wanted.real()
        assert found.real().equal(real)
        torch.testing.assert_close(found.states[real], wanted.states[real], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        small.match(PICTURES, TEXTS), model.match(PICTURES, TEXTS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "HSV",
        "LAB",
        "I",
        "I;16",
        "F",
    ],
)
def test_pictures_of_any_mode(mode, model):
    side = model.encode_images([mode_picture(mode), PICTURES[0]])
    assert torch.isfinite(side.embedding).all()


def mode_picture(mode):
    if mode in ("I;16", "F", "I", "LAB", "La", "PA", "RGBX", "HSV"):
        return Image.new(mode, (20, 12))
    return PICTURES[1].resize((20, 12)).convert(mode)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (SIDE, SIDE), (500, 2), (333, 444)])
def test_pictures_of_any_size(size, model):
    assert model.encode_images([Image.new("RGB", size, (200, 30, 30))]).embedding.shape == (1, 16)


def test_what_a_picture_shows_counts_not_how_it_is_stored(model):
    plain = PICTURES[3]
    clear = plain.convert("RGBA")
    indexed = plain.quantize(64)
    found = model.encode_images([plain, clear, indexed, indexed.convert("RGB")]).embedding
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[2], found[3])
    see_through = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0))
    white = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    one, other = model.encode_images([see_through, white]).embedding
    torch.testing.assert_close(one, other)


def test_the_pictures_given_stay_as_they_are(model):
    before = [image.tobytes() for image in PICTURES]
    model.encode_images(PICTURES)
    assert [image.tobytes() for image in PICTURES] == before


# Matching


def test_match_takes_raw_inputs_or_sides_and_gives_the_same(model):
    images, texts = model.encode_images(PICTURES), model.encode_texts(TEXTS)
    scores = model.match(images, texts)
    assert scores.shape == (11,)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.std() > 0.01  # they differ, or nothing below would mean anything
    for left in (PICTURES, images):
        for right in (TEXTS, texts):
            assert model.match(left, right).equal(scores)


def test_match_pairs_the_ith_with_the_ith(model):
    scores = model.match(PICTURES, TEXTS)
    for i in (0, 4, 10):
        alone = model.match([PICTURES[i]], [TEXTS[i]])
        torch.testing.assert_close(alone[0], scores[i], atol=1e-5, rtol=0)
    turned = model.match(PICTURES[::-1], TEXTS[::-1])
    torch.testing.assert_close(turned, scores.flip(0), atol=1e-5, rtol=0)


def test_match_of_nothing_is_nothing(model):
    images, texts = model.encode_images(PICTURES), model.encode_texts(TEXTS)
    assert model.match(images[:0], texts[:0]).shape == (0,)


# Ranking


def naive_rank(model, query, pictures, top_k):
    """One pair at a time, in Python."""
    images = model.encode_images(pictures)
    text = model.encode_texts([query])
    cosine = [
        sum(a * b for a, b in zip(image.tolist(), text.embedding[0].tolist(), strict=True))
        for image in images.embedding
    ]
    order = sorted(range(len(pictures)), key=lambda i: -cosine[i])
    first, rest = order[:top_k], order[top_k:]
    match = {i: float(model.match([pictures[i]], [query])[0]) for i in first}
    score = {i: model.match_weight * match[i] + cosine[i] for i in first}
    first.sort(key=lambda i: -score[i])
    return [(i, score[i], cosine[i], match[i]) for i in first] + [
        (i, cosine[i], cosine[i], None) for i in rest
    ]


@pytest.mark.parametrize("top_k", [1, 3, 8, 11, 32])
@pytest.mark.parametrize("query", [TEXTS[0], TEXTS[7], ""])
def test_rank_is_cosine_then_match_and_weight(query, top_k, model):
    found = model.rank(query, PICTURES, top_k=top_k)
    wanted = naive_rank(model, query, PICTURES, top_k)
    assert [r.index for r in found] == [index for index, *_ in wanted]
    for ours, (_, score, cosine, match) in zip(found, wanted, strict=True):
        assert ours.score == pytest.approx(score, abs=1e-5)
        assert ours.cosine == pytest.approx(cosine, abs=1e-5)
        assert (ours.match is None) == (match is None)
        if match is not None:
            assert ours.match == pytest.approx(match, abs=1e-5)


def test_top_k_is_the_models_own_unless_given():
    model = make(top_k=4)
    assert model.rank(TEXTS[0], PICTURES) == model.rank(TEXTS[0], PICTURES, top_k=4)
    assert sum(r.match is not None for r in model.rank(TEXTS[0], PICTURES)) == 4


def test_rank_takes_what_was_encoded_before(model):
    assert model.rank(TEXTS[2], model.encode_images(PICTURES)) == model.rank(TEXTS[2], PICTURES)


def test_the_second_stage_can_turn_the_first_around():
    orders = []
    for weight in (0.0, 0.7, 1000.0):
        model = make(match_weight=weight)
        found = model.rank(TEXTS[1], PICTURES)
        orders.append([r.index for r in found])
        by = (lambda r: -r.cosine) if weight == 0 else (lambda r: -r.match)
        if weight != 0.7:
            assert orders[-1] == [r.index for r in sorted(found, key=by)]
    assert orders[0] != orders[2]


def test_a_weight_of_zero_asks_no_cross_encoder():
    found = make(match_weight=0.0).rank(TEXTS[1], PICTURES)
    assert all(r.match is None and r.score == r.cosine for r in found)
    assert [r.cosine for r in found] == sorted((r.cosine for r in found), reverse=True)


def test_all_pictures_come_back_once_whatever_top_k(model):
    for top_k in (1, 2, 11, 50):
        found = model.rank(TEXTS[0], PICTURES, top_k)
        assert sorted(r.index for r in found) == list(range(11))
        assert sum(r.match is not None for r in found) == min(top_k, 11)
    assert [r.index for r in model.rank(TEXTS[0], PICTURES[:1])] == [0]


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_candidates_are_refused(top_k, model):
    assert f"top_k is {top_k}" in refused(model.rank, TEXTS[0], PICTURES, top_k)


# PRD2


def test_prd2_ranks_by_cosine_and_says_that_it_cannot_match():
    model = make("prd2")
    assert not model.has_match
    found = model.rank(TEXTS[3], PICTURES, top_k=2)
    assert [r.index for r in found] == [i for i, *_ in naive_cosine(model, TEXTS[3])]
    assert all(r.match is None and r.score == r.cosine for r in found)
    message = refused(model.match, PICTURES, TEXTS)
    assert "prd2" in message
    assert "embeddings" in message


def naive_cosine(model, query):
    cosine = model.encode_images(PICTURES).embedding @ model.encode_texts([query]).embedding[0]
    return sorted(enumerate(cosine.tolist()), key=lambda pair: -pair[1])


# Saving and loading


@pytest.mark.parametrize("variant", ["r2d2", "prd2"])
def test_saved_and_loaded_is_the_same_to_the_bit(variant, tmp_path):
    model = make(variant, top_k=5)
    model.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    other = load(tmp_path / "model")
    assert (other.match_weight, other.top_k) == (0.7, 5)
    assert other.has_match == (variant == "r2d2")
    assert not other.model.training
    for method, items in (("encode_images", PICTURES), ("encode_texts", TEXTS)):
        ours, theirs = getattr(other, method)(items), getattr(model, method)(items)
        assert ours.states.equal(theirs.states)
        assert ours.embedding.equal(theirs.embedding)
    if variant == "r2d2":
        assert other.match(PICTURES, TEXTS).equal(model.match(PICTURES, TEXTS))
    assert other.rank(TEXTS[0], PICTURES) == model.rank(TEXTS[0], PICTURES)


def test_the_names_of_the_package(saved):
    model = r2d2.load(str(saved))
    assert isinstance(model, r2d2.Pretrained)
    assert isinstance(model.encode_texts(["猫"]), r2d2.EncodedStates)
    assert isinstance(model.rank("猫", PICTURES[:2])[0], r2d2.RankedImage)
    assert isinstance(R2D2Error("x"), r2d2.R2D2Error)
    assert r2d2.Ranked is RankedImage is r2d2.RankedImage  # the name in version 0.1
    with pytest.raises(AttributeError, match="lode"):
        r2d2.lode  # noqa: B018


def test_a_run_is_loaded_by_its_folder(saved):
    assert load(saved.parent).match(PICTURES, TEXTS).equal(load(saved).match(PICTURES, TEXTS))


def test_saving_again_replaces_the_whole_folder(model, tmp_path):
    make("prd2").save(tmp_path / "model")
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").has_match
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_loading_changes_no_file(saved):
    before = contents(saved)
    load(saved).rank(TEXTS[0], PICTURES)
    assert contents(saved) == before


# What is refused


def test_nothing_to_encode_is_refused(model):
    assert "empty list" in refused(model.encode_images, [])
    assert "empty list" in refused(model.encode_texts, [])
    assert "empty list" in refused(model.rank, "猫", [])
    assert "empty list" in refused(model.match, [], [])


def test_unequal_lengths_are_refused_by_number(model):
    assert "2 and 3" in refused(model.match, PICTURES[:2], TEXTS[:3])
    assert "11 and 1" in refused(model.match, model.encode_images(PICTURES), TEXTS[:1])


def test_one_text_or_picture_in_the_place_of_a_list_is_refused(model):
    assert "[text]" in refused(model.encode_texts, "生日蛋糕")
    assert "[text]" in refused(model.match, PICTURES[:4], "生日蛋糕")
    assert "[text]" in refused(model.match, PICTURES[:1], "生日蛋糕")
    assert "[picture]" in refused(model.encode_images, PICTURES[0])
    assert "[picture]" in refused(model.match, PICTURES[0], TEXTS[:1])
    assert "[picture]" in refused(model.rank, "猫", PICTURES[0])


@pytest.mark.parametrize("wrong", ["a.png", b"bytes", None, 3, np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused_by_its_type(wrong, model):
    message = refused(model.encode_images, [PICTURES[0], wrong])
    assert type(wrong).__name__ in message
    assert "PIL" in message


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["猫"], "\ud83d"])
def test_what_is_no_text_is_refused(wrong, model):
    refused(model.encode_texts, ["猫", wrong])


def test_a_picture_without_pixels_is_refused(model):
    assert "no pixels" in refused(model.encode_images, [Image.new("RGB", (0, 5))])


def test_a_broken_file_is_refused_when_its_pixels_are_wanted(model, tmp_path):
    PICTURES[0].resize((300, 300)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "a.png") as image:
        assert "cut short" in refused(model.encode_images, [image])


@pytest.mark.parametrize("path", ["nowhere", "file", "empty"])
def test_a_place_without_a_model_is_named(path, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    message = refused(load, tmp_path / path)
    assert f"no model at {tmp_path / path}" in message
    assert "run" in message


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def edit(path, change):
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"model": {}}', '{"model": 3, "match_weight": 1}', "\xff"],
)
def test_a_damaged_config_is_named(text, copy):
    (copy / "config.json").write_text(text, encoding="latin-1")
    assert str(copy / "config.json") in refused(load, copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("match_weight"),
        lambda c: c.update(match_weight="much"),
        lambda c: c.update(match_weight=None),
        lambda c: c.update(top_k="all"),
        lambda c: c["model"].update(embed_dim="wide"),
        lambda c: c["model"].update(depth=3),
        lambda c: c["model"]["text"].update(heads=0),
        lambda c: c["model"]["vision"].update(patch_size=0),
        lambda c: c["model"]["vision"].update(width=-32),
        lambda c: c["model"].update(text=None),
    ],
)
def test_a_setting_that_cannot_be_is_named(change, copy):
    edit(copy / "config.json", change)
    assert str(copy / "config.json") in refused(load, copy)


def test_a_setting_of_a_newer_version_is_told_with_that_remedy(copy):
    edit(copy / "config.json", lambda c: c["model"].update(attention_of_tomorrow=3))
    message = refused(load, copy)
    assert "unknown setting model.attention_of_tomorrow" in message
    assert message.endswith("save the model again, or update r2d2")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["model"].update(embed_dim=8), "image_projection"),
        (lambda c: c["model"].update(cross_layers=2), "it lacks image_to_text.layers.1"),
        (lambda c: c["model"].update(cross_layers=0), "it holds image_cross_projection"),
        (lambda c: c["model"]["vision"].update(image_size=64), "towers.vision.position_embedding"),
    ],
)
def test_weights_of_another_architecture_are_refused_by_the_name_of_a_tensor(change, words, copy):
    edit(copy / "config.json", change)
    message = refused(load, copy)
    assert "another architecture" in message
    assert words in message


def test_a_damaged_or_missing_part_is_named(copy):
    for file in ("model.safetensors", "tokenizer.json"):
        whole = (copy / file).read_bytes()
        (copy / file).write_bytes(whole[: len(whole) // 2])
        assert str(copy / file) in refused(load, copy)
        (copy / file).write_bytes(whole)
    (copy / "tokenizer.json").unlink()
    assert str(copy / "tokenizer.json") in refused(load, copy)


def test_a_tokenizer_of_another_vocabulary_is_refused(copy):
    Tokenizer.train([chr(c) for c in range(0x4E00, 0x4F00)], 400, 16).save(copy / "tokenizer.json")
    message = refused(load, copy)
    assert str(copy / "tokenizer.json") in message
    assert "another model's" in message


def test_a_tokenizer_of_longer_texts_is_refused(copy):
    Tokenizer.train(TEXTS, 64, 40).save(copy / "tokenizer.json")
    assert str(copy / "tokenizer.json") in refused(load, copy)


def test_weights_in_half_precision_load(copy, model):
    half = {k: v.half() for k, v in load_file(copy / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors")
    found = load(copy).match(PICTURES, TEXTS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model.match(PICTURES, TEXTS), atol=0.02, rtol=0)


def test_saving_to_a_place_that_cannot_be_is_one_line(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "file/model" in refused(model.save, tmp_path / "file" / "model")
    assert (tmp_path / "file").read_text() == "mine"


def test_scores_are_numbers(model):
    assert all(math.isfinite(r.score) for r in model.rank("\u0000 \u200d", PICTURES))
