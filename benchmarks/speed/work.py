"""FLOPs of calls that really run, attention included.

Attention is counted by its matrix products whatever kernel runs it: a multiply-accumulate is two.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops_of(call: Callable[[], object]) -> float:
    """FLOPs of the matrix products in a call, backward pass and all."""
    # The counter knows the plain products, and the GPU's kernels, but not the CPU's.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
