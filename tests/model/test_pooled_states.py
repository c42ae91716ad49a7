"""Several vectors an item: which states they are of, for each kind of towers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import r2d2
from helpers.cli import refused
from helpers.encoder_files import save_image_encoder, save_text_encoder
from helpers.runs import small_config
from helpers.small_hf_models import IMAGE, save_hf
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.pooled_states import pooled_patches, token_vectors
from r2d2.model.r2d2 import R2D2
from r2d2.weights.encoder_pairs import import_pair
from r2d2.weights.towers import TowerOptions

TEXTS = ["红色方块", "白"]


def noise(n, side=IMAGE):
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return [Image.fromarray(one) for one in pixels]


def test_patches_are_averaged_over_a_grid_then_projected():
    torch.manual_seed(0)
    towers = R2D2(small_config("prd2", "model.vision.patch_size=8").model).eval().towers
    with torch.no_grad():
        side = towers.encode_images(torch.randn(2, 3, 32, 32))  # 4 x 4 patches
        pooled = towers.pooled_states(side, 4)
        corners = side.states[:, [3, 4, 7, 8]].mean(1), side.states[:, [9, 10, 13, 14]].mean(1)
        for cell, corner in zip((1, 2), corners, strict=True):  # upper right, lower left
            expected = F.normalize(towers.image_projection(corner), dim=-1)
            assert torch.allclose(pooled[:, cell], expected, atol=1e-6)
        every = F.normalize(towers.image_projection(side.states[:, 1:]), dim=-1)
        assert torch.allclose(towers.pooled_states(side, 16), every, atol=1e-6)


def test_words_are_the_tokens_between_the_first_and_the_last():
    torch.manual_seed(0)
    towers = R2D2(small_config("prd2").model).eval().towers
    ids = torch.tensor([[2, 7, 8, 3, 0], [2, 9, 3, 0, 0], [2, 3, 0, 0, 0]])
    with torch.no_grad():
        side = towers.encode_texts(ids, ids != 0)
        tokens, words = towers.token_states(side)
        expected = F.normalize(towers.text_projection(side.states[0, 2]), dim=-1)
    assert torch.allclose(tokens[0, 1], expected, atol=1e-6)
    assert words.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("kind", ["chinese_clip", "clip"])
def test_a_state_of_the_class_token_would_give_the_embedding(kind, tmp_path):
    """The same norm and projection stand behind the patches as behind the class token."""
    save_hf(tmp_path, kind)
    model = r2d2.load(tmp_path, "cpu")
    side = model.encode_images(noise(3))
    repeated = EncodedStates(side.states[:, :1].expand(-1, 17, -1), None, side.embedding)
    if kind == "clip":
        assert not torch.allclose(repeated.states[:, 0].norm(dim=1), torch.ones(3))
    pooled = model.pooled_states(repeated, 4)
    assert torch.allclose(pooled, side.embedding[:, None].expand(-1, 4, -1), atol=1e-5)
    texts = model.encode_texts(TEXTS)
    tokens, words = model.token_states(texts)
    assert words.sum(1).tolist() == [4, 1]  # characters, without the tokens of both ends
    assert torch.allclose(tokens.norm(dim=-1), torch.ones(tokens.shape[:2]), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "text"),
    [("dinov2_with_registers", "bert"), ("convnext", "xlm-roberta"), ("dinov3_vit", "qwen3")],
)
def test_registers_are_no_patches_and_ends_are_no_words(image, text, tmp_path):
    save_image_encoder(tmp_path / "i", image)
    save_text_encoder(tmp_path / "t", text)
    options = TowerOptions(
        mask_token="<|fim_pad|>" if text == "qwen3" else None, embed_dim=24, cross_layers=1,
        max_length=16,
    )  # fmt: skip
    import_pair(tmp_path / "i", tmp_path / "t", tmp_path / "ours", options)
    model = r2d2.load(tmp_path / "ours", "cpu")
    patches = model.model.config.vision.patches
    side = model.encode_images(noise(2, 32))
    pooled = model.pooled_states(side, patches)
    assert pooled.shape == (2, patches, 24)
    towers = model.model.towers
    norm = towers.vision.layernorm if image == "convnext" else torch.nn.Identity()
    with torch.no_grad():
        last = F.normalize(towers.image_projection(norm(side.states[:, -1])), dim=-1)
    assert torch.allclose(pooled[:, -1], last, atol=1e-5)
    texts = model.encode_texts(TEXTS)
    tokens, words = model.token_states(texts)
    first = texts.states.shape[1] - tokens.shape[1]
    assert first == 1  # the start of a text, or the pooled state of Qwen3, which has none
    ends = texts.real().sum(1) - 1
    assert words.sum(1).tolist() == (ends - first).tolist()


def test_a_picture_vector_made_by_an_attention_head_is_refused(tmp_path):
    save_hf(tmp_path, "siglip")
    model = r2d2.load(tmp_path, "cpu")
    assert "leave --pooled-states out" in refused(model.check_pooling, 4)


def test_one_item_and_one_state():
    states = torch.randn(1, 4, 8)
    pooled = pooled_patches(states, 1, lambda x: x)
    assert torch.allclose(pooled[0, 0], F.normalize(states[0].mean(0), dim=0), atol=1e-6)
    tokens, words = token_vectors(states, torch.ones(1, 4).bool(), 1, lambda x: x)
    assert (tokens.shape, words.tolist()) == ((1, 3, 8), [[True, True, False]])
