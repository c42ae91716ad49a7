"""What people hand to a model: in whatever form it is right, or refused with the remedy."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.cli import refused
from r2d2.models import load
from test_pretrained import PICTURES, TEXTS, make

PRECISIONS = (torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(path)
    return path


# Lists of pictures and of texts


@pytest.mark.parametrize(
    "form", [tuple, iter, lambda x: (one for one in x), lambda x: dict(enumerate(x)).values()]
)
def test_what_has_an_order_is_as_good_as_a_list(form, model):
    images, texts = model.encode_images(form(PICTURES)), model.encode_texts(form(TEXTS))
    assert images.embedding.equal(model.encode_images(PICTURES).embedding)
    assert texts.embedding.equal(model.encode_texts(TEXTS).embedding)
    assert model.match(form(PICTURES), form(TEXTS)).equal(model.match(PICTURES, TEXTS))
    assert model.rank(TEXTS[0], form(PICTURES)) == model.rank(TEXTS[0], PICTURES)


def test_an_array_of_texts_is_as_good_as_a_list(model):
    found = model.encode_texts(np.array(TEXTS)).embedding
    assert found.equal(model.encode_texts(TEXTS).embedding)


@pytest.mark.parametrize("form", [set, frozenset])
def test_a_set_is_refused_for_it_has_no_order(form, model):
    for message in (
        refused(model.encode_texts, form(TEXTS)),
        refused(model.match, PICTURES, form(TEXTS)),
        refused(model.encode_images, form([1, 2])),
        refused(model.rank, TEXTS[0], form([1, 2])),
    ):
        assert "no order" in message
        assert "list" in message


@pytest.mark.parametrize("form", [dict.fromkeys, lambda x: dict(enumerate(x))])
def test_a_dict_is_refused_for_it_has_keys_and_values(form, model):
    assert "values()" in refused(model.encode_texts, form(TEXTS))
    assert "values()" in refused(model.encode_images, {"a": PICTURES[0]})


@pytest.mark.parametrize("wrong", [None, 3, 2.5, b"bytes", Path("a.png"), object(), "a.png"])
def test_what_is_no_list_is_refused_by_its_type(wrong, model):
    for call in (
        lambda: model.encode_images(wrong),
        lambda: model.encode_texts(wrong),
        lambda: model.match(wrong, TEXTS[:1]),
        lambda: model.match(PICTURES[:1], wrong),
        lambda: model.rank("猫", wrong),
    ):
        message = refused(call)
        assert type(wrong).__name__ in message
        assert "list" in message


def test_nothing_in_a_generator_is_an_empty_list(model):
    assert "empty list" in refused(model.encode_texts, iter(()))
    assert "empty list" in refused(model.encode_images, (p for p in ()))


def test_what_was_encoded_already_is_not_encoded_again(model):
    side = model.encode_texts(TEXTS)
    assert "encoded already" in refused(model.encode_texts, side)
    assert "encoded already" in refused(model.encode_images, model.encode_images(PICTURES))


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["猫"], ("猫", "狗"), Path("a.txt")])
def test_a_text_that_is_none_is_refused_by_its_place(wrong, model):
    """The tokenizer would take two strings in a tuple for one text."""
    for call in (lambda: model.encode_texts(["猫", wrong]),
                 lambda: model.match(PICTURES[:2], ["猫", wrong])):  # fmt: skip
        message = refused(call)
        assert "text 1 " in message
        assert type(wrong).__name__ in message


@pytest.mark.parametrize("wrong", ["a.png", b"bytes", None, np.zeros((4, 4, 3), np.uint8)])
def test_a_picture_that_is_none_is_refused_by_its_place(wrong, model):
    message = refused(model.encode_images, [PICTURES[0], wrong])
    assert "picture 1 " in message
    assert type(wrong).__name__ in message
    assert "PIL.Image" in message


def test_an_array_of_pictures_is_refused_with_the_way_to_make_them(model):
    for array in (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)):
        assert "Image.fromarray" in refused(model.encode_images, array)


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["猫"], ("猫",)])
def test_a_query_is_one_text(wrong, model):
    message = refused(model.rank, wrong, PICTURES)
    assert "query" in message
    assert type(wrong).__name__ in message


@pytest.mark.parametrize("wrong", [1.5, "3", True, math.inf])
def test_top_k_is_a_whole_number(wrong, model):
    assert "top_k" in refused(model.rank, "猫", PICTURES, wrong)
    assert model.rank("猫", PICTURES, np.int64(3)) == model.rank("猫", PICTURES, 3)


def test_what_another_model_encoded_is_refused(model):
    other = make("r2d2", 1.0, more=("model.embed_dim=8", "model.vision.width=48"))
    images, texts = other.encode_images(PICTURES), other.encode_texts(TEXTS)
    assert "another model" in refused(model.match, images, model.encode_texts(TEXTS))
    assert "another model" in refused(model.rank, "猫", images)
    assert "another model" in refused(model.match, PICTURES, texts)


# Where a model is, and how precise


@pytest.mark.parametrize("device", ["gpu", "GPU", "", "cpu:x", 1.5, ["cpu"], "nvidia"])
def test_a_device_that_is_none_is_refused_with_those_that_are(device, saved):
    message = refused(load, saved, device)
    assert repr(device) in message
    assert "'cuda'" in message
    assert "'cpu'" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_gpu_that_is_not_there_is_told(device, saved, model):
    for message in (refused(load, saved, device), refused(model.to, device)):
        assert "cannot be used" in message
        assert "'cpu'" in message


def test_a_device_that_holds_nothing_is_refused(saved):
    assert "'meta'" in refused(load, saved, "meta")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("way", ["wrapper", "network"])
def test_in_half_precision_the_answers_are_nearly_the_same(precision, way, model, saved):
    half = load(saved)
    (half if way == "wrapper" else half.model).to(precision)
    images, texts = half.encode_images(PICTURES), half.encode_texts(TEXTS)
    wanted = model.encode_images(PICTURES), model.encode_texts(TEXTS)
    for found, right in zip((images, texts), wanted, strict=True):
        assert found.embedding.dtype == precision
        torch.testing.assert_close(found.embedding.float(), right.embedding, atol=0.05, rtol=0)
    right = model.match(PICTURES, TEXTS)
    for found in (half.match(PICTURES, TEXTS), half.match(images, texts), half.match(*wanted)):
        torch.testing.assert_close(found.float(), right, atol=0.05, rtol=0)
    ranked = half.rank(TEXTS[0], PICTURES)
    assert ranked == half.rank(TEXTS[0], images)
    scores = {one.index: one for one in model.rank(TEXTS[0], PICTURES)}
    for one in ranked:
        assert one.cosine == pytest.approx(scores[one.index].cosine, abs=0.05)
        assert one.score == pytest.approx(scores[one.index].score, abs=0.1)
    assert len(half.rank(TEXTS[0], wanted[0])) == len(PICTURES)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_saved_in_half_precision_it_loads_in_float32(precision, model, saved, tmp_path):
    half = load(saved).to(precision)
    half.save(tmp_path / "half")
    found = load(tmp_path / "half")
    assert found.encode_texts(TEXTS).embedding.dtype == torch.float32
    torch.testing.assert_close(
        found.match(PICTURES, TEXTS), model.match(PICTURES, TEXTS), atol=0.05, rtol=0
    )


def test_moving_gives_the_model_itself(saved):
    found = load(saved)
    assert found.to("cpu") is found
    assert found.to(torch.float32) is found


@pytest.mark.parametrize("wrong", [torch.int64, torch.bool, torch.complex64])
def test_a_precision_that_cannot_be_is_refused(wrong, model):
    message = refused(model.to, wrong)
    assert "bfloat16" in message
    assert next(model.model.parameters()).dtype == torch.float32


# Where a model is read


@pytest.mark.parametrize("wrong", [None, 3, 2.5, b"runs/demo", ["runs/demo"], object()])
def test_what_is_no_path_is_refused_by_its_type(wrong):
    message = refused(load, wrong)
    assert type(wrong).__name__ in message
    assert "emoji" in message


def test_a_path_that_cannot_be_is_refused():
    assert "is empty" in refused(load, "")
    assert "no model" in refused(load, "a\0b")
    assert "no model" in refused(load, "x" * 5000)


def test_a_file_in_the_place_of_a_folder_is_told(saved):
    for name in ("model.safetensors", "config.json"):
        message = refused(load, saved / name)
        assert "is a file" in message
        assert str(saved) in message


# Weights that are no numbers


def broken(part):
    model = make()
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if part in name:
                parameter.fill_(math.nan)
    return model


@pytest.mark.parametrize(("part", "unit"), [("vision", "images"), ("text", "texts")])
def test_no_order_is_made_of_embeddings_that_are_no_numbers(part, unit):
    model = broken(f"towers.{part}")
    said = refused(model.rank, TEXTS[0], PICTURES)
    assert f"embeddings of {unit} are NaN" in said
    assert "weights" in said


def test_no_embedding_is_given_that_is_no_number(model):
    said = refused(broken("towers.vision").encode_images, PICTURES[:3])
    assert "3 of 3 embeddings of images are NaN" in said
    assert "picture 0, picture 1, picture 2" in said
    said = refused(broken("towers.text").encode_texts, TEXTS[:2])
    assert "2 of 2 embeddings of texts are NaN" in said
    assert "text 0, text 1" in said
    spoilt = make()
    with torch.no_grad():  # one token alone
        spoilt.model.towers.token_embedding[spoilt.tokenizer(["鱼"])[0][0, 1]] = math.inf
    said = refused(spoilt.encode_texts, ["猫", "鱼", "狗"])
    assert "1 of 3 embeddings of texts" in said
    assert "text 1;" in said
    images = model.encode_images(PICTURES[:2])
    with torch.inference_mode():
        images.embedding[1] = math.nan
    said = refused(model.rank, TEXTS[0], images)
    assert "1 of 2 embeddings of images" in said
    assert "number 1;" in said


def test_pixels_that_are_no_numbers_are_refused(model):
    good = model.prepare(PICTURES[0]).astype(np.float32)
    for value in (math.nan, math.inf):
        bad = good.copy()
        bad[0, 0, 0] = value
        said = refused(model.encode_pixels, [good, bad])
        assert "pixels of picture 1 are not finite" in said


def test_no_score_is_given_that_is_no_number():
    model = broken("cross")
    said = refused(model.match, PICTURES, TEXTS)
    assert "match scores are no numbers" in said
    assert "pair 0" in said
