"""A training step over towers of Hugging Face's classes, of four pairs of noise and text."""

import torch

from r2d2.config import make_config
from r2d2.data.augment import normalize
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.losses import Objectives

TEXTS = ["红色方块", "第3张图", "一个黑色的横条照片", "白"]


def losses_of_step(ours, side, variant="r2d2"):
    """A function that gives the losses of the same step at each call.

    Args:
        ours: the `Pretrained`; its model is put into training mode.
        side: pixels of its pictures.
        variant: of the objectives.
    """
    config = make_config("tiny", variant, ["objectives.queue_size=8"])
    model = ours.model.train()
    objectives = Objectives(
        model, config.objectives, ours.tokenizer.mask_id, ours.tokenizer.special_ids
    )
    ids, mask = ours.tokenizer(TEXTS)
    pixels = normalize(torch.randint(0, 256, (4, side, side, 3), dtype=torch.uint8))
    batch = TrainingBatch(pixels, ids, mask, torch.arange(8).view(4, 2), torch.arange(4))
    return lambda: objectives(model, batch, StepContext(0, 1, 0.4, 0.5)).losses


def without_gradient(model):
    """The trained parameters that no loss has reached."""
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
