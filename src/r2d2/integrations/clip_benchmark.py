"""Models for CLIP_benchmark (github.com/LAION-AI/CLIP_benchmark), by its loading protocol.

    python -m r2d2.integrations.clip_benchmark eval --model_type r2d2 --pretrained runs/mine ...

It knows loading functions by a name, in TYPE2FUNC, that give (model, transform, tokenizer). The
command above puts `load_r2d2` there, and is its own command from then on.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from r2d2.data.augment import normalize
from r2d2.errors import R2D2Error, first_line
from r2d2.models import load as load_model
from r2d2.models import network_of
from r2d2.pretrained import Pretrained

NAME = "r2d2"  # the --model_type
Transform = Callable[[Image.Image], Tensor]


class TokenBatch:
    """Token ids (n, L) and which of them are real, as far as the benchmark looks into them."""

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        self.ids, self.mask = ids, mask

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: str | torch.device) -> TokenBatch:
        """On another device."""
        return TokenBatch(self.ids.to(device), self.mask.to(device))


class BenchmarkModel(nn.Module):
    """What the benchmark calls of a model."""

    def __init__(self, model: Pretrained) -> None:
        super().__init__()
        self.network = model.model

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(n, d) of unit length, of pictures (n, 3, S, S) as the transform gives them."""
        return self.network.encode_images(pixels).embedding

    def encode_text(self, tokens: TokenBatch) -> Tensor:
        """(n, d) of unit length."""
        return self.network.encode_texts(tokens.ids, tokens.mask).embedding


def load_r2d2(
    model_name: str = NAME,
    pretrained: str = "",
    cache_dir: str | None = None,
    device: str | torch.device = "cpu",
) -> tuple[BenchmarkModel, Transform, Callable[[Sequence[str]], TokenBatch]]:
    """A model, what makes tensors (3, S, S) of pictures, and a tokenizer.

    Args:
        model_name: not read; the benchmark names its results by it.
        pretrained: as `r2d2.load` takes it, but no ONNX folder.
        cache_dir: not read; models of the hub lie in its own cache.
        device: where to.

    Raises:
        R2D2Error: there is no such model, or it is no network of PyTorch.
    """
    if not pretrained:
        raise R2D2Error(
            "--pretrained names the model: give a run's folder, or what r2d2.load takes"
        )
    model = network_of(load_model(pretrained, device), "export")

    def transform(picture: Image.Image) -> Tensor:
        return normalize(torch.from_numpy(model.prepare(picture))[None])[0]

    def tokenizer(texts: Sequence[str]) -> TokenBatch:
        return TokenBatch(*model.tokenizer(list(texts)))

    return BenchmarkModel(model).eval(), transform, tokenizer


def register(models: Any) -> None:
    """Add the loader to `clip_benchmark.models`."""
    models.TYPE2FUNC[NAME] = load_r2d2
    if NAME not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(NAME)


def main() -> int:
    """CLIP_benchmark's own command, with r2d2 among its model types."""
    try:
        register(importlib.import_module("clip_benchmark.models"))
        run = importlib.import_module("clip_benchmark.cli").main
    except ImportError as error:
        reason = first_line(error)
        print(f"error: CLIP_benchmark cannot be imported ({reason}): pip install clip-benchmark",  # noqa: T201
              file=sys.stderr)  # fmt: skip
        return 2
    return int(run() or 0)


if __name__ == "__main__":
    sys.exit(main())
