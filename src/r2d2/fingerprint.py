"""Which model made a vector: a hash of what its embeddings depend on."""

from __future__ import annotations

import hashlib
import json

import torch

from r2d2.config import to_dict
from r2d2.pretrained import Pretrained

PARTS = ("vision", "text", "embed_dim", "projection_bias", "foreign")


def fingerprint(model: Pretrained) -> str:
    """16 hex digits: the towers' weights and settings, and the tokenizer.

    Cross encoders, heads and the weight of the match score do not count: vectors stay good when
    these are trained further.
    """
    settings = to_dict(model.model.config)
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps({name: settings[name] for name in PARTS}, sort_keys=True).encode())
    digest.update(str(model.tokenizer.__getstate__()).encode())
    for name, tensor in sorted(model.model.towers.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(data.numpy()))
    return digest.hexdigest()
