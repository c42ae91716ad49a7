"""What the comparison says of two calls: medians, spread, bytes at the peak."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.speed.compare import JSON_KEYS, Result, compare, measuring, quartiles
from benchmarks.speed.memory import tensor_peak


class Clock:
    """Time passes only where a call says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, *seconds):
        left = list(seconds)

        def call():
            self.now += left.pop(0)
            self.order.append(len(seconds))

        return call

    order = ()


def test_medians_of_rounds_in_turn():
    clock, told = Clock(), []
    clock.order = []
    plain = clock.wait(100.0, 4.0, 6.0, 8.0)  # the first round warms up
    ours = clock.wait(100.0, 2.0, 2.0, 2.0, 9.0)
    with measuring(clock, lambda *at: told.append(at)):
        result = compare("x", 2.5, plain, ours, rounds=3)
    assert clock.order == [4, 5] * 4  # A B A B
    assert (result.plain_s, result.ours_s, result.ratio) == (6.0, 2.0, 3.0)
    assert result.spread == (2.5, 3.5)  # of 2, 3, 4
    assert told == [("x", k, 4) for k in range(5)]
    assert result.met is True
    assert math.isnan(result.plain_mb)


@pytest.mark.parametrize(
    ("ratio", "goal", "at_most", "met"),
    [(2.6, 2.5, False, True), (2.4, 2.5, False, False), (0.5, 0.6, True, True),
     (0.7, 0.6, True, False), (1.0, math.nan, False, None)],
)  # fmt: skip
def test_a_goal_is_met_or_not(ratio, goal, at_most, met):
    assert Result("x", ratio, goal, at_most=at_most).met is met


def test_json_has_nulls_and_the_keys_that_are_promised():
    told = Result("x", 3.0, 2.5, 3.0, 1.0, note="n").to_dict()
    assert tuple(told) == JSON_KEYS
    assert told["plain_mb"] is None
    assert told["plain_s"] == 3.0


def test_quartiles():
    assert quartiles([5.0]) == (5.0, 5.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_tensors_at_the_peak_to_the_byte():
    before = torch.zeros(1000)

    def call():
        a = torch.zeros(1000)
        b = a + before
        del a
        return b.sum()

    assert tensor_peak(call) == 8000  # a and b


def test_complete_gradients_do_not_count():
    layers = nn.Sequential(*(nn.Linear(200, 200, bias=False) for _ in range(4)))
    x = torch.zeros(1, 200)

    def call():
        layers(x).sum().backward()

    one = 200 * 200 * 4
    assert tensor_peak(call, layers.parameters()) < 2 * one
    assert all(p.grad is not None for p in layers.parameters())
    assert tensor_peak(call) < 2 * one  # they are there already: one at a time is added to them


def test_what_takes_the_place_of_something_is_not_more():
    held = [torch.zeros(1000)]

    def call():
        held[0] = held[0].clone()

    assert 4000 <= tensor_peak(call) < 4100  # the new beside the old, for a moment; not both again


def test_the_whole_process_at_the_peak():
    # A process of its own: what other tests left to threads may be let go at any moment here.
    code = (
        "import numpy; from benchmarks.speed.memory import resident_peak; "
        "print(resident_peak(lambda: numpy.ones(2**23).sum()))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    megabytes = float(run.stdout) / 1e6
    assert math.isnan(megabytes) or 60 < megabytes < 200
