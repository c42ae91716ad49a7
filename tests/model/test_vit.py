"""ViT against a slow forward in plain steps; kept patches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from r2d2.config import VisionConfig, make_config
from r2d2.errors import R2D2Error
from r2d2.model.stem import prime_factors
from r2d2.model.towers import Towers
from r2d2.model.vit import ViT

CONFIG = VisionConfig(image_size=12, patch_size=4, width=8, layers=2, heads=2)


def make():
    vit = ViT(CONFIG)
    for p in vit.parameters():
        nn.init.normal_(p, std=0.4)
    return vit.double()


def attend(attention, x):
    heads = attention.heads
    q, (k, v) = attention.query(x), attention.key_value(x).chunk(2, dim=-1)
    out = []
    for q_, k_, v_ in zip(*(t.chunk(heads, dim=-1) for t in (q, k, v)), strict=True):
        out.append((q_ @ k_.mT / q_.shape[-1] ** 0.5).softmax(-1) @ v_)
    return attention.out(torch.cat(out, dim=-1))


def naive_forward(vit, picture, kept):
    """One picture (3, H, W), its patches cut out one by one."""
    p, columns = vit.patch_size, picture.shape[2] // vit.patch_size
    rows = [vit.class_embedding + vit.position_embedding[0]]
    for place in kept:
        top, left = place // columns * p, place % columns * p
        patch = picture[:, top : top + p, left : left + p].reshape(-1)
        rows.append(vit.patch_embedding.weight @ patch + vit.position_embedding[1 + place])
    x = vit.input_norm(torch.stack(rows))
    for layer in vit.layers:
        x = x + attend(layer.attention, layer.attention_norm(x))
        up, _, down = layer.feed_forward
        inner = up(layer.feed_forward_norm(x))
        x = x + down(inner * torch.sigmoid(1.702 * inner))
    return x


def test_equals_the_slow_forward():
    vit, pictures = make(), torch.randn(3, 3, 12, 12).double()
    states = vit(pictures)
    assert states.shape == (3, 10, 8)
    for picture, row in zip(pictures, states, strict=True):
        torch.testing.assert_close(row, naive_forward(vit, picture, range(9)), atol=1e-9, rtol=0)


def test_kept_patches_equal_the_slow_forward_over_them():
    vit, pictures = make(), torch.randn(3, 3, 12, 12).double()
    keep = torch.tensor([[8, 0, 3], [1, 2, 4], [5, 7, 6]])
    states = vit(pictures, keep)
    assert states.shape == (3, 4, 8)
    for picture, row, kept in zip(pictures, states, keep.tolist(), strict=True):
        torch.testing.assert_close(row, naive_forward(vit, picture, kept), atol=1e-9, rtol=0)


def test_all_patches_in_order_equal_no_choice():
    vit, pictures = make(), torch.randn(2, 3, 12, 12).double()
    torch.testing.assert_close(vit(pictures, torch.arange(9).expand(2, -1)), vit(pictures))


def test_the_order_of_what_is_kept_moves_no_class_state():
    vit, pictures = make(), torch.randn(2, 3, 12, 12).double()
    keep = torch.tensor([[8, 0, 3], [1, 2, 4]])
    a, b = vit(pictures, keep)[:, 0], vit(pictures, keep.flip(1))[:, 0]
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_dropped_patches_are_not_seen():
    vit, pictures = make(), torch.randn(1, 3, 12, 12).double().requires_grad_()
    (gradient,) = torch.autograd.grad(vit(pictures, torch.tensor([[4]])).square().sum(), pictures)
    seen = F.max_pool2d(gradient.abs(), 4).amax(1).flatten() > 0
    assert seen.tolist() == [place == 4 for place in range(9)]


STEM = VisionConfig(image_size=12, patch_size=6, width=32, layers=1, heads=2, stem="conv")


def test_a_convolutional_stem_gives_a_row_a_patch():
    vit = ViT(STEM).eval()
    pictures = torch.randn(2, 3, 12, 12)
    states = vit(pictures)
    assert states.shape == (2, 5, 32)
    features = vit.stem(pictures)  # strides 2 and 3, each with its own place on the map
    x = pictures
    for stride, convolution, norm in zip(
        (2, 3), vit.stem.convolutions, vit.stem.norms, strict=True
    ):
        x = F.conv2d(x, convolution.weight, stride=stride, padding=stride // 2)
        mean, variance = (
            x.mean((1, 2, 3), keepdim=True),
            x.var((1, 2, 3), keepdim=True, correction=0),
        )
        x = F.gelu((x - mean) / (variance + 1e-5).sqrt() * norm.weight.view(1, -1, 1, 1))
    torch.testing.assert_close(features, x.flatten(2).mT, atol=1e-5, rtol=0)
    keep = torch.tensor([[3, 0], [1, 2]])
    assert vit(pictures, keep).shape == (2, 3, 32)


def test_positions_of_a_convolutional_stem_overlap():
    vit = ViT(STEM).double()
    seen = []
    for place in range(4):
        picture = torch.randn(1, 3, 12, 12).double().requires_grad_()
        x = picture
        for convolution in vit.stem.convolutions:  # the norm sees the whole map, so leave it out
            x = convolution(x)
        (gradient,) = torch.autograd.grad(x.flatten(2)[0, :, place].square().sum(), picture)
        seen.append((gradient.abs().amax((0, 1)) > 0).sum())
    assert x.shape == (1, 32, 2, 2)
    assert min(seen) > 36  # pixels of a patch by itself


@pytest.mark.parametrize(("position_std", "least", "most"), [(0.02, 0, 0.02), (1.0, 0.1, 2)])
def test_larger_positions_tell_where_a_patch_stands(position_std, least, most):
    torch.manual_seed(0)
    config = replace(make_config("tiny").model.vision, position_std=position_std, layers=1)
    vit = Towers(replace(make_config("tiny").model, vision=config)).vision
    pictures = 2 * torch.randn(8, 3, 72, 72)
    moved = pictures.roll(36, 3)  # the same patches, in other places
    with torch.no_grad():
        states, others = vit(pictures)[:, 0], vit(moved)[:, 0]
    change = (states - others).norm(dim=1) / states.norm(dim=1)
    assert (change > least).all()
    assert (change < most).all()


@pytest.mark.parametrize(
    ("number", "factors"), [(1, [1]), (14, [2, 7]), (16, [2] * 4), (18, [2, 3, 3]), (13, [13])]
)
def test_prime_factors(number, factors):
    assert prime_factors(number) == factors


def test_a_stem_that_is_not_known_is_refused():
    with pytest.raises(R2D2Error, match=r"model.vision.stem.*conv"):
        VisionConfig(stem="linear")
