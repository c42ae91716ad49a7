"""AUC against counting all pairs of pairs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.ranking.metrics import roc_auc


def naive_auc(scores, labels):
    positives = [s for s, label in zip(scores, labels, strict=True) if label]
    negatives = [s for s, label in zip(scores, labels, strict=True) if not label]
    won = 0.0
    for p in positives:
        for n in negatives:
            won += 1 if p > n else 0.5 if p == n else 0  # NaN compares false: lost
    return 100 * won / (len(positives) * len(negatives))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_auc_is_that_of_counting(data):
    numbers = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan])
    labels = [True, False, *data.draw(st.lists(st.booleans(), max_size=12))]
    scores = [data.draw(numbers) for _ in labels]
    found = roc_auc(torch.tensor(scores), torch.tensor(labels))
    assert found == pytest.approx(naive_auc(scores, labels), abs=1e-9)


def test_broken_scores_count_against_us():
    labels = torch.tensor([1, 1, 0, 0])
    assert roc_auc(torch.tensor([0.9, 0.8, 0.1, 0.2]), labels) == 100.0
    assert roc_auc(torch.tensor([math.nan, 0.8, 0.1, 0.2]), labels) == 50.0
    assert roc_auc(torch.tensor([0.9, 0.8, math.nan, 0.2]), labels) == 50.0
    assert roc_auc(torch.full((4,), math.nan), labels) == 0.0


def test_auc_needs_both_kinds():
    with pytest.raises(R2D2Error, match="2 matches and 0 others"):
        roc_auc(torch.tensor([0.1, 0.2]), torch.tensor([1, 1]))
    with pytest.raises(R2D2Error, match="differ"):
        roc_auc(torch.tensor([0.1, 0.2]), torch.tensor([1]))
