"""What is lost without a part: a naive loop a window; a patch gets the mean over its windows."""

import numpy as np
import pytest
import torch
from PIL import Image

from explain.test_explanation import build
from r2d2.data.augment import normalize
from r2d2.data.images import resize
from r2d2.explain.dropping import falls, windows


@pytest.mark.parametrize(
    ("side", "count", "size"), [(1, 1, 1), (4, 16, 1), (9, 64, 4), (14, 144, 9)]
)
def test_windows(side, count, size):
    kept, inside = windows(side)
    assert inside.shape == (count, side * side)
    assert (inside.sum(1) == size).all()
    assert (inside.sum(0) > 0).all()  # no patch without one
    assert kept.shape == (count, side * side - size)
    for left, one in zip(kept, inside, strict=True):
        assert not one[left].any()


def test_a_naive_loop():
    model = build()
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    texts = model.encode_texts(["狗", "飞盘"]).embedding
    found = falls(model, picture, texts)
    assert found.shape == (2, 4, 4)
    pixels = normalize(torch.from_numpy(resize(picture, 24))[None])
    with torch.inference_mode():
        whole = model.model.encode_images(pixels).embedding[0]
        for patch in range(16):
            left = torch.tensor([[p for p in range(16) if p != patch]])
            without = model.model.encode_images(pixels, left).embedding[0]
            expected = (texts @ whole - texts @ without).clamp_min(0)
            np.testing.assert_allclose(found[:, patch // 4, patch % 4], expected.numpy(), atol=1e-5)
    assert found.any()
