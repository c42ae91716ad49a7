"""What changes over a run, at the steps where one can say by hand what it must be."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from r2d2.config import ObjectiveConfig, TrainConfig
from r2d2.training.schedule import (
    alpha,
    epochs_done,
    learning_rate,
    ranking,
    uniform_share,
    unlabelled,
)

TRAIN = TrainConfig(lr=0.01, min_lr=0.001, warmup_steps=10)


def test_the_learning_rate_warms_up_in_a_line():
    rates = [learning_rate(step, 110, TRAIN) for step in range(10)]
    assert rates == pytest.approx([0.001 * (step + 1) for step in range(10)])


def test_then_it_falls_as_a_cosine_to_its_least():
    assert learning_rate(10, 110, TRAIN) == pytest.approx(0.01)
    assert learning_rate(60, 110, TRAIN) == pytest.approx((0.01 + 0.001) / 2)  # half-way
    assert learning_rate(35, 110, TRAIN) == pytest.approx(
        0.001 + 0.009 * (1 + math.cos(math.pi / 4)) / 2
    )
    assert learning_rate(110, 110, TRAIN) == pytest.approx(0.001)
    falling = [learning_rate(step, 110, TRAIN) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 19])
def test_a_run_shorter_than_its_warm_up_still_warms_up_and_falls(steps):
    rates = [learning_rate(step, steps, TRAIN) for step in range(steps)]
    assert all(0 < rate < 0.01 + 1e-12 for rate in rates)
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) <= steps // 2
    if steps > 2:
        assert rates[-1] < max(rates)


def test_no_warm_up_starts_at_the_peak():
    none = TrainConfig(lr=0.01, warmup_steps=0)
    assert learning_rate(0, 100, none) == pytest.approx(0.01)
    assert learning_rate(100, 100, none) == pytest.approx(0, abs=1e-12)


def test_alpha_rises_over_the_first_epoch_and_stays():
    config = ObjectiveConfig(alpha=0.4)
    assert alpha(0, 50.0, config) == 0
    assert alpha(25, 50.0, config) == pytest.approx(0.2)
    assert [alpha(step, 50.0, config) for step in (50, 51, 5000)] == [0.4] * 3
    assert alpha(0, 0.3, config) == 0  # an epoch of less than a step
    assert alpha(1, 0.3, config) == pytest.approx(0.4)


def test_the_uniform_share_falls_to_none():
    config = ObjectiveConfig(uniform_share=0.5, uniform_until=0.7)
    assert uniform_share(0, 100, config) == 0.5
    assert uniform_share(35, 100, config) == pytest.approx(0.25)
    assert uniform_share(70, 100, config) == pytest.approx(0)
    assert uniform_share(99, 100, config) == 0
    assert uniform_share(0, 100, ObjectiveConfig(uniform_until=0.0)) == 0


def test_where_ranking_begins_later_its_even_draws_begin_there_too():
    config = ObjectiveConfig(uniform_share=0.5, uniform_until=0.8, ranking_from=0.4)
    assert [ranking(step, 10, config) for step in (0, 3, 4, 9)] == [False, False, True, True]
    assert uniform_share(4, 10, config) == 0.5
    assert uniform_share(6, 10, config) == pytest.approx(0.25)
    assert uniform_share(8, 10, config) == 0
    assert all(ranking(step, 7, ObjectiveConfig()) for step in range(7))


def test_even_draws_that_end_before_ranking_begins_are_none():
    config = ObjectiveConfig(uniform_until=0.3, ranking_from=0.4)
    assert uniform_share(4, 10, config) == 0


def test_candidates_may_be_unlabelled_from_a_share_of_the_run_on():
    config = ObjectiveConfig(unlabelled_from=0.3)
    assert [unlabelled(step, 10, config) for step in (0, 2, 3, 9)] == [False, False, True, True]
    assert unlabelled(0, 10, ObjectiveConfig(unlabelled_from=0.0))


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 300))
@example(3, 91, 64)
@example(2, 91, 64)  # both epochs' last rows are in the last step
@example(1, 91, 64)
def test_every_epoch_ends_once_and_the_last_with_the_last_step(epochs, rows, batch):
    steps = max(1, epochs * rows // batch)
    done = [epochs_done(step, steps, epochs) for step in range(steps + 1)]
    assert (done[0], done[-1]) == (0, epochs)
    assert done == sorted(done)
    if steps >= epochs:
        ends = [done.index(epoch) for epoch in range(1, epochs + 1)]  # each has a step
        shown = [-(-epoch * rows // batch) for epoch in range(1, epochs + 1)]
        assert all(0 <= last - end <= 1 for last, end in zip(shown, ends, strict=True))
