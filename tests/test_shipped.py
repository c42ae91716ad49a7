"""The model that comes with the package: it loads, it is small, it finds what it should."""

import numpy as np
import pytest
import torch

import r2d2
from r2d2.data.emoji import emoji_pairs
from r2d2.images.decode import decode_image
from r2d2.index.calibrate import calibrate
from r2d2.index.gallery.emoji import EmojiGallery
from r2d2.ranking.metrics import rank_of_best, recall
from r2d2.saved_model import shipped_folder

LIMIT = 15_000_000  # bytes, all files together


@pytest.fixture(scope="module")
def model():
    return r2d2.load("emoji", "cpu")


@pytest.fixture(scope="module")
def encoded(model):
    """Names and pictures of `test`."""
    pairs = [pair for pair in emoji_pairs() if pair.split == "test"]
    images = model.encode_images([decode_image(pair.image) for pair in pairs])
    return pairs, images, model.encode_texts([pair.texts[0].text for pair in pairs])


def test_it_is_small_and_says_where_it_comes_from():
    files = {file.name: file.stat().st_size for file in shipped_folder().iterdir()}
    assert set(files) == {
        "README.md", "calibration.json", "config.json", "index.safetensors", "model.safetensors",
        "tokenizer.json",
    }  # fmt: skip
    assert sum(files.values()) <= LIMIT
    card = (shipped_folder() / "README.md").read_text(encoding="utf-8")
    for word in (
        "emoji_checkpoint.sh",
        "seed",
        "R@M",
        "CC BY-SA 4.0",
        "CC BY 4.0",
        "Unicode License",
    ):
        assert word in card


def test_it_knows_the_names_that_it_was_taught(model):
    """By vectors alone, among all pictures: a right picture is among the first ten."""
    gallery = EmojiGallery.shipped(model, shipped_folder())
    rows = np.arange(len(gallery))
    names_of = [item.texts for item in gallery.items(rows)]
    names = np.array([name for texts in names_of for name in texts])
    right = np.stack([np.isin(names, texts) for texts in names_of], axis=1)
    cosine = gallery.texts.take(np.arange(len(names))) @ gallery.images.take(rows).T
    assert len(names) > 3900
    ranks = rank_of_best(torch.from_numpy(cosine), torch.from_numpy(right))
    assert recall(ranks, 10) >= 97


def test_its_vectors_may_be_cut(model):
    assert model.widths == (32, 64)


def test_its_match_head_tells_right_from_wrong(model, encoded):
    _, images, texts = encoded
    n = len(images)
    shifted = (np.arange(n) + n // 2) % n
    right = model.match(images, texts)
    wrong = model.match(images, texts[shifted])
    assert (right > wrong).float().mean() > 0.9


def test_the_shipped_vectors_are_this_models(model):
    gallery = EmojiGallery.shipped(model, shipped_folder())
    assert gallery is not None, "the index was made by another model: run write_shipped_index"
    assert gallery.fingerprint == model.fingerprint
    pairs = emoji_pairs()[:64]
    fresh = model.encode_images([decode_image(pair.image) for pair in pairs]).embedding.numpy()
    stored = gallery.images.take(np.arange(64))
    assert np.abs(fresh - stored).max() < 2e-3  # stored in 16 bits


def test_the_shipped_calibration_is_that_of_the_shipped_vectors(model):
    gallery = EmojiGallery.shipped(model, shipped_folder())
    stored, made = gallery.calibration, calibrate(model, gallery)
    assert stored is not None, "it is of another model or version: run write_calibration"
    assert (stored.count, stored.words.weights) == (made.count, made.words.weights)
    assert np.allclose(stored.pictures.mean, made.pictures.mean, atol=1e-4)
    for ours, theirs in (
        (stored.pictures.nearness, made.pictures.nearness),
        (stored.words.coverage, made.words.coverage),
    ):
        assert ours.location == pytest.approx(theirs.location, abs=1e-3)
        assert ours.scale == pytest.approx(theirs.scale, abs=1e-3)
