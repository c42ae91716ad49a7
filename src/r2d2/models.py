"""Open a model of any kind by its name, as `--model`, `--init` and `r2d2.load` take it.

    load("runs/demo")                                # a run's folder, or a saved model's
    load("emoji")                                    # the model of the package
    load("OFA-Sys/chinese-clip-vit-base-patch16")    # a hub id, or a folder in its layout
    load("r2d2_pretrain_250m.pth")                   # an official checkpoint, vocab.txt beside it
    load("exported")                                 # a folder of ONNX graphs

Nothing that comes with weights is run: see docs/models.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from PIL import Image

from r2d2.arguments import default_device, path_of, usable_device
from r2d2.config import ModelConfig
from r2d2.data.preprocessing import Pixels, Preprocessing
from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates
from r2d2.pretrained import Pretrained, Use
from r2d2.saved_model import (
    SHIPPED,
    read_saved,
    saved_config,
    saved_folder,
    saved_widths,
    shipped_folder,
)
from r2d2.tokenizer import Tokenizer, check_length
from r2d2.weights.files import CONFIG, PICKLED, read_json
from r2d2.weights.hub import fetch, is_hub_id

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)

KINDS = (
    "a run's folder or a saved model's",
    f"'{SHIPPED}'",
    "a Hugging Face folder or hub id of a dual encoder (docs/models.md lists them)",
    "an official R2D2 or Chinese-CLIP checkpoint",
    "a folder of `r2d2 export onnx`, or one with encoders.json, image.onnx and text.onnx",
)
EMBEDDINGS = ("images.npy", "images.parquet")  # which `evaluate` reads
PAIR = "encoders.json"  # of two ONNX encoders that another program wrote


class ImageTextModel(Protocol):
    """What any opened model can do; `why_not` tells what one of them cannot."""

    name: str  # the last part of the path or id that it was opened by
    kind: str  # r2d2, hugging face, checkpoint or onnx
    match_weight: float  # w of the two-stage score
    top_k: int  # candidates that are ranked again
    batch_size: int  # items, or pairs, a forward pass

    preprocessing: Preprocessing  # of pictures

    @property
    def tokenizer(self) -> Tokenizer:
        """Cuts texts at its `max_length`."""

    @property
    def has_match(self) -> bool:
        """Whether it can rank again the candidates that its embeddings give."""

    @property
    def embed_dim(self) -> int:
        """Numbers of an embedding."""

    @property
    def fingerprint(self) -> str:
        """A hash of 16 hex digits of everything that its embeddings depend on."""

    def why_not(self, use: Use) -> str | None:
        """The reason why it cannot be used so, in one line with a remedy; None if it can."""

    def prepare(self, picture: Image.Image, name: str = "picture") -> Pixels:
        """The pixels (S, S, 3) that the model sees of a picture of any mode and size."""

    def shrink(self, picture: Image.Image) -> Image.Image:
        """A smaller copy of a picture, of which the model sees the same; for queues."""

    def read(self, file: bytes, name: str = "image") -> Pixels:
        """The pixels of an encoded picture. BadImage if it cannot be used."""

    def encode_pixels(self, pixels: Sequence[Pixels]) -> EncodedStates:
        """Encode the pixels of `prepare` or `read`, at least one."""

    def encode_images(self, images: Iterable[Image.Image]) -> EncodedStates:
        """Encode pictures of any mode and size."""

    def encode_texts(self, texts: Iterable[str]) -> EncodedStates:
        """Encode sentences, cut at the text length."""

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """How well image i and text i match, (n,) in [0, 1]; only with `has_match`."""


@runtime_checkable
class CrossEncoderModel(Protocol):
    """A model that scores many pairs of few items, and each of its cross encoders by itself.

    The part of the work that belongs to one item is then done once for all of its pairs.
    """

    def match_text(
        self, images: EncodedStates, texts: EncodedStates, pairs: tuple[Tensor, Tensor]
    ) -> Tensor:
        """p_T[match], (m,), of pairs: indices (m,) into images, and (m,) into texts."""

    def match_image(
        self, images: EncodedStates, texts: EncodedStates, pairs: tuple[Tensor, Tensor]
    ) -> Tensor:
        """p_I[match], (m,), of pairs. `match` is the mean of the two."""


@runtime_checkable
class MultiVectorModel(Protocol):
    """A model that gives several vectors of a picture, and one for each token of a text."""

    def check_pooling(self, count: int) -> None:
        """R2D2Error where a picture of this model has no `count` pooled states."""

    def pooled_states(self, images: EncodedStates, count: int) -> Tensor:
        """Vectors (n, N, d) of unit length of the parts of encoded images; N = `count`."""

    def token_states(self, texts: EncodedStates) -> tuple[Tensor, Tensor]:
        """Vectors (n, L, d) of unit length of encoded texts, and (n, L) bool: which are words."""


def load(
    source: str | os.PathLike[str],
    device: str | int | torch.device | None = None,
    *,
    text_length: int | None = None,
    dim: int | None = None,
) -> ImageTextModel:
    """Open a model of any kind.

    Args:
        source: see `KINDS`. The text "emoji" is the model of the package, whatever lies here;
            "./emoji" is a folder. What exists here comes before a hub id; `owner/name@revision`
            is always the hub's.
        device: of the model; None: the GPU where there is one. ONNX graphs run on the CPU.
        text_length: tokens at which texts are cut; None: as the model is used.
        dim: numbers of an embedding that are kept; None: all. See `r2d2.narrow`.

    Raises:
        R2D2Error: nothing that is known lies there, it is damaged or cannot be fetched, it takes
            no texts of such a length, its embeddings are shorter than `dim` or cannot be cut, or
            there is no such device here.
    """
    opened = _load(source, device, text_length)
    return opened if dim is None else narrowed_model(opened, dim)


def narrowed_model(model: ImageTextModel, dim: int, *, warn: bool = True) -> ImageTextModel:
    """The model with embeddings cut to `dim` numbers; see `r2d2.narrow`. R2D2Error if it cannot."""
    if not isinstance(model, Pretrained):
        raise R2D2Error(
            f"the embeddings of {model.name} cannot be cut to {dim} numbers, for it is an ONNX "
            "graph: export it again with --dim, or leave it out"
        )
    from r2d2.narrow import narrowed

    return narrowed(model, dim, warn=warn)


def _load(
    source: str | os.PathLike[str], device: str | int | torch.device | None, text_length: int | None
) -> ImageTextModel:
    target_device = default_device() if device is None else usable_device(device)
    path = _local_path(source)
    name = _short(source)
    saved = _own_folder(path)
    if saved is not None:
        return _with_name(
            _with_text_length(read_saved(saved, target_device), source, text_length), name
        )
    if path.is_file():
        return _open_checkpoint(path, source, target_device, text_length)
    if (path / PAIR).is_file():
        from r2d2.onnx_models.encoder_pair import read

        return read(path, text_length)
    config = read_json(path / CONFIG)
    if "graphs" in config:
        return _open_graphs(path, config, text_length)
    if "model_type" in config:
        from r2d2.weights.opening import open_hugging_face

        return _with_name(open_hugging_face(path, source, target_device, text_length), name)
    _refuse_embeddings(path, source)
    if (path / "modules.json").is_file():
        raise R2D2Error(
            f"{source} is a folder of sentence-transformers: give the model that it was exported "
            "from, or its cross-encoder/, where it has one"
        )
    if "model" in config or _has_weights(path):
        return _open_checkpoint(path, source, target_device, text_length)
    raise _no_model(source)


def load_network(
    source: str | os.PathLike[str],
    use: Use,
    device: str | int | torch.device | None = None,
    *,
    dim: int | None = None,
) -> Pretrained:
    """Open a model to be trained or exported; `dim` as in `load`. R2D2Error says why not."""
    return network_of(load(source, device, dim=dim), use)


def network_of(model: ImageTextModel, use: Use) -> Pretrained:
    """An opened model as a network of PyTorch. R2D2Error where it cannot be used so, and why."""
    reason = model.why_not(use)
    if reason is not None:
        raise R2D2Error(reason)
    assert isinstance(model, Pretrained)
    if use == "export" and model.preprocessing.patch is not None:
        log.info("%s: exported for pictures squeezed to a square", model.name)
        model.preprocessing = model.preprocessing.square()
    return model


def tell_ranking(model: ImageTextModel) -> None:
    """Log that searches are ranked by cosine alone, if the model cannot rank again."""
    if not model.has_match:
        log.info("%s has no cross encoders: results are ranked by cosine alone", model.name)


def network_config(source: str | os.PathLike[str]) -> ModelConfig:
    """The shape of a model that is to be trained; of a saved one without reading its weights."""
    saved = _own_folder(_local_path(source))
    if saved is not None:
        return saved_config(saved)
    return load_network(source, "fine-tune", "cpu").model.config


def trained_widths(source: str | os.PathLike[str]) -> tuple[int, ...]:
    """Widths that a saved model's embeddings were trained to be cut to; of others none."""
    saved = _own_folder(_local_path(source))
    return () if saved is None else saved_widths(saved)


