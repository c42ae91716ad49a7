"""MaxSim over pooled states against plain loops."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.pooled_states import maxsim, parts_of, tokens_of
from r2d2.model.r2d2 import R2D2
from training.small import small_config


def test_maxsim_is_the_mean_of_the_nearest_parts():
    tokens, parts = torch.randn(3, 5, 4).double(), torch.randn(2, 6, 4).double()
    real = torch.tensor([[1, 1, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    found = maxsim(tokens, real, parts)
    for text in range(3):
        for image in range(2):
            likes = [
                max(float(tokens[text, place] @ part) for part in parts[image])
                for place in range(5) if real[text, place]
            ]  # fmt: skip
            expected = sum(likes) / len(likes) if likes else 0.0
            assert float(found[text, image]) == pytest.approx(expected, abs=1e-12)


def test_parts_are_means_of_patches_projected_as_the_class_token():
    torch.manual_seed(0)
    config = small_config("prd2", "model.vision.patch_size=8").model  # 4 x 4 patches
    towers = R2D2(config).eval().towers
    with torch.no_grad():
        side = towers.encode_images(torch.randn(2, 3, 32, 32))
        parts = parts_of(towers, side, 4)
        corner = side.states[:, [1, 2, 5, 6]].mean(1)  # of the upper left quarter
        expected = F.normalize(towers.image_projection(corner), dim=-1)
        assert torch.allclose(parts[:, 0], expected, atol=1e-6)
        ids = torch.tensor([[2, 7, 8, 3, 0], [2, 9, 3, 0, 0]])
        tokens, real = tokens_of(towers, towers.encode_texts(ids, ids != 0))
    assert tokens.shape == (2, 4, config.embed_dim)
    assert real.tolist() == [[True, True, False, False], [True, False, False, False]]
