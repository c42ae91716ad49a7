"""A convolutional stem for the ViT (arXiv 2106.14881): small convolutions, patches that overlap.

A linear map of whole patches gives other states when a picture moves by a few pixels, and has to
learn each place of a shape anew. Convolutions know the shape wherever it stands.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvStem(nn.Module):
    """Computes a grid of features from pixels, with one position for each patch.

    One convolution for each prime factor of the patch size, with that stride and a kernel of twice
    the stride less one, so that neighbouring positions overlap. The channels double from one to the
    next; each convolution is followed by a norm over the whole map and GELU.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        strides = prime_factors(patch_size)
        outputs = [max(8, width >> k) for k in reversed(range(len(strides)))]
        inputs = [3, *outputs[:-1]]
        self.channels = outputs[-1]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n, m, 2 * stride - 1, stride, stride // 2, bias=False)
            for n, m, stride in zip(inputs, outputs, strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, m) for m in outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, 3, H, W) to (n, P, channels), row by row."""
        x = pixels
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        return x.flatten(2).transpose(1, 2)


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number above 1 in ascending order, and [1] for 1."""
    factors = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors or [1]
