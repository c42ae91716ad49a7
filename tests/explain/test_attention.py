"""The explained pass equals the fast one; weights and gradients equal those of a naive pass."""

import pytest
import torch

from helpers import small_hf_models as small
from model.test_cross import attend, make, sides
from r2d2.config import ModelConfig, TextConfig, VisionConfig
from r2d2.errors import R2D2Error
from r2d2.explain.attention import image_to_text, text_to_image
from r2d2.model.r2d2 import R2D2

MASK = {"clip": "9"}  # a vocabulary without a token for it


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    vision = VisionConfig(image_size=24, patch_size=6, width=24, layers=1, heads=2)
    text = TextConfig(vocab_size=40, max_length=12, width=16, layers=1, heads=2)
    model = R2D2(ModelConfig(vision=vision, text=text, cross_layers=3, embed_dim=8)).eval()
    for head in (model.match_head_text, model.match_head_image):
        torch.nn.init.normal_(head.weight)
    return model


@pytest.fixture(scope="module")
def both(model):
    ids = torch.randint(5, 40, (3, 8))
    mask = torch.arange(8) < torch.tensor([8, 3, 6])[:, None]
    with torch.inference_mode():
        return model.encode_images(torch.randn(3, 3, 24, 24)), model.encode_texts(ids, mask)


@pytest.mark.parametrize("masked", [False, True])
def test_recording_changes_nothing(masked):
    encoder = make(3)
    queries, query_mask, context, context_mask = sides(masked)
    queries, query_mask = queries[:3], None if query_mask is None else query_mask[:3]
    every = torch.arange(queries.shape[1]).expand(3, -1)
    record = []
    slow = encoder(queries, query_mask, context, context_mask, positions=every, record=record)
    fast = encoder(queries, query_mask, context, context_mask, positions=every)
    real = torch.ones(slow.shape[:2], dtype=torch.bool) if query_mask is None else query_mask
    torch.testing.assert_close(slow[real], fast[real], atol=1e-10, rtol=0)
    assert len(record) == 3
    for weights in record:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
        if context_mask is not None:
            assert not weights.movedim(-1, 1)[~context_mask].any()


def naive(encoder, x, context, changes):
    """State (L, width) and weights of each layer (2 heads, L, S), to which `changes` are added."""
    weights = []
    for layer, change in zip(encoder.layers, changes, strict=True):
        x = layer.attention_norm(x + attend(layer.attention, x, x))
        cross = layer.cross_attention
        q, (k, v) = cross.query(x), cross.key_value(context).chunk(2, dim=-1)
        heads = [t.chunk(2, dim=-1) for t in (q, k, v)]
        own = [(q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) for q, k, _ in zip(*heads, strict=True)]
        weights.append(torch.stack(own))
        read = [(w + c) @ v for w, c, v in zip(own, change, heads[2], strict=True)]
        x = layer.cross_attention_norm(x + cross.out(torch.cat(read, dim=-1)))
        up, activation, down = layer.feed_forward
        x = layer.feed_forward_norm(x + down(activation(up(x))))
    return x, weights


@pytest.mark.parametrize("item", range(3))
def test_weights_and_gradients_are_those_of_a_naive_pass(model, both, item):
    """Plain, and times the gradient of the log odds, the positive part; both directions."""
    images, texts = both
    length = int(texts.mask[item].sum())
    text, image = texts.states[item, :length].clone(), images.states[item].clone()
    for look, encoder, head, queries, context in (
        (text_to_image, model.text_to_image, model.match_head_text, text, image),
        (
            image_to_text,
            model.image_to_text,
            model.match_head_image,
            model.image_cross_projection(image),
            text,
        ),
    ):
        found = look(model, images, texts)
        size = (2, len(queries), len(context))
        changes = [torch.zeros(size, requires_grad=True) for _ in range(3)]
        state, weights = naive(encoder, queries, context, changes)
        logits = head(state[0])
        gradients = torch.autograd.grad(logits[1] - logits[0], changes)
        for layer in range(3):
            got = found.plain[layer, item, : len(queries), : len(context)]
            torch.testing.assert_close(got, weights[layer].mean(0), atol=1e-5, rtol=0)
            assert not found.plain[layer, item, :, len(context) :].any()
        for layer, gradient in enumerate(gradients):
            got = found.weighted[layer, item, : len(queries), : len(context)]
            expected = (weights[layer] * gradient.clamp_min(0)).mean(0)
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
            assert expected.any()
        assert not found.weighted[2, item, 1:].any()  # no word of the last layer leads to [CLS]


@torch.no_grad()
def test_the_match_score_is_the_fast_ones(model, both):
    """The recorded pass ends in the state that match_logits reads, to 1e-5."""
    images, texts = both
    record = []
    every = torch.arange(8).expand(3, -1)
    states = model.text_to_image(
        texts.states, texts.mask, images.states, None, positions=every, record=record
    )
    torch.testing.assert_close(
        states[:, 0], model.cross_text(images, texts)[:, 0], atol=1e-5, rtol=0
    )


def test_pairs_do_not_touch_one_another(model, both):
    images, texts = both
    whole = text_to_image(model, images, texts)
    one = text_to_image(model, images[1:2], texts[1:2])
    torch.testing.assert_close(whole.weighted[:, 1], one.weighted[:, 0], atol=1e-6, rtol=1e-4)


def test_without_cross_encoders():
    vision = VisionConfig(image_size=12, patch_size=6, width=8, layers=1, heads=1)
    text = TextConfig(vocab_size=10, max_length=8, width=8, layers=1, heads=1)
    model = R2D2(ModelConfig(vision=vision, text=text, cross_layers=0, embed_dim=4))
    with pytest.raises(R2D2Error, match="no cross encoders"):
        text_to_image(model, None, None)


@pytest.mark.parametrize("kind", small.KINDS)
def test_towers_of_others(kind, tmp_path):
    """A map of the grid's shape for each entity, and words for each patch."""
    import numpy as np
    from PIL import Image

    from r2d2.explain import explain
    from r2d2.models import load
    from r2d2.weights.towers import TowerOptions, import_towers

    small.save_hf(tmp_path / "theirs", kind)
    import_towers(
        tmp_path / "theirs",
        tmp_path / "model",
        TowerOptions(cross_layers=2, mask_token=MASK.get(kind)),
    )
    pretrained = load(tmp_path / "model")
    for head in (pretrained.model.match_head_text, pretrained.model.match_head_image):
        torch.nn.init.normal_(head.weight)
    picture = Image.new("RGB", (30, 20), (200, 30, 30))
    found = explain(pretrained, picture, "红色方块", weighted=True)
    grid = small.IMAGE // small.PATCH
    assert found.maps.shape == (len(found.entities), grid, grid)
    assert found.maps.any()
    assert found.patches.shape[:2] == (grid, grid)
    assert np.isfinite(found.patches).all()
    plain = explain(pretrained, Image.new("RGB", (30, 20)), "红色方块", weighted=False, alone=False)
    assert 0.5 < plain.maps[0].sum() < 1  # the rest is paid to the position in front
