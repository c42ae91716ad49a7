"""The listwise loss and FGR over blocks against plain loops, in value and gradient."""

import math

import pytest
import torch

from r2d2.objectives.fgr import BlockedCandidates, fgr
from r2d2.objectives.listwise import (
    BlockNegatives,
    as_blocks,
    block_pairs,
    in_order,
    listwise,
    negatives_of_blocks,
    pair_weights,
)

# Two blocks of three: in the first one image stands twice, in the second one text three times.
KEYS = torch.tensor([[1, 21], [1, 22], [3, 23], [4, 24], [5, 24], [6, 24]])


def is_positive(i, j):
    return bool((KEYS[i] == KEYS[j]).any())


MATCHES = torch.tensor([[is_positive(i, j) for j in range(6)] for i in range(6)])
# As the towers find them unlabelled: for image 2 the text 0, for text 3 or text 0 the images too.
MORE = torch.zeros(2, 6, 6, dtype=torch.bool)
MORE[0, 2, 0] = MORE[1, 0, 2] = MORE[1, 2, 1] = MORE[1, 2, 0] = True
BLOCKED = {
    "alike": BlockedCandidates(MATCHES, MATCHES),
    "apart": BlockedCandidates(MATCHES | MORE[0], MATCHES | MORE[1]),
}


def wrong_of(i, size, blocked):
    """The texts that are wrong for image i, and the images that are wrong for text i."""
    block = range(i - i % size, i - i % size + size)
    return [[j for j in block if not side[i, j]] for side in (blocked.texts, blocked.images)]


def naive_listwise(score, size, blocked):
    """`score`: of image i with text j, of any two pairs."""
    n, loss = len(KEYS), 0.0
    for i in range(n):
        texts, images = wrong_of(i, size, blocked)
        for row in ([score[i, j] for j in (i, *texts)], [score[j, i] for j in (i, *images)]):
            loss = loss - row[0] + torch.stack(row).exp().sum().log()
    return loss / (2 * n)


def naive_fgr(logits, size, positive_weight, blocked):
    """`logits`: (n, n, 2) of image i with text j."""
    n, loss, weights = len(KEYS), 0.0, 0.0
    for i in range(n):
        texts, images = wrong_of(i, size, blocked)
        terms = [(i, i, 1, positive_weight)]
        terms += [(i, j, 0, 1 / len(texts)) for j in texts]  # a text as negative of the image
        terms += [(j, i, 0, 1 / len(images)) for j in images]  # an image as negative of the text
        for image, text, label, weight in terms:
            row = logits[image, text]
            loss = loss - weight * (row[label] - row.exp().sum().log())
            weights += weight
    return loss / weights


@pytest.mark.parametrize("size", [2, 3, 6])
def test_pairs_are_those_of_each_block_the_right_ones_first(size):
    images, texts = block_pairs(6, size, torch.device("cpu"))
    assert images[:6].tolist() == texts[:6].tolist() == list(range(6))
    pairs = list(zip(images.tolist(), texts.tolist(), strict=True))
    assert sorted(pairs) == [(i, j) for i in range(6) for j in range(6) if i // size == j // size]
    blocks = as_blocks(10 * images + texts, size)
    for b, i, j in torch.cartesian_prod(*map(torch.arange, blocks.shape)).tolist():
        assert blocks[b, i, j] == 10 * (b * size + i) + b * size + j


@pytest.mark.parametrize("blocked", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("size", [2, 3, 6])
def test_listwise_equals_the_loops_in_value_and_gradient(size, blocked):
    score = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    images, texts = block_pairs(6, size, score.device)
    negatives = negatives_of_blocks(blocked, size)
    ours = listwise(as_blocks(score[images, texts], size), negatives)
    theirs = naive_listwise(score, size, blocked)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, score)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@pytest.mark.parametrize("blocked", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("size", [2, 3, 6])
def test_fgr_over_blocks_equals_the_loops_in_value_and_gradient(size, blocked):
    logits = torch.randn(2, 6, 6, 2, dtype=torch.float64, requires_grad=True)
    images, texts = block_pairs(6, size, logits.device)
    negatives = negatives_of_blocks(blocked, size)
    weights = in_order(pair_weights(negatives, 2.0), images, texts)
    ours = fgr(*logits[:, images, texts], (images == texts).long(), weights)
    theirs = sum(naive_fgr(head, size, 2.0, blocked) for head in logits) / 2
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


def test_chance_is_the_logarithm_of_the_list_and_rows_without_negatives_add_nothing():
    size = 3
    negatives = negatives_of_blocks(BLOCKED["alike"], size)
    loss = listwise(torch.zeros(2, size, size), negatives)
    # of the first block two pairs have one negative and one has two; of the second none has any
    assert loss.item() == pytest.approx((2 * math.log(2) + math.log(3)) / 6)


def test_a_score_far_ahead_gives_no_loss_and_one_far_behind_a_finite_one():
    scores = torch.full((1, 2, 2), -1e4)
    scores[0].fill_diagonal_(1e4)
    wrong = ~torch.eye(2, dtype=torch.bool)[None]
    negatives = BlockNegatives(wrong, wrong)
    assert listwise(scores, negatives).item() == 0
    assert listwise(-scores, negatives).item() == pytest.approx(2e4)
