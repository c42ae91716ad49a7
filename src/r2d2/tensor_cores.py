"""Faster matrix products on a GPU (TF32), where a model's scores bear them.

Weights and scores stay float32; each product rounds its inputs to 10 bits of mantissa.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from r2d2.pretrained import Pretrained

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # how far a cosine or a match score may be from float32's
PROBES = 16  # pictures, and as many texts
LENGTH = 24  # tokens of a probe's text


@contextmanager
def tensor_cores(device: torch.device, enabled: bool = True) -> Iterator[None]:
    """Let a GPU multiply float32 in TF32 for as long as the context lasts: several times as fast.

    In bfloat16 candidates would tie, so that it is not used here.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and enabled:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def bears(model: object, faster: Callable[[], AbstractContextManager[None]]) -> bool:
    """Whether no score of a probe moves by more than TOLERANCE within `faster`; the log says so.

    Args:
        model: what is to encode; one that is not ours computes elsewhere, and is left as it is.
        faster: within which the same is computed again.
    """
    if not isinstance(model, Pretrained):
        return False
    expected = _scores(model)
    with faster():
        apart = float((_scores(model) - expected).abs().max())
    fits = apart <= TOLERANCE
    log.info(
        "products in %s: scores of a probe differ by %.1e from float32's, %s %g",
        "TF32" if fits else "float32", apart, "at most" if fits else "more than", TOLERANCE,
    )  # fmt: skip
    return fits


def use_tensor_cores(model: object) -> AbstractContextManager[None]:
    """TF32 while the context lasts, on a GPU and where the model bears it."""
    device = _gpu_of(model)
    if device is None:
        return nullcontext()
    return tensor_cores(device, bears(model, lambda: tensor_cores(device)))


def allow_tensor_cores(model: object) -> None:
    """The same for the rest of this process: of a command that does nothing but encode and rank."""
    device = _gpu_of(model)
    if device is not None and bears(model, lambda: tensor_cores(device)):
        torch.set_float32_matmul_precision("high")


def _gpu_of(model: object) -> torch.device | None:
    """The GPU that a model of ours is on."""
    if not isinstance(model, Pretrained):
        return None
    device = model.model.towers.device
    return device if device.type == "cuda" else None


@torch.inference_mode()
def _scores(model: Pretrained) -> Tensor:
    """Cosines (n, n) of random pictures and texts, and match scores (1, n) of the pairs."""
    draw = torch.Generator().manual_seed(0)
    size, device = model.model.config.vision.image_size, model.model.towers.device
    pixels = torch.randn(PROBES, 3, size, size, generator=draw).to(device)
    length = min(LENGTH, model.tokenizer.max_length)
    words = torch.randint(0, model.tokenizer.vocab_size, (PROBES, length), generator=draw)
    ids, mask = words.to(device), torch.ones_like(words, dtype=torch.bool, device=device)
    images, texts = model.model.encode_images(pixels), model.model.encode_texts(ids, mask)
    cosines = images.embedding.float() @ texts.embedding.float().T
    if not model.has_match:
        return cosines
    own = torch.arange(PROBES, device=device)
    match = model.match_text(images, texts, (own, own)) + model.match_image(
        images, texts, (own, own)
    )
    return torch.cat([cosines, match[None].float() / 2])
