"""Which process of a run with several processes this is, before torch is loaded."""

from __future__ import annotations

import os


def first_process() -> bool:
    """Whether this is the first process of a run, the only one that prints messages."""
    return os.environ.get("RANK", "0") == "0"
