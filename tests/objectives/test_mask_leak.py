"""Whether a text is masked must not tell the label of FGR (docs/method.md)."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.calls import watched
from helpers.small_step import CONTEXT, MASK, SPECIAL, TEXTS, batch_of, setup
from r2d2.config import ObjectiveConfig
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.fgr import fgr
from r2d2.objectives.losses import Objectives, StepContext


class Peeker(nn.Module):
    """Sees of a pair's text whether [MASK] stands in it, and nothing else."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.2))
        self.logit_bias = None
        self.towers = nn.Module()
        self.towers.token_embedding, self.towers.text_offset = torch.zeros(24, 1), 0
        self.seen = {"text": [], "image": []}

    def encode_images(self, pixels, keep=None):
        return EncodedStates(
            torch.zeros(len(pixels), 5, 1), None, F.normalize(pixels.flatten(1)[:, :6])
        )

    def encode_texts(self, ids, mask):
        has_mask = ((ids == MASK) & mask).any(1).float()
        embedding = F.normalize(torch.sin(ids[:, 1:7].float() * torch.arange(1.0, 7.0)))
        return EncodedStates(has_mask[:, None, None].expand(-1, ids.shape[1], 1), mask, embedding)

    def encode_selected(self, ids, mask, whole):
        side = self.encode_texts(ids, mask)
        return side[whole], side.embedding

    def cross_text(self, images, texts, pairs=None, positions=None, real=None):
        return texts.states[pairs[1]][:, :1].expand(-1, positions.shape[1], 1)

    def cross_image(self, images, texts, pairs=None):
        return texts.states[pairs[1]][:, 0]

    def match_head_text(self, states):
        self.seen["text"].append(states[:, 0])
        return torch.zeros(len(states), 2)

    def match_head_image(self, states):
        self.seen["image"].append(states[:, 0])
        return torch.zeros(len(states), 2)

    def mlm_head(self, states, token_embedding):
        return torch.zeros(len(states), 24)


def best_by_mask_alone(has_mask, labels, positive_weight=2.0):
    """The lowest weighted cross entropy that a predictor can have which sees `has_mask` only."""
    weight = torch.where(labels == 1, positive_weight, 1.0).double()
    loss = 0.0
    for value in (0.0, 1.0):
        here = has_mask == value
        for label in (0, 1):
            mass = weight[here & (labels == label)].sum()
            if mass:
                loss -= mass * torch.log(mass / weight[here].sum())
    return (loss / weight.sum()).item()


def peek(share, batches=150, n=16):
    """What the two match heads see and the labels, over many batches of the real step."""
    labels = []
    model = Peeker()
    config = ObjectiveConfig(tgd=False, fgd=False, et_masked_share=share)
    objectives = Objectives(model, config, MASK, SPECIAL)
    for step in range(batches):
        words = [torch.randint(5, 24, (int(torch.randint(1, 9, ())),)).tolist() for _ in range(n)]
        batch = batch_of(words, [[i, 100 + i] for i in range(n)])
        batch = dataclasses.replace(batch, pixels=torch.randn(n, 3, 8, 8))
        with watched(fgr) as calls:
            losses = objectives(model, batch, StepContext(0, step, 0.4, 0.5)).losses
        labels += [call.arguments["labels"] for call in calls]
        assert losses["fgr"].item() == pytest.approx(math.log(2), abs=1e-6)
    return {side: torch.cat(rows) for side, rows in model.seen.items()}, torch.cat(labels)


@pytest.mark.parametrize("share", [0.5, 0.2, 1.0])
def test_whether_a_text_is_masked_does_not_tell_its_label(share):
    seen, labels = peek(share)
    assert labels.sum() == len(labels) / 3  # every row had its negatives
    for has_mask in seen.values():
        assert has_mask.mean().item() == pytest.approx(share, abs=0.03)
        assert best_by_mask_alone(has_mask, labels) > math.log(2) - 2e-3


@pytest.mark.parametrize(("share", "won"), [(0.5, 0.15), (1.0, 0.69)])
def test_masked_positives_beside_clean_negatives_would_tell_it(share, won):
    seen, labels = peek(share, batches=30)
    for has_mask in seen.values():
        leaking = has_mask * (labels == 1)
        assert best_by_mask_alone(leaking, labels) < math.log(2) - won


def test_a_text_keeps_its_state_in_all_its_roles():
    model, objectives = setup("r2d2")
    with watched(R2D2.cross_text, R2D2.cross_image) as calls:
        objectives(model, batch_of(), CONTEXT)
    ranked = [(call.arguments["texts"], call.arguments["pairs"]) for call in calls]
    (texts, pairs), (other_texts, other_pairs) = ranked
    assert len(texts) == len(TEXTS)  # one state a text, whatever its role
    assert torch.equal(texts.states, other_texts.states)  # and for both encoders the same
    assert all(torch.equal(a, b) for a, b in zip(pairs, other_pairs, strict=True))
