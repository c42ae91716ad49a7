"""Embedding pictures as it is usually written: Pillow, then one picture after the other."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed.plain.layers import PlainR2D2

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@torch.no_grad()
def embed(model: PlainR2D2, files: Sequence[bytes], size: int) -> Tensor:
    """Embeddings (n, d) of n encoded pictures."""
    found = []
    for file in files:
        image = Image.open(io.BytesIO(file)).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
        image = image.resize((size, size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1)
        pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        _, embedding = model.towers.encode_images(pixels[None])
        found.append(embedding[0])
    return torch.stack(found)
