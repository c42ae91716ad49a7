"""How long the command and the import take before anything is asked of them.

The plain side imports torch at once, as a package does whose modules name it at their top.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.speed.compare import Call, Result, compare

HELP_S, IMPORT_S = 0.5, 0.3  # goals
SOURCE = Path(__file__).resolve().parents[2] / "src"
IMPORT = ("-c", "import r2d2")
HELP = ("-m", "r2d2", "--help")
TORCH = ("-c", "import torch")


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Seconds, in a process of its own each: `r2d2 --help`, `import r2d2`."""
    for name, goal, ours in (("help", HELP_S, HELP), ("import", IMPORT_S, IMPORT)):
        plain = IMPORT if quick else TORCH
        found = compare(f"startup.{name}", goal, python(plain), python(ours), rounds)
        note = f"seconds; import torch takes {found.ratio:.1f} times as long"
        yield replace(found, ratio=found.ours_s, spread=_NONE, at_most=True, note=note)


_NONE = Result("", 0, 0).spread


def python(arguments: tuple[str, ...]) -> Call:
    """A process of this Python, with the sources that the benchmark stands beside."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}

    def run() -> None:
        subprocess.run(
            [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
        )

    return run
