"""ViT against a slow forward in plain steps; kept patches."""

import torch
import torch.nn.functional as F
from torch import nn

from r2d2.config import VisionConfig
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
