"""Resampled figures equal those of test sets that really are resampled, by plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.ablation.outcome import PairScores, QueryRanks, TaskOutcome
from r2d2.ablation.statistics import (
    FIGURES,
    draw_images,
    draw_seeds,
    estimate,
    figures,
    units,
)
from r2d2.ranking.metrics import roc_auc


def outcome(seed, images=7, texts=11, most=14):
    """Random ranks and scores with ties; every image asks, most have texts, ids with gaps."""
    random = np.random.default_rng(seed)
    ids = np.sort(random.choice(50, images, replace=False))
    owner = np.sort(random.choice(ids, texts))

    def ranks(image):
        return QueryRanks(image, *(random.integers(1, most, len(image)) for _ in range(2)))

    scores = random.integers(0, 5, 2 * texts).astype(np.float32) / 4
    pairs = PairScores(np.tile(owner, 2), np.arange(2 * texts) < texts, scores)
    return TaskOutcome(ranks(ids), ranks(owner), pairs)


def twin(task, counts):
    """The figures of the test set in which image units(task)[i] stands counts[i] times."""

    def recall(way, ranks, at):
        hits = [
            rank <= at
            for image, count in zip(units(task), counts, strict=True)
            for _ in range(count)
            for rank in ranks[way.image == image]
        ]
        return 100 * sum(hits) / len(hits)

    found = {}
    for prefix, stage in (("", "last"), ("prerank_", "prerank")):
        by_way = [
            [recall(way, getattr(way, stage), at) for at in (1, 5, 10)]
            for way in (task.i2t, task.t2i)
        ]
        found[f"{prefix}r_1"] = (by_way[0][0] + by_way[1][0]) / 2
        found[f"{prefix}r_mean"] = sum(sum(way) for way in by_way) / 6
    times = dict(zip(units(task).tolist(), counts, strict=True))
    chosen = [i for i, image in enumerate(task.pairs.image.tolist()) for _ in range(times[image])]
    found["auc"] = roc_auc(
        torch.tensor(task.pairs.score[chosen]), torch.tensor(task.pairs.label[chosen])
    )
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 4), min_size=7, max_size=7))
def test_figures_equal_those_of_the_resampled_set(seed, counts):
    task = outcome(seed)
    with_text = np.isin(units(task), task.t2i.image)
    counts = np.array(counts)
    if not (counts * with_text).any():
        counts[np.flatnonzero(with_text)[0]] = 2
    found = figures(task, np.array([np.ones(7, np.int64), counts]))
    assert set(found) == set(FIGURES)
    for row, weights in enumerate((np.ones(7, np.int64), counts)):
        for name, value in twin(task, weights).items():
            assert found[name][row] == pytest.approx(value, abs=1e-9), name


def test_a_score_that_is_no_number_counts_against_us():
    task = outcome(3)
    task.pairs.score[0], task.pairs.score[-1] = np.nan, np.nan
    wanted = roc_auc(torch.tensor(task.pairs.score), torch.tensor(task.pairs.label))
    assert figures(task, np.ones((1, 7), np.int64))["auc"][0] == pytest.approx(wanted)


def test_without_pairs_or_without_a_class_there_is_no_auc():
    task = outcome(0)
    nothing = PairScores(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.float32))
    empty = TaskOutcome(task.i2t, task.t2i, nothing)
    assert np.isnan(figures(empty, np.ones((2, 7), np.int64))["auc"]).all()
    right = PairScores(task.pairs.image, np.ones_like(task.pairs.label), task.pairs.score)
    one_class = TaskOutcome(task.i2t, task.t2i, right)
    assert np.isnan(figures(one_class, np.ones((1, 7), np.int64))["auc"]).all()


def test_image_draws_are_resamples_and_repeat():
    drawn = draw_images(20, 400, seed=5)
    assert drawn.shape == (400, 20)
    assert (drawn.sum(axis=1) == 20).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(20), abs=0.2)
    assert (drawn == draw_images(20, 400, seed=5)).all()
    assert (drawn != draw_images(20, 400, seed=6)).any()


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_seed_draws_give_the_unbiased_variance_of_the_mean(count):
    values = np.random.default_rng(0).normal(size=count)
    share = draw_seeds(count, 40_000, seed=0)
    assert share.sum(axis=1) == pytest.approx(np.ones(40_000))
    wanted = values.var(ddof=1) / count
    assert (share @ values).var() == pytest.approx(wanted, rel=0.05)


def test_one_seed_is_always_itself():
    assert (draw_seeds(1, 9, seed=0) == 1).all()


def test_the_interval_of_equal_runs_is_zero_and_pairing_makes_it_narrow():
    random = np.random.default_rng(1)
    base = random.normal(50, 5, (4, 500))  # hard images make every run's resample worse together
    better = base + 2 + random.normal(0, 0.1, (4, 500))
    share = draw_seeds(4, 500, seed=0)
    same = estimate(np.zeros(4), base - base, share)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    gap = estimate(np.full(4, 2.0), better - base, share)
    assert 1.5 < gap.low < gap.mean < gap.high < 2.5


def test_the_interval_of_known_noise_is_as_wide_as_it_should_be():
    random = np.random.default_rng(2)
    resampled = np.repeat(random.normal(0, 1.0, (1, 4000)), 3, axis=0)  # images: shared by seeds
    points = np.array([-1.0, 0.0, 1.0])  # seeds: variance of the mean 1/3
    found = estimate(points, points[:, None] + resampled, draw_seeds(3, 4000, seed=0))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(1 + 1 / 3), rel=0.1)
