"""Two ways of doing one thing, in turn in one run: A B A B, medians, spread, peak memory.

The machine's mood then falls on both alike. A figure is a ratio, never a time by itself.
"""

from __future__ import annotations

import gc
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

Call = Callable[[], object]
Clock = Callable[[], float]
Peak = Callable[[Call], float]  # runs a call; bytes at its peak above what was there before it

JSON_KEYS = ("name", "ratio", "goal", "plain_s", "ours_s", "plain_mb", "ours_mb")
MB = 1e6


@dataclass(frozen=True)
class Result:
    """One measurement; NaN where something does not apply."""

    name: str  # subject, size, what of it: step.small, step.small.memory
    ratio: float  # of the medians, plain over ours; or what `note` says
    goal: float
    plain_s: float = math.nan  # seconds, median
    ours_s: float = math.nan
    plain_mb: float = math.nan  # MB (1e6 bytes) at the peak, above what was there before
    ours_mb: float = math.nan
    spread: tuple[float, float] = (math.nan, math.nan)  # quartiles of the rounds' ratios
    note: str = ""
    at_most: bool = False  # whether the goal is an upper bound

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is no goal."""
        if math.isnan(self.goal) or math.isnan(self.ratio):
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def to_dict(self) -> dict[str, Any]:
        """What `r2d2 bench --out` writes; None for NaN."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {key: plain[key] for key in JSON_KEYS}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


_clock: ContextVar[Clock] = ContextVar("clock", default=time.perf_counter)
_tell: ContextVar[Callable[[str, int, int], None]] = ContextVar("tell", default=lambda *_: None)


@contextmanager
def measuring(clock: Clock, tell: Callable[[str, int, int], None]) -> Iterator[None]:
    """How every `compare` within measures: its clock; whom to tell (what, done, of how many)."""
    before = _clock.set(clock), _tell.set(tell)
    try:
        yield
    finally:
        _clock.reset(before[0])
        _tell.reset(before[1])


def compare(
    name: str,
    goal: float,
    plain: Call,
    ours: Call,
    rounds: int = 7,
    warmup: int = 1,
    peak: Peak | None = None,
    note: str = "",
) -> Result:
    """Run both in turn, `warmup` rounds unmeasured and `rounds` measured.

    Args:
        name: of the result.
        goal: that the ratio of times should reach.
        plain: the usual way.
        ours: the project's way to the same result.
        rounds: whose medians count.
        warmup: rounds before.
        peak: measures a call's memory, in a pass of its own (`tensor_peak`, `resident_peak`).
        note: what else a reader must know.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for done in range(warmup + rounds):
        _tell.get()(name, done, warmup + rounds)
        for call, seconds in zip((plain, ours), times, strict=True):
            taken = timed(call)
            if done >= warmup:
                seconds.append(taken)
    plain_mb, ours_mb = (math.nan if peak is None else peak(c) / MB for c in (plain, ours))
    _tell.get()(name, warmup + rounds, warmup + rounds)
    medians = [statistics.median(seconds) for seconds in times]
    ratios = [a / b for a, b in zip(*times, strict=True)]
    return Result(
        name, medians[0] / medians[1], goal, medians[0], medians[1], plain_mb, ours_mb,
        quartiles(ratios), note,
    )  # fmt: skip


def timed(call: Call) -> float:
    """Seconds of one call, by the clock that is set; waits for a GPU."""
    gc.collect()
    _settle()
    clock = _clock.get()
    began = clock()
    call()
    _settle()
    return clock() - began


def processor() -> float:
    """A clock: seconds of the processor, of this process and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def by_processor() -> bool:
    """Whether the clock that is set is the processor's."""
    return _clock.get() is processor


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half of some values; of one value, itself."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def tell(what: str, done: int, total: int) -> None:
    """Report progress from a subject that measures by itself."""
    _tell.get()(what, done, total)


def _settle() -> None:
    """Wait for a GPU's work, if this process uses one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