def lasting_name(source: str | os.PathLike[str]) -> str:
    """The name of a model that holds in any working directory: `emoji`, a hub id, or a path."""
    if isinstance(source, str) and (source == SHIPPED or _is_hub(source)):
        return source
    return str(Path(source).absolute())


def _is_hub(source: str) -> bool:
    return is_hub_id(source) and not Path(source).exists()


def _local_path(source: str | os.PathLike[str]) -> Path:
    """The path of a model on this machine; a model of the hub is fetched first."""
    path = path_of(source, "; ".join(KINDS))
    if isinstance(source, str) and source == SHIPPED:
        return shipped_folder()
    try:
        if path.exists():
            return path
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise _no_model(source, f" ({error.strerror})") from error
    if isinstance(source, str) and is_hub_id(source):
        from r2d2.weights.opening import check_config

        return fetch(source, lambda config: check_config(config, source))
    raise _no_model(source)


def _no_model(source: object, why: str = "") -> R2D2Error:
    return R2D2Error(f"there is no model at {source}{why}: give {'; '.join(KINDS)}")


def _own_folder(folder: Path) -> Path | None:
    """The folder of a model of ours, even with a damaged config.json; None: another kind."""
    saved = saved_folder(folder)
    theirs = saved is None or {"model_type", "graphs"} & read_json(saved / CONFIG).keys()
    return None if theirs else saved


