"""Which model made a vector: a hash of what its embeddings depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from r2d2.config import HfTowersConfig, VisionConfig, to_dict
from r2d2.data.preprocessing import Preprocessing
from r2d2.model.r2d2 import R2D2
from r2d2.tokenizer import Tokenizer

# Setting: its name in the hash, which is that of version 0.1, so that old vectors stay valid.
PARTS = {
    "vision": "vision",
    "text": "text",
    "embed_dim": "embed_dim",
    "projection_bias": "projection_bias",
    "hf_towers": "foreign",
}
# Settings of towers that version 0.1 did not have: at these values they are not hashed.
ADDED = {"stem": "patch", "position_std": VisionConfig.position_std}


def fingerprint(network: R2D2, tokenizer: Tokenizer, preprocessing: Preprocessing) -> str:
    """16 hex digits of the towers' weights and settings, the tokenizer and the preprocessing.

    Cross encoders, heads and the weight of the match score do not count: vectors stay good when
    these are trained further.
    """
    settings = to_dict(network.config)
    digest = hashlib.blake2b(digest_size=8)
    for name, usual in ADDED.items():
        if settings["vision"][name] == usual:
            del settings["vision"][name]
    named = {hashed: settings[name] for name, hashed in PARTS.items()}
    digest.update(json.dumps(named, sort_keys=True).encode())
    if not preprocessing.usual:
        digest.update(json.dumps(preprocessing.to_dict(), sort_keys=True).encode())
    digest.update(_tokenizer_state(tokenizer))
    _update(digest, network.towers.state_dict())
    return digest.hexdigest()


def weights_fingerprint(network: R2D2, tokenizer: Tokenizer) -> str:
    """16 hex digits of the tokenizer and all weights, those of cross encoders and heads too."""
    digest = hashlib.blake2b(_tokenizer_state(tokenizer), digest_size=8)
    _update(digest, network.state_dict())
    return digest.hexdigest()


def _tokenizer_state(tokenizer: Tokenizer) -> bytes:
    """What the tokenizer depends on, with the class name that version 0.1 hashed."""
    state = str(tokenizer.__getstate__())
    return state.replace(f"{HfTowersConfig.__name__}(", "ForeignConfig(").encode()


def _update(digest: hashlib.blake2b, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy().data)
