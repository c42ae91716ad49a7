"""Small random checkpoints as others publish them, and the vocabulary that goes with them."""

import torch
from torch import nn

from r2d2.config import ModelConfig, TextConfig, VisionConfig
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer

WIDTH, LAYERS, HEADS, EMBED, VOCAB, POSITIONS = 32, 2, 2, 16, 50, 80
IMAGE, PATCH = 24, 6
TOKENS = [*SPECIAL_TOKENS, *"一个男孩在雪地里玩耍红色的汽车abcdef"]


def spread(module):
    """Weights that no mapping can swap unseen: none zero, none one."""
    for name, p in module.named_parameters():
        nn.init.normal_(p, std=0.1)
        if "norm" in name.lower() and name.endswith("weight"):
            p.data.add_(1.0)
    return module.eval()


def write_vocab(folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    return path


def small_config(**changes):
    text = TextConfig(vocab_size=VOCAB, max_length=16, width=WIDTH, layers=LAYERS, heads=HEADS)
    vision = VisionConfig(
        image_size=IMAGE,
        patch_size=PATCH,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        **changes.pop("vision", {}),
    )
    return ModelConfig(
        vision=vision, text=text, **{"cross_layers": 2, "embed_dim": EMBED, **changes}
    )


def save_small(folder, **changes):
    """A random model of ours, saved; returns it."""
    model = spread(R2D2(small_config(**changes)))
    model.log_temperature.data.fill_(-2.5)
    tokenizer = Tokenizer.from_vocab(write_vocab(folder.with_name(folder.name + "_vocab")), 16)
    Pretrained(model, tokenizer).save(folder)
    return model


def batch(texts=4, length=12, dtype=torch.float64):
    """Token ids and mask (n, L) with padding, pixels (n, 3, H, W)."""
    mask = torch.arange(length) < torch.tensor([length, 2, 9, 5])[:texts, None]
    ids = torch.randint(5, VOCAB, mask.shape).masked_fill(~mask, 0)
    return ids, mask, torch.randn(texts, 3, IMAGE, IMAGE, dtype=dtype)
