"""Faster ways to compute what the plain model computes, and the switch between both.

The plain model is in the folder above, and can be read without these files. `plain()` turns all
of this off; tests/model/fast/test_onednn.py holds that losses and gradients are equal both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = True


def enabled() -> bool:
    """Return whether the faster ways are used."""
    return _enabled


@contextmanager
def plain() -> Iterator[None]:
    """Compute by the plain model alone, in this process, for as long as the context lasts."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
