"""A small model far from its start, its objectives, and a batch with repeats and an empty text."""

import dataclasses
import math

import torch
import torch.nn.functional as F

from r2d2.config import ModelConfig, TextConfig, VisionConfig, make_config
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import SecondTexts
from r2d2.objectives.losses import Objectives, StepContext, TrainingBatch

PAD, UNK, CLS, SEP, MASK = SPECIAL = range(5)
ALIKE = ("objectives.weight_fgr=1", "objectives.weight_mlm=1")  # terms that weigh what they are
TERMS = {
    "r2d2": {"tgd", "fgd", "fgr", "mlm"},
    "prd2": {"tgd", "fgd"},
    "wo_et": {"tgd", "fgd", "fgr", "mlm"},
    "wo_twd": {"gcpr", "fgr", "mlm"},
    "wo_tgd": {"gcpr", "fgd", "fgr", "mlm"},
    "wo_fgd": {"tgd", "fgr", "mlm"},
}
# Other contrasts, as settings of a variant.
CONTRASTS = {
    "sigmoid": ("wo_tgd", {"contrast": "sigmoid", "widths": (3,), "tgd": False}),
    "widths": ("r2d2", {"widths": (2, 4)}),
    "second_text": ("r2d2", {"weight_second_text": 0.5, "widths": (2,)}),
    "second_text_sigmoid": (
        "wo_tgd",
        {"contrast": "sigmoid", "weight_second_text": 2.0, "tgd": False},
    ),
    "unlabelled": ("r2d2", {"unlabelled_margin": 0.02, "weight_second_text": 0.5, "widths": (2,)}),
    "unlabelled_gcpr": ("wo_twd", {"unlabelled_margin": 0.02}),
}
TEXTS = [[7, 9, 11, 7], [8, 8], [12, 13, 14, 15, 16, 17, 18], [8, 8], [19], []]  # without ends
KEYS = [[1, 21], [1, 22], [3, 23], [4, 22], [5, 25], [6, 26]]  # one image twice, one text twice
CONTEXT = StepContext(seed=3, step=5, alpha=0.4, uniform_share=0.3)


def model_config(**changes):
    config = ModelConfig(
        vision=VisionConfig(image_size=8, patch_size=4, width=12, layers=1, heads=2),
        text=TextConfig(vocab_size=24, max_length=16, width=16, layers=2, heads=2),
        cross_layers=2,
        embed_dim=6,
    )
    return dataclasses.replace(config, **changes)


def setup(variant, queue_size=10, **objectives):
    """A model far from its start, teachers that differ from it, and some queued features."""
    variant, chosen = CONTRASTS.get(variant, (variant, {}))
    config = make_config("tiny", variant, ALIKE)
    bias = -1.0 if chosen.get("contrast") == "sigmoid" else None
    layers = min(2, config.model.cross_layers)
    model = R2D2(model_config(cross_layers=layers, logit_bias=bias)).double()
    if model.has_match:  # zero at the start: no gradient would reach the cross encoders
        for head in (model.match_head_text, model.match_head_image):
            torch.nn.init.normal_(head.weight, std=0.5)
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    model.log_temperature.data.fill_(math.log(0.2))
    on = dataclasses.replace(config.objectives, queue_size=queue_size, **(chosen | objectives))
    objectives = Objectives(model, on, MASK, SPECIAL).double()
    if objectives.teacher is not None:
        for p in objectives.teacher.parameters():
            p.data += 0.1 * torch.randn_like(p)
    if objectives.queue is not None and queue_size:
        for keys in ([[1, 99], [98, 97]], [[96, 23]]):  # image 1 and text 23 are in the batch too
            features = F.normalize(torch.randn(2, len(keys), 6).double(), dim=2)
            objectives.queue.push(*features, torch.tensor(keys))
    return model, objectives


def batch_of(texts=TEXTS, keys=KEYS, padding=0):
    longest = max(len(t) for t in texts) + 2 + padding
    ids = torch.tensor([[CLS, *t, SEP] + [PAD] * (longest - len(t) - 2) for t in texts])
    pixels = torch.randn(len(texts), 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    return TrainingBatch(pixels, ids, ids != PAD, torch.tensor(keys), torch.arange(len(texts)) + 40)


def second_texts(rows, present=None):
    """Other texts of so many pictures, of other lengths; two of them are equal."""
    texts = [[23, 5 + row % 3, *range(6, 6 + row % 4)] for row in range(rows)]
    longest = max(len(t) for t in texts) + 2
    ids = torch.tensor([[CLS, *t, SEP] + [PAD] * (longest - len(t) - 2) for t in texts])
    keys = torch.arange(rows) + 50
    keys[-1] = keys[0]
    there = torch.tensor([True] * rows if present is None else present)
    return SecondTexts(ids, ids != PAD, keys, there)
