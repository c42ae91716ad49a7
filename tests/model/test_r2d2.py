"""The whole network: scores of pairs, sides, and every size of it without its weights in memory."""

import math

import pytest
import torch

from r2d2.config import ModelConfig, TextConfig, VisionConfig, make_config, presets, variants
from r2d2.flops import Shapes
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.losses import Objectives, StepContext, TrainingBatch

SMALL = ModelConfig(
    vision=VisionConfig(image_size=8, patch_size=4, width=12, layers=1, heads=2),
    text=TextConfig(vocab_size=20, max_length=8, width=16, layers=1, heads=2),
    cross_layers=2,
    embed_dim=6,
)
# Parameters in millions, without and with the cross encoders. ViT-B/16 has 86, ViT-L/14 303,
# BERT of base size 102, and each of 12 cross layers 9.4; the rest is projections and heads.
SIZES = {
    "tiny": ((4, 5), (5, 6)),
    "small": ((23, 26), (37, 42)),
    "base": ((186, 191), (298, 308)),
    "large": ((403, 409), (518, 530)),
}


def make(config=SMALL):
    model = R2D2(config)
    for p in model.parameters():
        if p.dim():
            p.data += 0.3 * torch.randn_like(p)  # biases and norms too
    return model.double()


def sides(model, lengths=(8, 3, 5)):
    n = len(lengths)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, 20, mask.shape) * mask
    return model.encode_images(torch.randn(n, 3, 8, 8).double()), model.encode_texts(ids, mask)


def test_sides_hold_states_mask_and_a_unit_embedding():
    images, texts = sides(make())
    assert images.states.shape == (3, 5, 12)
    assert texts.states.shape == (3, 8, 16)
    assert images.mask is None
    assert texts.mask.sum(1).tolist() == [8, 3, 5]
    for side in (images, texts):
        assert len(side) == 3
        assert side.embedding.shape == (3, 6)
        assert side.embedding.norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_embeddings_are_the_projected_class_states():
    model = make()
    images, texts = sides(model)
    for side, projection in (
        (images, model.towers.image_projection),
        (texts, model.towers.text_projection),
    ):
        for state, embedding in zip(side.states, side.embedding, strict=True):
            raw = projection.weight @ state[0] + projection.bias
            torch.testing.assert_close(embedding, raw / raw.square().sum().sqrt())


def test_match_is_the_mean_of_both_heads_for_each_pair_alone():
    model = make()
    images, texts = sides(model)
    pairs = (torch.tensor([0, 1, 2, 0, 2]), torch.tensor([0, 1, 2, 2, 0]))
    scores = model.match(images, texts, pairs)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.std() > 0.01
    for score, i, j in zip(scores, *(x.tolist() for x in pairs), strict=True):
        image = EncodedStates(images.states[i : i + 1], None, images.embedding[i : i + 1])
        words = texts.states[j : j + 1, : texts.mask[j].sum()]
        text = EncodedStates(words, None, texts.embedding[j : j + 1])
        h_text = model.cross_text(image, text)[0, 0]
        h_image = model.cross_image(image, text)[0]
        expected = 0.0
        for h, head in ((h_text, model.match_head_text), (h_image, model.match_head_image)):
            no, yes = (head.weight @ h + head.bias).exp()
            expected += (yes / (no + yes)).item() / 2
        assert score.item() == pytest.approx(expected, abs=1e-6)


def test_match_without_pairs_is_item_with_item():
    model = make()
    images, texts = sides(model)
    own = torch.arange(3)
    torch.testing.assert_close(model.match(images, texts), model.match(images, texts, (own, own)))


def test_the_order_of_the_pairs_and_their_repeats_change_no_score():
    model = make()
    images, texts = sides(model)
    first, second = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    scores = model.match(images, texts, (first, second))
    order = torch.tensor([8, 0, 3, 3, 5, 1])
    picked = model.match(images, texts, (first[order], second[order]))
    torch.testing.assert_close(picked, scores[order], atol=1e-6, rtol=0)


def test_joined_sides_score_as_they_did_apart():
    model = make()
    (images, texts), (more_images, more_texts) = sides(model), sides(model, (4, 2))
    both = EncodedStates.cat([images, more_images]), EncodedStates.cat([texts, more_texts])
    assert both[1].states.shape == (5, 8, 16)
    expected = torch.cat([model.match(images, texts), model.match(more_images, more_texts)])
    torch.testing.assert_close(model.match(*both), expected, atol=1e-6, rtol=0)
    picked = both[1][torch.tensor([4, 0])]
    assert picked.mask.sum(1).tolist() == [2, 8]


def test_temperature_is_kept_in_its_range():
    model = make()
    assert model.temperature.item() == pytest.approx(0.07)
    for value, kept in ((9.0, 0.5), (-1.0, 0.001), (0.2, 0.2)):
        model.log_temperature.data.fill_(math.log(value) if value > 0 else -100.0)
        model.clamp_temperature()
        assert model.temperature.item() == pytest.approx(kept)


def test_without_cross_layers_there_is_nothing_to_match_with():
    model = R2D2(make_config("tiny", "prd2").model)
    assert not model.has_match
    assert not any("cross" in name or "head" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("variant", variants())
def test_every_preset_and_variant_builds(preset, variant):
    config = make_config(preset, variant)
    with torch.device("meta"):
        model = R2D2(config.model)
        objectives = Objectives(model, config.objectives, 4, range(5))
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    low, high = SIZES[preset][model.has_match]
    assert low < millions < high
    assert model.has_match == (variant != "prd2")
    assert (objectives.teacher is None) == (variant == "wo_twd")
    assert (objectives.queue is None) == (variant in ("wo_twd", "wo_tgd"))


@pytest.mark.parametrize(
    ("preset", "variant"),
    [("base", "r2d2"), ("large", "r2d2"), ("base", "wo_et"), ("large", "prd2"), ("base", "wo_twd")],
)
def test_the_large_presets_run_a_step(preset, variant):
    """Weights and pixels have shapes only; ids, masks and draws have values, as in a run."""
    config = make_config(preset, variant)
    n, length, size = 4, config.model.text.max_length, config.model.vision.image_size
    with torch.device("meta"):
        model = R2D2(config.model)
        objectives = Objectives(model, config.objectives, 4, range(5))
    batch = TrainingBatch(
        torch.empty(n, 3, size, size, device="meta"),
        torch.randint(5, 99, (n, length)),
        torch.ones(n, length, dtype=torch.bool),
        torch.arange(2 * n).view(n, 2),
        torch.arange(n),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with Shapes():
        output = objectives(model, batch, StepContext(0, 1, 0.4, 0.5))
        losses = output.losses
        losses["total"].backward()
        optimizer.step()
        objectives.after_step(model, output.queue_entries)
    for name, loss in losses.items():
        assert loss.shape == (), name
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert p.grad.shape == p.shape, name
