"""Modules of sentence-transformers: R2D2's cross encoders, and towers that no class there holds.

A folder that names one of these classes in modules.json holds no code: they are imported from this
package. The library asks for `trust_remote_code=True` all the same, as for every class that is not
its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from r2d2.data.augment import normalize
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.pretrained import Pretrained
from r2d2.saved_model import read_saved, saved_folder

LEAST = "6.0"
require("st", "sentence_transformers", "a CrossEncoder of sentence-transformers", LEAST)

from sentence_transformers.base.modules import InputModule  # noqa: E402
from sentence_transformers.util import load_dir_path  # noqa: E402


class _SavedModule(InputModule):  # type: ignore[misc]
    """A saved model of ours as a module."""

    def __init__(self, model: Pretrained) -> None:
        super().__init__()
        self.network = model.model  # so that the library finds its parameters
        self.pretrained = model

    @property
    def modalities(self) -> list[Any]:
        """What goes in."""
        return ["text", "image"]

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """What `load` reads."""
        self.pretrained.save_files(Path(output_path))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:
        """From a folder that `r2d2 export hf` wrote, or from the hub.

        Raises:
            R2D2Error: the files are damaged, or another version's.
        """
        hub = {k: options.get(k) for k in ("token", "cache_folder", "revision")}
        found = load_dir_path(
            model_name_or_path, subfolder=subfolder,
            local_files_only=bool(options.get("local_files_only")), **hub,
        )  # fmt: skip
        folder = None if found is None else saved_folder(Path(found))
        if folder is None:
            raise R2D2Error(
                f"{model_name_or_path} has no model of r2d2: give a folder that `r2d2 export hf` "
                "wrote, or its cross-encoder/"
            )
        return cls(read_saved(folder, "cpu"))


class TowersEncoder(_SavedModule):
    """Texts, or pictures, to embeddings of unit length."""

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Token ids and mask, or pixels.

        Raises:
            R2D2Error: something that is neither a text nor a picture, or both at once.
        """
        model = self.pretrained
        if all(isinstance(item, str) for item in inputs):
            ids, mask = model.tokenizer([(prompt or "") + item for item in inputs])
            return {"ids": ids, "mask": mask}
        pixels = [model.prepare(item, f"input {n}") for n, item in enumerate(inputs)]
        return {"pixels": torch.stack([torch.from_numpy(p) for p in pixels])}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Adds "sentence_embedding", (n, d)."""
        if "pixels" in features:
            side = self.network.encode_images(normalize(features["pixels"]))
        else:
            side = self.network.encode_texts(features["ids"], features["mask"])
        features["sentence_embedding"] = side.embedding
        return features

    def get_embedding_dimension(self) -> int:
        """D."""
        return self.pretrained.embed_dim


class PairScorer(_SavedModule):
    """Pairs of a text and a picture, in either order, to the probability that they match."""

    def __init__(self, model: Pretrained) -> None:
        if reason := model.why_not("match"):
            raise R2D2Error(reason)
        super().__init__(model)

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Token ids and pixels of all that differs in the pairs, and who belongs to whom.

        Raises:
            R2D2Error: a pair that is not one text and one picture, or a prompt.
        """
        if prompt:
            raise R2D2Error("texts of these models take no prompt: leave prompt out")
        texts: dict[str, int] = {}
        pictures: dict[int, int] = {}
        shown: list[Image.Image] = []
        pairs: list[tuple[int, int]] = []
        for number, pair in enumerate(inputs):
            text, picture = _text_and_picture(pair, number)
            if id(picture) not in pictures:
                pictures[id(picture)] = len(shown)
                shown.append(picture)
            pairs.append((pictures[id(picture)], texts.setdefault(text, len(texts))))
        ids, mask = self.pretrained.tokenizer(list(texts))
        pixels = torch.stack([torch.from_numpy(self.pretrained.prepare(p)) for p in shown])
        index = torch.tensor(pairs, dtype=torch.long)
        return {"ids": ids, "mask": mask, "pixels": pixels, "pairs": index}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Adds "scores", (m,) in [0, 1]."""
        model = self.pretrained
        images = model.encode_pixels(list(features["pixels"].cpu().numpy()))
        with torch.inference_mode():
            texts = self.network.encode_texts(features["ids"], features["mask"])
        pairs = (features["pairs"][:, 0], features["pairs"][:, 1])
        both = model.match_text(images, texts, pairs) + model.match_image(images, texts, pairs)
        features["scores"] = both / 2
        return features


def _text_and_picture(pair: Any, number: int) -> tuple[str, Image.Image]:
    items = list(pair) if isinstance(pair, list | tuple) else [pair]
    texts = [item for item in items if isinstance(item, str)]
    pictures = [item for item in items if isinstance(item, Image.Image)]
    if len(items) != 2 or len(texts) != 1 or len(pictures) != 1:
        kinds = ", ".join(type(item).__name__ for item in items)
        raise R2D2Error(f"pair {number} is ({kinds}): give a text and a PIL.Image, in either order")
    return texts[0], pictures[0]
