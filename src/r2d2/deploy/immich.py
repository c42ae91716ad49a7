"""`r2d2 export immich`: the two encoders in the layout that immich's machine learning reads.

    config.json                       text_cfg.context_length, embed_dim
    textual/model.onnx                text (n, context_length) int32 -> embedding (n, d)
    textual/tokenizer.json, tokenizer_config.json
    visual/model.onnx                 image (n, 3, S, S) float32 -> embedding (n, d)
    visual/preprocess_cfg.json        size, resize_mode, interpolation, mean, std

immich cuts and pads texts to context_length and gives no mask: the graph tells padding by its id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from r2d2.data.augment import MEAN, STD
from r2d2.data.preprocessing import Preprocessing
from r2d2.deploy.export import ExportedFolder, file_sizes, save_graph, tokenizer_json
from r2d2.deploy.graphs import ModelGraph, export_graph
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.model.hf_towers import family_of
from r2d2.model.r2d2 import R2D2
from r2d2.models import load_network
from r2d2.outputs import a_folder, check_outputs
from r2d2.pretrained import Pretrained

TEXTUAL, VISUAL, GRAPH = "textual", "visual", "model.onnx"


class ImageEmbedding(ModelGraph):
    """The image encoder, from normalised pixels."""

    def forward(self, image: Tensor) -> Tensor:
        """Embedding (n, d) of pixels (n, 3, S, S)."""
        return self.model.encode_images(image).embedding


class TextEmbedding(ModelGraph):
    """The text encoder, from token ids without a mask."""

    def __init__(self, model: R2D2, pad_id: int | None) -> None:
        """`pad_id`: the id of padding, which is masked; None: nothing is masked."""
        super().__init__(model)
        self.pad_id = pad_id

    def forward(self, text: Tensor) -> Tensor:
        """Embedding (n, d) of ids (n, L), padded on the right."""
        ids = text.long()
        real = torch.ones_like(ids).bool() if self.pad_id is None else ids != self.pad_id
        return self.model.encode_texts(ids, real).embedding


def export_immich(
    source: str | Path,
    out: str | Path,
    *,
    dim: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportedFolder:
    """Write a model's two encoders into a folder that immich can read.

    Args:
        source: as `r2d2.load` takes it.
        out: the folder.
        dim: numbers of an embedding; None: all. See `narrowed`.
        overwrite: replace such a folder at `out`.
        progress: called with what is being done.

    Raises:
        R2D2Error: no model, `out` is taken, a package is missing, or immich cannot prepare pictures
            as the model wants them.
    """
    out = Path(out)
    check_outputs([a_folder(out, is_immich_folder)], inputs=[source], overwrite=overwrite)
    model = load_network(source, "export", "cpu", dim=dim)
    preprocessing = _preprocessing(model.preprocessing, source)
    network, tokenizer = model.model.cpu().eval(), model.tokenizer
    size, length = network.config.vision.image_size, tokenizer.max_length
    report = progress or (lambda name: None)
    batch = torch.export.Dim("n")
    report("image")
    image = export_graph(
        ImageEmbedding(network), (torch.zeros(2, 3, size, size),), {"image": {0: batch}},
        ["embedding"], "image",
    )  # fmt: skip
    report("text")
    ids = torch.full((2, length), tokenizer.pad_id, dtype=torch.int32)
    ids[:, :2] = 5
    text = export_graph(
        TextEmbedding(network, _masked_id(model)), (ids,), {"text": {0: batch}},
        ["embedding"], "text",
    )  # fmt: skip
    pad_token = tokenizer._engine.id_to_token(tokenizer.pad_id)
    config = {
        "embed_dim": network.config.embed_dim,
        "vision_cfg": {"image_size": size},
        "text_cfg": {"context_length": length, "vocab_size": tokenizer.vocab_size},
    }
    with whole_folder(out) as work:
        for folder, graph in ((VISUAL, image), (TEXTUAL, text)):
            (work / folder).mkdir()
            save_graph(graph, work / folder / GRAPH)
        _write_json(work / "config.json", config)
        _write_json(work / VISUAL / "preprocess_cfg.json", preprocessing)
        (work / TEXTUAL / "tokenizer.json").write_text(tokenizer_json(model), encoding="utf-8")
        about = {"pad_token": pad_token, "model_max_length": length}
        _write_json(work / TEXTUAL / "tokenizer_config.json", about)
        sizes = file_sizes(work)
    return ExportedFolder(out, sizes)


def is_immich_folder(folder: Path) -> bool:
    """Whether a folder holds what `export_immich` writes."""
    return all((folder / part / GRAPH).is_file() for part in (TEXTUAL, VISUAL))


def _preprocessing(preprocessing: Preprocessing, source: object) -> dict[str, Any]:
    """The content of preprocess_cfg.json. R2D2Error where immich cannot prepare pictures so."""
    side = preprocessing.side
    if preprocessing.shortest not in (None, side):
        raise R2D2Error(
            f"{source} cuts {side} pixels out of pictures whose shorter edge is "
            f"{preprocessing.shortest}, which immich cannot: fine-tune it first, which teaches it "
            "pictures squeezed to a square"
        )
    return {
        "size": [side, side],
        "mode": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": Image.Resampling(preprocessing.resample).name.lower(),
        "resize_mode": "squash" if preprocessing.shortest is None else "shortest",
    }


def _masked_id(model: Pretrained) -> int | None:
    """The id of padding where the text tower masks it; None where it does not."""
    hf_towers = model.model.config.hf_towers
    if hf_towers is not None and not family_of(hf_towers.kind).masks_padding:
        return None
    return model.tokenizer.pad_id


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
