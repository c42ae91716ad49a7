"""Towers that run their last layer only where someone reads it give what the whole gives."""

import pytest
import torch

from helpers.small_step import TEXTS, batch_of, model_config
from r2d2.model.towers import Towers


@pytest.fixture
def towers():
    towers = Towers(model_config()).double()
    for p in towers.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return towers


def same(found, expected, towers):
    """In value, and in the gradient at every parameter."""
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    weights = torch.randn_like(expected)
    for a, b in zip(
        *(
            torch.autograd.grad(
                (y * weights).sum(), towers.parameters(), retain_graph=True, allow_unused=True
            )
            for y in (found, expected)
        ),
        strict=True,
    ):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("keep", [None, torch.tensor([[0, 3], [2, 1], [1, 0]] * 2)])
def test_embeddings_of_images_alone(towers, keep):
    pixels = batch_of().pixels
    same(towers.embed_images(pixels, keep), towers.encode_images(pixels, keep).embedding, towers)


@pytest.mark.parametrize("padding", [0, 3])
def test_embeddings_of_texts_alone(towers, padding):
    batch = batch_of(padding=padding)
    whole = towers.encode_texts(batch.ids, batch.mask).embedding
    same(towers.embed_texts(batch.ids, batch.mask), whole, towers)


@pytest.mark.parametrize("texts", [TEXTS, [[7, 8, 9]] * len(TEXTS)])
@pytest.mark.parametrize("whole", [[], [4, 0, 2], [5], [3, 1, 0, 2, 5, 4]])
def test_some_texts_whole_and_the_embeddings_of_all(towers, texts, whole):
    batch, whole = batch_of(texts), torch.tensor(whole, dtype=torch.long)
    expected = towers.encode_texts(batch.ids, batch.mask)
    side, embeddings = towers.encode_selected(batch.ids, batch.mask, whole)
    real = expected.mask[whole]
    assert side.mask.equal(real)
    assert side.states.shape[:2] == real.shape
    same(embeddings, expected.embedding, towers)
    if len(whole):
        same(side.states[real], expected.states[whole][real], towers)
        torch.testing.assert_close(side.embedding, expected.embedding[whole])
