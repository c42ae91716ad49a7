"""What a call needs of memory at its peak, above what was there before it.

`tensor_peak` counts what torch allocates, to the byte and the same in every run; `resident_peak`
asks the system what the whole process took, for calls that do not live in torch.
"""

from __future__ import annotations

import gc
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

# torch's profiler prints its own start and stop otherwise
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

GRADIENT = "gradient of bytes "
BEGIN = "the call that is measured"


def tensor_peak(call: Callable[[], object], parameters: Iterable[object] = ()) -> float:
    """Bytes that torch holds at the peak of a call, above what it held before.

    Args:
        call: what to run. Twice: torch's profiler sees a block let go only if it saw it made.
        parameters: whose gradients are not counted once they are complete.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    def arrived(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        with record_function(f"{GRADIENT}{parameter.grad.nbytes}"):
            pass

    seen = [p for p in parameters if isinstance(p, torch.Tensor) and p.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(arrived) for parameter in seen]
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    try:
        with profile(activities=activities, profile_memory=True) as profiled:
            call()
            for parameter in seen:
                parameter.grad = None
            gc.collect()
            with record_function(BEGIN):
                pass
            call()
    finally:
        for hook in hooks:
            hook.remove()
    wanted = torch.profiler.DeviceType.CUDA if on_gpu else torch.profiler.DeviceType.CPU
    events, began = [], 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            if event.device_type() == wanted:
                events.append((event.start_ns(), event.nbytes()))
        elif event.name() == BEGIN:
            began = event.start_ns()
        elif event.name().startswith(GRADIENT):
            events.append((event.start_ns(), -int(event.name()[len(GRADIENT) :])))
    live = peak = 0
    for when, change in sorted(events, key=lambda event: event[0]):
        if when >= began:
            live += change
            peak = max(peak, live)
    return float(peak)


def resident_peak(call: Callable[[], object]) -> float:
    """Bytes of the process at the peak of a call, above what it held before; NaN off Linux."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    gc.collect()
    try:
        refs.write_text("5")  # forget the highest mark so far
        before = _kilobytes(status, "VmRSS")
    except OSError:
        call()
        return math.nan
    call()
    return 1024.0 * max(0, _kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{status} has no {name}")
    return int(found[1])
