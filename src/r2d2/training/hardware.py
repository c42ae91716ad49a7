"""Choose how many threads decode pictures, and the precision, from the machine of a run."""

from __future__ import annotations

import os

import torch

from r2d2.training.distributed import World


def decoders(world: World) -> int:
    """Return the number of decoding threads: a process's share of the cores, at most 8."""
    # A container or a cluster's scheduler may allow fewer cores than the machine has.
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1, min(8, (len(allowed) or os.cpu_count() or 1) // world.local_size))


def bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether a step computes in bfloat16; see `SystemConfig`."""
    if precision == "auto":
        # Older GPUs than Ampere emulate it, and are faster in float32.
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bfloat16"
