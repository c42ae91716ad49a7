"""A model whose embeddings are cut to their first numbers: smaller vectors, for large galleries.

Good where it was trained for that width (`objectives.widths`), see docs/search.md.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained

log = logging.getLogger(__name__)

PROJECTIONS = ("image_projection", "text_projection")


def narrowed(model: Pretrained, dim: int, *, warn: bool = True) -> Pretrained:
    """The same model with embeddings of `dim` numbers, set to unit length; weights are shared.

    It is a whole model of its own: it can be saved, exported and searched with. Vectors of another
    width are another model's.

    Args:
        model: its cross encoders and its weight of the match score stay.
        dim: at most as many as its embeddings have.
        warn: tell that the model was not trained for that width, where it was not.

    Raises:
        R2D2Error: its embeddings are not so long.
    """
    whole = model.embed_dim
    if not 1 <= dim <= whole:
        raise R2D2Error(
            f"--dim {dim}: the embeddings of {model.name} have {whole} numbers: give at most that"
        )
    if dim == whole:
        return model
    if warn and dim not in model.widths:
        trained = ", ".join(str(width) for width in model.widths) or "none"
        log.warning(
            "%s was not trained to be cut to %d numbers (widths it was trained for: %s): it will "
            "find much less; train with --set 'objectives.widths=[%d]'",
            model.name, dim, trained, dim,
        )  # fmt: skip
    config = replace(model.model.config, embed_dim=dim)
    with torch.random.fork_rng(devices=[]):
        network = R2D2(config)
    state = {
        name: tensor[:dim] if name.split(".")[-2:-1] == [_projection(name)] else tensor
        for name, tensor in model.model.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    network.to(model.model.towers.device)
    return Pretrained(
        network, model.tokenizer, model.match_weight, model.top_k, model.batch_size,
        preprocessing=model.preprocessing, name=model.name, kind=model.kind,
        widths=tuple(width for width in model.widths if width < dim),
    )  # fmt: skip


def _projection(name: str) -> str | None:
    """The projection that a tensor is of; None: of another part."""
    return next(
        (projection for projection in PROJECTIONS if name.startswith(f"towers.{projection}.")), None
    )
