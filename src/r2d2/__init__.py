"""R2D2 and Zero (arXiv 2205.03860): Chinese image-text pre-training, ranked twice, distilled twice.

    model = r2d2.load("runs/demo")
    images = model.encode_images(pictures)      # EncodedStates: states, mask, embedding
    texts = model.encode_texts(["生日蛋糕"])
    model.match(images, texts)                  # pairwise, in [0, 1]
    model.rank("生日蛋糕", images)               # two stages, best first

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from r2d2.errors import R2D2Error

if TYPE_CHECKING:
    from r2d2.config import make_config
    from r2d2.model.encoded_states import EncodedStates
    from r2d2.models import load
    from r2d2.pretrained import Pretrained, Ranked, RankedImage
    from r2d2.table import PairsTable
    from r2d2.training.pretrain import pretrain

__version__ = "0.2.0"

_HOMES = {
    "Pretrained": "r2d2.pretrained",
    "Ranked": "r2d2.pretrained",  # the name of RankedImage in version 0.1
    "RankedImage": "r2d2.pretrained",
    "load": "r2d2.models",
    "EncodedStates": "r2d2.model.encoded_states",
    "PairsTable": "r2d2.table",
    "make_config": "r2d2.config",
    "pretrain": "r2d2.training.pretrain",
}

__all__ = [
    "EncodedStates",
    "PairsTable",
    "Pretrained",
    "R2D2Error",
    "Ranked",
    "RankedImage",
    "__version__",
    "load",
    "make_config",
    "pretrain",
]


_RENAMED = {"Side": "EncodedStates"}  # of version 0.1


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warnings.warn(f"r2d2.{name} is called r2d2.{_RENAMED[name]} now", FutureWarning, 2)
        name = _RENAMED[name]
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'r2d2' has no attribute '{name}'")
