"""Where the time of a training step goes, by operation: one thread, torch's profiler.

    OMP_NUM_THREADS=1 python -m benchmarks.step_profile

The step of `r2d2 bench step`, ours. Each operation counts without those that it calls. Prints a
Markdown table of what takes at least one in a hundred.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.sides import make_sides, settings

KINDS = {  # beginnings of torch's names: what they are
    "aten::addmm": "matrix products",
    "aten::mm": "matrix products",
    "mkldnn::_linear_pointwise": "matrix products",
    "aten::_scaled_dot_product": "attention",
    "aten::bmm": "products of few queries",
    "aten::baddbmm": "products of few queries",
    "aten::copy_": "copies",
    "aten::cat": "copies",
    "aten::index": "copies",
    "aten::_fused_adamw": "AdamW",
    "aten::_foreach": "teachers, clipping",
}
LEAST = 0.01  # of the time: what takes less is one row


def main() -> None:
    """Run some steps, print their shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", choices=("toy", "small", "base"))
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    sides = make_sides(settings(given.size), torch.device("cpu"))
    sides.ours()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(given.steps):
            sides.ours()
    taken: Counter[str] = Counter()
    for event in profiled.key_averages():
        taken[kind_of(event.key)] += event.self_cpu_time_total
    total = taken.total()
    print(f"{given.steps} steps, {total / given.steps / 1e6:.2f} s each, "
          f"{torch.get_num_threads()} threads\n")  # fmt: skip
    print("| operation | share |\n|---|---|")
    rest = 0
    for name, microseconds in taken.most_common():
        if microseconds < LEAST * total:
            rest += microseconds
        else:
            print(f"| {name} | {microseconds / total:.1%} |")
    print(f"| everything else | {rest / total:.1%} |")


def kind_of(name: str) -> str:
    """What an operation of torch is counted as."""
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), name)


if __name__ == "__main__":
    main()
