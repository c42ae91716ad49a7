"""Figures of yes-or-no scores against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.evaluation.binary import (
    accuracy_at,
    average_precision,
    best_threshold,
    calibration_error,
    reliability,
)
from r2d2.evaluation.labelled import LabelledScores
from r2d2.evaluation.match_run import figures
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.ranking.metrics import usable_scores, weighted_auc

GRID = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def pairs(draw):
    match = draw(st.lists(st.booleans(), min_size=2, max_size=14))
    match = [True, False, *match]
    return np.array([draw(GRID) for _ in match]), np.array(match)


def repeated(values, weight):
    return np.repeat(values, weight.astype(int))


def naive_ap(scores, match):
    """Precision at every distinct cut, weighed by what recall gains there."""
    total, found = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        kept = scores >= cut
        precision = match[kept].mean()
        recall = match[kept].sum() / match.sum()
        total += (recall - found) * precision
        found = recall
    return 100 * total


def naive_auc(scores, match):
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[match] for b in scores[~match]]
    return 100 * np.mean(wins)


@given(pairs())
@settings(max_examples=100, deadline=None)
def test_auc_and_average_precision_are_those_of_loops(given_pairs):
    scores, match = given_pairs
    assert average_precision(scores, match) == pytest.approx(naive_ap(scores, match))
    assert weighted_auc(scores, match, np.ones(len(match))) == pytest.approx(
        naive_auc(scores, match)
    )


@given(pairs(), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_weight_is_a_repetition(given_pairs, seed):
    scores, match = given_pairs
    weight = np.random.default_rng(seed).integers(0, 3, len(match)).astype(float)
    weight[:2] += 1
    many, kinds = repeated(scores, weight), repeated(match, weight)
    assert average_precision(scores, match, weight) == pytest.approx(naive_ap(many, kinds))
    assert weighted_auc(scores, match, weight) == pytest.approx(naive_auc(many, kinds))


@given(pairs())
@settings(max_examples=100, deadline=None)
def test_no_cut_is_better_than_the_best(given_pairs):
    scores, match = given_pairs
    best = best_threshold(scores, match)
    assert accuracy_at(scores, match, best.value) == pytest.approx(best.accuracy)
    for cut in [-1.0, 2.0, *scores, *(scores + 1e-9)]:
        assert accuracy_at(scores, match, cut) <= best.accuracy + 1e-9


def test_what_is_no_number_harms():
    scores = usable_scores(np.array([math.nan, 0.5, math.nan]), np.array([True, True, False]))
    assert scores.tolist() == [-math.inf, 0.5, math.inf]
    best = best_threshold(scores, np.array([True, True, False]))
    assert math.isfinite(best.value)
    with pytest.raises(R2D2Error, match="2 matches and 0 others"):
        usable_scores(np.zeros(2), np.ones(2, dtype=bool))


def test_calibration_of_a_known_case():
    scores = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    match = np.array([False, True, True, True, True])
    bins = reliability(scores, match, bins=10)
    assert [one.pairs for one in bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins[0].match == 0.5
    assert bins[1].score is None
    assert calibration_error(bins) == pytest.approx(100 * (2 * 0.45 + 3 * (1 - 2.9 / 3)) / 5)


def labelled(scores, match):
    names = [f"i{n // 2}" for n in range(len(match))]
    dropped = DroppedRows()
    dropped.add("truncated", "x")
    texts = ["一"] * len(match)
    return LabelledScores(torch.tensor(scores), torch.tensor(match), dropped, names, texts)


def test_the_threshold_of_validation_is_kept_on_test():
    validation = best_threshold(np.array([0.2, 0.8]), np.array([False, True]))
    assert validation.value == 0.5
    test = labelled([0.4, 0.45, 0.1, 0.9], [True, True, False, True])
    found = figures(test, validation, probabilities=True, resamples=20, seed=0)
    assert found["matching"]["accuracy"] == 50.0
    assert found["matching"]["best_accuracy"] == 100.0
    assert found["matching"]["threshold_chosen_on"] == "val"
    assert (found["matching"]["pairs"], found["matching"]["skipped"]) == (4, 1)
    assert set(found["intervals"]) == {"auc", "average_precision", "accuracy"}
    alone = figures(test, None, probabilities=False, resamples=0, seed=0)
    assert alone["matching"]["threshold_chosen_on"] == "itself"
    assert alone["matching"]["accuracy"] == 100.0
    assert "calibration" not in alone
    assert "intervals" not in alone
