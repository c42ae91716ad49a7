"""Random numbers that are a function of their key, not of what was drawn before.

Every draw of a run is keyed by (seed, step, what for, global index): a resumed run, and a run
spread over more processes, draws the same numbers without keeping any generator's state.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1


class Draw(IntEnum):
    """What a number is for; two purposes never share numbers."""

    ORDER = 1
    TEXT = 2
    AUGMENT = 3
    MASK = 4
    COIN = 5
    PATCHES = 6
    NEGATIVE_TEXT = 7
    NEGATIVE_IMAGE = 8
    DROPOUT = 9
    GRID = 10
    EXPLAIN = 11
    SCENE = 12
    PAIR = 13
    MINED = 14
    SECOND_TEXT = 15


def _mix(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014) on a Python integer."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def key(seed: int, step: int, draw: Draw) -> int:
    """64 bits for one purpose at one step."""
    return _mix(_mix(_mix(seed & _MASK64) ^ (step & _MASK64)) ^ int(draw))


def generator(seed: int, step: int, draw: Draw) -> np.random.Generator:
    """A numpy generator for one purpose at one step."""
    return np.random.Generator(np.random.Philox(key=key(seed, step, draw)))


def uniform(seed: int, step: int, draw: Draw, index: Tensor, width: int) -> Tensor:
    """Numbers in [0, 1), the same on every device.

    Args:
        seed: of the run.
        step: of the run.
        draw: what for.
        index: (n,) int64, global indices of the items.
        width: numbers an item.

    Returns:
        (n, width) float32; row i depends on index[i], not on n.
    """

    def shift(x: Tensor, bits: int) -> Tensor:
        return (x >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts keep the sign

    def mix(x: Tensor) -> Tensor:
        x = x + _signed(0x9E3779B97F4A7C15)
        x = (x ^ shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
        x = (x ^ shift(x, 27)) * _signed(0x94D049BB133111EB)
        return x ^ shift(x, 31)

    columns = torch.arange(width, dtype=torch.int64, device=index.device)
    bits = mix(mix(index + _signed(key(seed, step, draw)))[:, None] + columns)
    return shift(bits, 40).to(torch.float32) / (1 << 24)
