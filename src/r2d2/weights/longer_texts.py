"""Give an encoder more text positions than it was trained with, as FG-CLIP and Long-CLIP do.

The embeddings of the first positions, which nearly every training text had, stay as they are; the
others are interpolated (arXiv 2403.15378). The result is a start for training on long texts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.weights.source import RawCheckpoint

KEPT = 20  # positions
TABLE = "text_model.embeddings.position_embedding.weight"  # of CLIP and of SigLIP
LONGEST = 4096  # tokens; a text of a picture is shorter by far


def stretch_positions(table: Tensor, longest: int, kept: int) -> Tensor:
    """A table of positions (L, d) with `longest` rows: `kept` rows stay, the rest is stretched.

    The last row stays the last. R2D2Error where there are not more than `kept`, or too many.
    """
    positions = len(table)
    if not kept < positions <= longest:
        raise R2D2Error(
            f"{positions} places cannot be stretched to {longest}, the first {kept} as they are: "
            "give a greater length, or leave it out"
        )
    rest = table[kept:].float().T[None]  # (1, d, L - kept)
    longer = F.interpolate(rest, size=longest - kept, mode="linear", align_corners=True)
    return torch.cat([table[:kept].float(), longer[0].T])


def with_longer_texts(read: RawCheckpoint, positions: int, longest: int) -> RawCheckpoint:
    """A dual encoder's checkpoint with a longer text tower.

    Args:
        read: of a family whose table of positions is learned and called `TABLE`.
        positions: that it has.
        longest: tokens; more than it has positions.

    Raises:
        R2D2Error: its positions are of another kind, or cannot be stretched so far.
    """
    if TABLE not in read.tensors:
        raise R2D2Error(
            f"{read.name} has places for {positions} tokens, and they cannot be stretched to "
            f"{longest}: give --max-length {positions} or less"
        )
    if longest > LONGEST:
        raise R2D2Error(f"--max-length {longest}: give at most {LONGEST}")
    tensors: dict[str, Tensor] = dict(read.tensors)
    tensors[TABLE] = stretch_positions(tensors[TABLE], longest, KEPT)
    text_config: Mapping[str, Any] = read.config.get("text_config") or {}
    config = {**read.config, "text_config": {**text_config, "max_position_embeddings": longest}}
    return dataclasses.replace(read, tensors=tensors, config=config)
