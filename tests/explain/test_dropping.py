"""Effects of parts: rectangles of patches, a naive loop of passes, and directions among words."""

import numpy as np
import pytest
import torch
from PIL import Image

from explain.test_explanation import build
from helpers.cli import refused
from r2d2.data.augment import normalize
from r2d2.data.preprocessing import Preprocessing
from r2d2.explain.dropping import (
    DRAWS,
    RIDGE,
    directions_among,
    draw_parts,
    encode_parts,
    grid_side,
    patch_effects,
)
from r2d2.images.decode import resize
from r2d2.model.encoded_states import EncodedStates


@pytest.mark.parametrize("side", [2, 3, 4, 7, 14, 16])
def test_each_draw_shows_a_rectangle_or_all_but_one(side):
    shown = draw_parts(side)
    assert shown.shape == (DRAWS, side * side)
    assert (draw_parts(side) == shown).all()  # seeds are fixed
    assert not (draw_parts(side, seed=1) == shown).all()
    kinds = set()
    for draw in shown.view(-1, side, side).numpy():
        inside = [draw, ~draw]
        kind = [whole.any() and _is_rectangle(whole) for whole in inside]
        assert any(kind)
        kinds.add(tuple(kind))
    assert len(kinds) > 1  # both the inside and the outside of some
    assert shown.any(0).all()  # no patch that is always left out
    assert not shown.all(0).any()  # or never


def _is_rectangle(draw):
    rows, columns = np.nonzero(draw)
    return draw[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_one_patch_cannot_be_left_out():
    assert "one patch" in refused(draw_parts, 1)


def test_embeddings_and_effects_of_a_naive_loop():
    model = build()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    shown = draw_parts(4, 12)
    embeddings = encode_parts(model, picture, shown)
    pixels = normalize(torch.from_numpy(resize(picture, 24))[None])
    with torch.inference_mode():
        for seen, embedding in zip(shown, embeddings, strict=True):
            keep = torch.tensor([[p for p in range(16) if seen[p]]])
            expected = model.model.encode_images(pixels, keep).embedding[0]
            torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=0)
    directions = torch.nn.functional.normalize(torch.randn(2, embeddings.shape[1]), dim=-1)
    effects = patch_effects(embeddings, shown, directions)
    seen, scores = shown.float(), embeddings @ directions.T
    rows = torch.cat([seen - seen.mean(0), (RIDGE * 12) ** 0.5 * torch.eye(16)])
    targets = torch.cat([scores - scores.mean(0), torch.zeros(16, 2)])
    expected = torch.linalg.lstsq(rows, targets).solution.T  # the penalty as rows of its own
    torch.testing.assert_close(effects, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [4, 7, 14])
def test_a_corner_is_not_credited_with_what_else_is_shown(side):
    """Draws that show a corner are mostly those that show nearly everything."""
    shown = draw_parts(side)
    everywhere = shown.float().mean(1, keepdim=True)  # all patches matter alike
    effects = patch_effects(everywhere, shown, torch.ones(1, 1)).view(side, side)
    corners = effects[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    middle = effects[side // 2, side // 2]
    assert corners < 1.5 * middle
    inside = torch.zeros(side, side)
    inside[side // 4 : side // 2, side // 4 : side // 2] = 1
    planted = (shown.float() @ inside.flatten())[:, None]
    effects = patch_effects(planted, shown, torch.ones(1, 1))[0]
    best = effects.topk(int(inside.sum())).indices
    assert inside.flatten()[best].mean() > 0.5
    assert effects[0] < 0.5 * effects.max()  # the corner


class Whole:
    """A model that takes whole pictures, as ONNX graphs do: the embedding is made of its pixels."""

    batch_size = 5
    preprocessing = Preprocessing(14)

    def prepare(self, picture):
        return self.preprocessing(picture)

    def encode_pixels(self, pixels):
        embedding = torch.from_numpy(np.stack(pixels)).float().flatten(1)
        return EncodedStates(embedding[:, None], None, embedding)


def test_parts_are_covered_where_a_model_takes_whole_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (14, 14, 3)).astype(np.uint8)
    model, shown = Whole(), draw_parts(7, 12)
    assert grid_side(model) == 7
    found = encode_parts(model, Image.fromarray(noise), shown).view(12, 14, 14, 3).numpy()
    mean = noise.mean((0, 1)).round()
    for draw, pixels in zip(shown.view(12, 7, 7), found, strict=True):
        for row in range(14):
            for column in range(14):
                seen = draw[row // 2, column // 2]
                assert (pixels[row, column] == (noise[row, column] if seen else mean)).all()


def test_directions_do_not_depend_on_how_far_a_text_lies_from_the_others():
    unrelated = torch.tensor([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0]])
    near, far = torch.tensor([[1.0, 0.0, 0.2]]), torch.tensor([[1.0, 0.0, 5.0]])
    expected = torch.tensor([[0.0, 0.0, 1.0]])
    for texts in (near, far):
        torch.testing.assert_close(directions_among(texts, unrelated), expected)
