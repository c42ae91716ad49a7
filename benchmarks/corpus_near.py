"""The search for near duplicates: seconds and memory for a million hashes, and what it misses.

    python benchmarks/corpus_near.py

Each set runs in a process of its own, on one thread. `random`: a fifth of the hashes are copies
with up to 4 bits changed. `templates`: three tenths come from 300 templates, as screenshots and
pictures of goods on white do. `late`: the half that comes last is 500 dense clumps. `bucket`: a
tenth of the hashes, all alike in a third of their bits and free in the others. Wrong are those that
do not stand with the first leader near them, as comparing with all leaders finds it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from r2d2.corpus.images.near import near_groups

RADIUS = 4
CHECKED = 200


def flipped(rng, hashes, most):
    """Up to `most` bits changed."""
    for _ in range(most):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, len(hashes)).astype(np.uint64))
    return hashes


def from_templates(rng, count, templates):
    """Hashes of noisy copies of pictures whose low frequencies fall off as those of photographs."""
    u, v = np.divmod(np.arange(64), 8)
    weights = 1 / np.maximum(1, np.hypot(u, v))
    made = rng.normal(size=(templates, 64)).astype(np.float32)
    coefficients = made[rng.integers(0, templates, count)]
    coefficients += 0.3 * rng.standard_normal((count, 64), np.float32)
    coefficients *= weights.astype(np.float32)
    bits = coefficients > np.median(coefficients, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def make(kind: str, count: int):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    if kind == "random":
        hashes[-(count // 5) :] = flipped(rng, hashes[: count // 5], RADIUS)
    elif kind == "templates":
        hashes[-(count * 3 // 10) :] = from_templates(rng, count * 3 // 10, 300)
    elif kind == "late":
        clumps = rng.integers(0, 2**64, 500, dtype=np.uint64)
        hashes[-(count // 2) :] = flipped(rng, clumps[rng.integers(0, 500, count // 2)], 2)
    elif kind == "bucket":
        hashes = hashes[: count // 10] & ~np.uint64((1 << 22) - 1)
    return hashes if kind == "late" else rng.permutation(hashes)


def one(kind: str, count: int) -> None:
    hashes = make(kind, count)
    start = time.perf_counter()
    groups = near_groups(hashes, RADIUS)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    leaders = np.flatnonzero(groups == np.arange(len(hashes)))
    wrong = 0
    for i in np.random.default_rng(1).choice(len(hashes), CHECKED, replace=False).tolist():
        near = leaders[np.bitwise_count(hashes[leaders] ^ hashes[i]) <= RADIUS]
        wrong += int(near[0] != groups[i])
    print(
        f"| {kind} | {len(hashes):,} | {seconds:.1f} | {memory:.0f} | {len(leaders):,} | {wrong} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.count)
        return
    print("| hashes | how many | seconds | MB | groups | wrong of 200 |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind in ("random", "templates", "late", "bucket"):
        command = [sys.executable, __file__, "--one", kind, "--count", str(arguments.count)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
