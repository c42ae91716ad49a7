"""Memory stays flat: a fiftieth of 100,000 images by 500,000 texts, and how it grows.

The peak is that of the process (VmHWM), measured in a child, so that what other tests leave behind
does not count. All scores at once, which must not pass, are measured beside it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHRINK = 50
IMAGES, TEXTS = 100_000 // SHRINK, 500_000 // SHRINK
WIDTH, POSITIONS = 48, 17
MIB = 1 << 20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_grows_with_the_items_and_not_with_the_pairs():
    probe = Path(__file__).with_name("memory_probe.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, str(probe), str(SHRINK)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    quarter, flat, whole = (int(found) for found in done.stdout.split())
    scores = IMAGES * TEXTS * 8
    states = (IMAGES + TEXTS) * POSITIONS * WIDTH * 4
    # Four times the items, sixteen times the pairs: at most four times the memory.
    assert flat < 4 * max(quarter, 12 * MIB), (quarter, flat)
    # Neither the scores (153 MiB) nor the hidden states (37 MiB) are held on top of the rest.
    assert flat < min(scores / 3, states + 12 * MIB), (flat / MIB, scores / MIB, states / MIB)
    # This measure does see the quadratic way.
    assert whole > scores, (whole / MIB, scores / MIB)