def _has_weights(folder: Path) -> bool:
    try:
        return any(file.suffix in (".safetensors", *PICKLED) for file in folder.iterdir())
    except OSError as error:
        raise _no_model(folder, f" ({error.strerror})") from error


def _open_checkpoint(
    path: Path, source: object, device: torch.device, text_length: int | None
) -> Pretrained:
    from r2d2.weights.opening import open_checkpoint

    if path.is_file() and (
        path.suffix not in (".safetensors", *PICKLED)
        or read_json(path.parent / CONFIG).get("model") is not None
    ):
        raise _no_model(source, f" ({path.name} is a file; its folder is {path.parent})")
    return _with_name(open_checkpoint(path, source, device, text_length), _short(str(source)))


def _open_graphs(folder: Path, config: dict[str, Any], text_length: int | None) -> ImageTextModel:
    import torch

    from r2d2.onnx_models.exported import OnnxModel

    longest = config.get("max_length")
    if text_length not in (None, longest):
        raise R2D2Error(
            f"{folder} was exported for texts of {longest} tokens: leave --max-length out"
        )
    return OnnxModel(folder, threads=torch.get_num_threads())


def _refuse_embeddings(folder: Path, source: object) -> None:
    if any((folder / name).is_file() for name in EMBEDDINGS):
        raise R2D2Error(
            f"{source} holds embeddings, which only `r2d2 evaluate` takes: give the model that "
            "made them"
        )


def _with_text_length(model: Pretrained, source: object, text_length: int | None) -> Pretrained:
    """The model with texts cut at a length. R2D2Error if it has no places for so many tokens."""
    check_length(source, model.model.config.text.max_length, text_length)
    if text_length is not None:
        model.tokenizer.limit(text_length)
    return model


def _with_name(model: Pretrained, name: str) -> Pretrained:
    model.name = name
    return model


def _short(source: str | os.PathLike[str]) -> str:
    """The last part of a path or id that says something."""
    path = Path(source)
    while path.name in ("model", "run") and path.parent.name:
        path = path.parent
    return path.name
