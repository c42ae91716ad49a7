"""Open what is to be evaluated: a model of any kind, or embeddings from another program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from r2d2.errors import R2D2Error
from r2d2.evaluation import precomputed
from r2d2.evaluation.protocol import DualEncoder
from r2d2.evaluation.sentence_encoder import (
    SentenceEncoder,
    open_sentence_encoder,
    sentence_model_name,
)
from r2d2.models import ImageTextModel, load
from r2d2.pretrained import Pretrained


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, or embeddings, with what a report tells about it."""

    encoder: DualEncoder
    kind: str  # r2d2, hugging face, checkpoint, onnx, embeddings or sentence-transformers
    name: str
    text_length: int | None  # tokens at which texts are cut; None: not known here
    cut: Callable[[Sequence[str]], int] | None  # how many texts are cut
    model: ImageTextModel | None = None  # None: embeddings
    match_weight: float = 1.0  # as saved with the model
    dim: int | None = None  # numbers of an embedding that are kept; None: all

    @property
    def network(self) -> torch.nn.Module | None:
        """The torch module that has the parameters; None where there is none."""
        if isinstance(self.model, Pretrained):
            return self.model.model
        return self.encoder.network if isinstance(self.encoder, SentenceEncoder) else None

    def cut_counts(self, texts: Sequence[str]) -> dict[str, int | None]:
        """How many texts there are, and how many of them are cut; None: not known."""
        return {"texts": len(texts), "cut": None if self.cut is None else self.cut(texts)}


def open_encoder(
    source: str | Path, *, text_length: int | None = None, dim: int | None = None
) -> EvaluatedModel:
    """Open what is to be measured.

    Args:
        source: as `r2d2.models.load` takes it; or a folder with images.npy or images.parquet, and
            the same of texts; or a model of sentence-transformers, see `sentence_model_name`.
        text_length: tokens at which texts are cut; None: as the model is used.
        dim: numbers of an embedding that are kept; None: all.

    Raises:
        R2D2Error: no known model is at `source`, it is damaged, or it cannot read texts that long.
    """
    folder = Path(source)
    if precomputed.is_there(folder):
        if text_length is not None:
            raise R2D2Error(
                f"{source} holds embeddings: leave --max-length out, the texts were cut elsewhere"
            )
        if dim is not None:
            raise R2D2Error(
                f"{source} holds embeddings: leave --dim out, and give the first {dim} numbers"
            )
        return EvaluatedModel(precomputed.read(folder), "embeddings", folder.name, None, None)
    theirs = sentence_model_name(source)
    if theirs is not None:
        if text_length is not None:
            raise R2D2Error(f"{source} cuts texts as its own settings say: leave --max-length out")
        encoder = open_sentence_encoder(theirs, dim=dim)
        name = Path(theirs).name
        return EvaluatedModel(encoder, "sentence-transformers", name, None, None, dim=dim)
    model = load(source, text_length=text_length, dim=dim)
    tokenizer = model.tokenizer
    return EvaluatedModel(
        model, model.kind, model.name, tokenizer.max_length, tokenizer.cut, model,
        model.match_weight, dim,
    )  # fmt: skip
