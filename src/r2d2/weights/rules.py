"""Rules that say which tensors of a source make which of ours; they work in both directions.

A layout is a list of rules. Importing reads them from theirs to ours, exporting from ours to
theirs, so that one list says all and a round trip cannot drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.weights.interpolate import resize_positions

Change = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Rule:
    """A rule that relates tensors of a source to tensors of ours.

    Rules of one `part` stand together: a checkpoint holds all of a part, or nothing of it.
    """

    part: str  # text, vision, mlm, ...
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    read: Change  # theirs to ours
    write: Change  # ours to theirs
    how: str = ""  # what is done on the way, for the report


def _same(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    return tensors


def same(part: str, ours: str, theirs: str) -> Rule:
    """One tensor under two names."""
    return Rule(part, (ours,), (theirs,), _same, _same)


def both(part: str, ours: str, theirs: str) -> list[Rule]:
    """Weight and bias of a linear map or a norm."""
    return [same(part, f"{ours}.{end}", f"{theirs}.{end}") for end in ("weight", "bias")]


def joined(part: str, ours: str, theirs: Sequence[str]) -> list[Rule]:
    """Weight and bias of one linear map of ours that is several of theirs, one above the other."""
    return [
        Rule(
            part,
            (f"{ours}.{end}",),
            tuple(f"{name}.{end}" for name in theirs),
            lambda tensors: [torch.cat(list(tensors))],
            lambda tensors: tensors[0].chunk(len(theirs)),
            "joined",
        )
        for end in ("weight", "bias")
    ]


def attention(part: str, ours: str, theirs: Sequence[str]) -> list[Rule]:
    """Our attention from four maps of theirs: query, key, value, out."""
    query, key, value, out = theirs
    return [
        *both(part, f"{ours}.query", query),
        *joined(part, f"{ours}.key_value", (key, value)),
        *both(part, f"{ours}.out", out),
    ]


def fused_attention(part: str, ours: str, theirs: str) -> list[Rule]:
    """Our attention from torch's MultiheadAttention, which has query, key and value in one."""

    def read(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        query, key, value = tensors[0].chunk(3)
        return query, torch.cat([key, value])

    return [
        *(
            Rule(
                part,
                (f"{ours}.query.{end}", f"{ours}.key_value.{end}"),
                (f"{theirs}.in_proj_{end}",),
                read,
                lambda tensors: [torch.cat(list(tensors))],
                "split",
            )
            for end in ("weight", "bias")
        ),
        *both(part, f"{ours}.out", f"{theirs}.out_proj"),
    ]


def patches(part: str, ours: str, theirs: str, patch_size: int) -> Rule:
    """Our matrix (width, 3 p p) of their patch convolution (width, 3, p, p)."""
    return Rule(
        part,
        (ours,),
        (theirs,),
        lambda tensors: [tensors[0].flatten(1)],
        lambda tensors: [tensors[0].reshape(-1, 3, patch_size, patch_size)],
        "convolution as a matrix",
    )


def image_positions(part: str, ours: str, theirs: str, side: int) -> Rule:
    """Position embeddings (1 + P, width) of an image, resized to a grid of `side` squared."""
    return Rule(
        part,
        (ours,),
        (theirs,),
        lambda tensors: [resize_positions(tensors[0], (side, side))],
        _same,
        f"bicubic to {side} x {side} where the grid differs",
    )


def first_rows(part: str, ours: str, theirs: str, rows: int, pad_to: int = 0) -> Rule:
    """Our table is the first rows of theirs; written back with zeros up to `pad_to` rows."""

    def write(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        missing = max(0, pad_to - len(tensors[0]))
        return [torch.cat([tensors[0], tensors[0].new_zeros(missing, *tensors[0].shape[1:])])]

    return Rule(
        part, (ours,), (theirs,), lambda tensors: [tensors[0][:rows]], write, f"first {rows} rows"
    )


def first_row(part: str, ours: str, theirs: str, pad_to: int = 1) -> Rule:
    """Our vector is the first row of their table; written back with zeros up to `pad_to` rows."""
    rows = first_rows(part, ours, theirs, 1, pad_to)
    return Rule(
        part,
        (ours,),
        (theirs,),
        lambda tensors: [tensors[0][0]],
        lambda tensors: rows.write([tensors[0][None]]),
        "first row",
    )


def transposed(part: str, ours: str, theirs: str) -> Rule:
    """Our linear map of a matrix that they multiply from the right."""

    def turn(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [tensors[0].T]

    return Rule(part, (ours,), (theirs,), turn, turn, "transposed")


def temperature(part: str, theirs: str, *, scale: bool) -> Rule:
    """Log(tau), from tau itself or from a `scale` that is log(1 / tau)."""

    def read(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        value = tensors[0].reshape(())
        return [-value if scale else value.log()]

    def write(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [-tensors[0] if scale else tensors[0].exp()]

    how = "its negative" if scale else "its logarithm"
    return Rule(part, ("log_temperature",), (theirs,), read, write, how)
