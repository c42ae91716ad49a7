"""Any model of sentence-transformers that takes texts and pictures, measured by `r2d2 evaluate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from r2d2.arguments import default_device
from r2d2.errors import R2D2Error, first_line
from r2d2.extras import require
from r2d2.model.encoded_states import EncodedStates, embedded
from r2d2.model.hf_towers import quiet_loading
from r2d2.weights.files import CONFIG, read_json
from r2d2.weights.hub import is_hub_id, unreachable
from r2d2.weights.towers import ADAPTERS

PREFIX = "st:"  # before a folder or a hub id: open it by sentence-transformers
MODULES = "modules.json"
LEAST = "6.0"  # takes pictures
_LIBRARY_NAME = re.compile(r"\w[\w.-]*")  # of the library's own models, whose owner it knows
KINDS = ("text", "image")  # of input, both needed


class SentenceEncoder:
    """See `DualEncoder`: the embeddings of the library's `encode`, with its default prompt."""

    has_match = False

    def __init__(self, model: Any, batch_size: int = 32) -> None:
        """`model` is a `SentenceTransformer`."""
        self._model = model
        self._batch_size = batch_size

    @property
    def network(self) -> torch.nn.Module:
        """The torch module that has the parameters."""
        module: torch.nn.Module = self._model
        return module

    def encode_images(self, images: Sequence[Image.Image]) -> EncodedStates:
        """Pictures, which the model's own processor prepares; (n, d)."""
        return self._encode([image.convert("RGB") for image in images])

    def encode_texts(self, texts: Sequence[str]) -> EncodedStates:
        """Texts, cut at the model's longest; (n, d)."""
        return self._encode(list(texts))

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """Not available: raises R2D2Error."""
        raise R2D2Error("a SentenceTransformer has no match head")

    def _encode(self, items: list[Any]) -> EncodedStates:
        made: Tensor = self._model.encode(
            items, batch_size=self._batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        return embedded(made.float().clone())  # of inference mode, which autograd would refuse


def sentence_model_name(source: str | Path) -> str | None:
    """The folder or hub id of a model that sentence-transformers is to open; None: it is not.

    One named with PREFIX, or a folder of its modules that holds no model of a class known here.
    """
    name = str(source)
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    folder = Path(source)
    if not (folder / MODULES).is_file():
        return None
    return None if read_json(folder / CONFIG).get("model_type") in ADAPTERS else name


def open_sentence_encoder(name: str, *, dim: int | None = None) -> SentenceEncoder:
    """Open a model. No code that comes with it is run, and no pickle is read.

    Args:
        name: a folder or a hub id.
        dim: numbers of an embedding that are kept; None: all.

    Raises:
        R2D2Error: the library is missing, the model cannot be opened, or takes no pictures.
    """
    library = require("st", "sentence_transformers", "a model of sentence-transformers", LEAST)
    if not name:
        raise R2D2Error(f"{PREFIX} names no model: give {PREFIX}FOLDER or {PREFIX}OWNER/NAME")
    _check_name(name)
    try:
        with quiet_loading():
            model = library.SentenceTransformer(
                name, device=str(default_device()), truncate_dim=dim, trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )  # fmt: skip
    except Exception as error:  # the library raises its own, and those of all that it reads with
        reason = first_line(error)[:300]
        if not Path(name).exists() and unreachable(error):
            raise R2D2Error(
                f"sentence-transformers cannot get {name}, for the hub cannot be reached "
                f"({reason}): set HF_ENDPOINT to a mirror, or fetch the folder elsewhere and give "
                "its path"
            ) from error
        raise R2D2Error(
            f"sentence-transformers cannot open {name} ({reason}): give a folder or hub id of a "
            "model of its own modules with safetensors weights; code of a repository is not run"
        ) from error
    missing = [kind for kind in KINDS if kind not in model.modalities]
    if missing:
        raise R2D2Error(
            f"{name} takes no {' and no '.join(missing)} inputs, only "
            f"{', '.join(map(str, model.modalities))}: give a model of texts and pictures"
        )
    width = model.get_embedding_dimension()
    if dim is not None and width is not None and dim > width:
        raise R2D2Error(
            f"--dim {dim}: the embeddings of {name} have {width} numbers: give at most that"
        )
    return SentenceEncoder(model)


def _check_name(name: str) -> None:
    """R2D2Error where a name is neither a folder of modules nor can be of the hub.

    Of a folder without them the library would make up a model.
    """
    folder = Path(name)
    if folder.exists():
        if not (folder / MODULES).is_file():
            raise R2D2Error(
                f"{name} has no {MODULES}, so it is no model of sentence-transformers: give a "
                "folder that the library saved"
            )
    elif not is_hub_id(name) and not _LIBRARY_NAME.fullmatch(name):
        raise R2D2Error(
            f"there is no folder {name}, and it is no hub id: give the folder of a model of "
            "sentence-transformers, or OWNER/NAME"
        )
