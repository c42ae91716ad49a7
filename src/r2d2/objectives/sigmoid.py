"""SigLIP's loss (arXiv 2303.15343), which decides for each pair by a sigmoid whether it matches.

It needs no softmax over all candidates, so it is computed block by block: memory holds the logits
of one block at a time, which has the n images of a process and n texts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from r2d2.objectives.gcpr import Gather, identity, positives
from r2d2.objectives.precision import exact


@exact
def sigmoid_contrast(
    images: Tensor,
    texts: Tensor,
    keys: Tensor,
    temperature: Tensor,
    bias: Tensor,
    gather: Gather = identity,
    text_keys: Tensor | None = None,
) -> Tensor:
    """L = -1/n sum_ij log sigmoid(z_ij (f_I,i . f_T,j / tau + b)), z = 1 for positives, else -1.

    i runs over the pairs of this process, and j over the pairs of all processes. The mean over the
    processes is the loss of the global batch. Without pairs it is 0.

    Args:
        images: (n, d) f_I.
        texts: (n, d) f_T.
        keys: (n, k) int64, image key and text keys of the images' rows; see `positives`.
        temperature: tau.
        bias: () b; it starts far below 0, because nearly all pairs do not match.
        gather: joins the ranks' features, with gradient.
        text_keys: (n, k) int64, the keys of the texts' rows; None: the same as `keys`.
    """
    candidate_keys = gather(keys if text_keys is None else text_keys)
    arguments = (images, gather(texts), keys, candidate_keys, 1 / temperature, bias)
    loss: Tensor = _Blocks.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _Blocks(torch.autograd.Function):
    """Computes loss and gradients in one pass, so that no block is kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        keys: Tensor,
        candidate_keys: Tensor,
        scale: Tensor,
        bias: Tensor,
    ) -> Tensor:
        n, loss = max(1, len(images)), images.new_zeros(())
        to_images, to_texts = torch.zeros_like(images), torch.zeros_like(texts)
        to_scale, to_bias = torch.zeros_like(scale), torch.zeros_like(bias)
        for start in range(0, len(texts), n):
            block = texts[start : start + n]
            cosine = images @ block.T
            sign = 2.0 * positives(keys, candidate_keys[start : start + n]).to(cosine.dtype) - 1.0
            logits = sign * (cosine * scale + bias)
            loss = loss - F.logsigmoid(logits).sum()
            gradient_at_logit = -sign * torch.sigmoid(-logits)  # of the logit without its sign
            to_images += gradient_at_logit @ block * scale
            to_texts[start : start + n] = gradient_at_logit.T @ images * scale
            to_scale += (gradient_at_logit * cosine).sum()
            to_bias += gradient_at_logit.sum()
        ctx.save_for_backward(to_images / n, to_texts / n, to_scale / n, to_bias / n)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, bias = (gradient * saved for saved in ctx.saved_tensors)
        return images, texts, None, None, scale, bias
