"""Change the dropout of a model that was built with another rate."""

from __future__ import annotations

from torch import nn

from r2d2.errors import R2D2Error
from r2d2.model.attention import Attention
from r2d2.model.r2d2 import R2D2


def set_dropout(model: R2D2, share: float) -> None:
    """Set the dropout rate of the text and cross encoders to `share`; the image tower has none.

    Raises:
        R2D2Error: the towers are another model's, which drop out by rules of their own.
    """
    if model.config.hf_towers is not None:
        raise R2D2Error(
            "train.dropout is for our own towers, and this model has another's "
            f"({model.config.hf_towers.kind}): leave it out"
        )
    parts = [model.towers.get_submodule("text")]
    if model.has_match:
        parts += [model.text_to_image, model.image_to_text]
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            elif isinstance(module, Attention):
                module.dropout = share
