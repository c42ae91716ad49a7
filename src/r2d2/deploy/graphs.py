"""The three graphs of a model: image encoder from raw pixels, text encoder, pair scorer.

- image.onnx: image (n, H, W, 3) uint8 to states (n, S, d_v), embedding (n, d).
- text.onnx: ids and mask (n, L) int64 to states (n, T, d_t), states_mask (n, T), embedding (n, d);
  texts that are too long are cut.
- match.onnx: image_states, text_states, text_mask of n pairs to match (n,), (p_T + p_I) / 2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from r2d2.deploy.cut import special_tokens_behind, with_cut
from r2d2.deploy.pixels import with_pixels
from r2d2.errors import R2D2Error, first_line
from r2d2.extras import errors_only, require
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.tokenizer import Tokenizer

OPSET = 20  # of ONNX; Resize has `antialias` and `axes` since 18
IMAGE, TEXT, MATCH = "image", "text", "match"
_OUT = "out."
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")


class ModelGraph(nn.Module):
    """A part of a model as a module of its own, which is exported."""

    def __init__(self, model: R2D2) -> None:
        super().__init__()
        self.model = model


class ImageGraph(ModelGraph):
    """The image encoder, from normalised pixels; the resize is put in front of it."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """States and embedding of pixels (n, 3, size, size)."""
        side = self.model.encode_images(pixels)
        return side.states, side.embedding


class TextGraph(ModelGraph):
    """The text encoder, from token ids."""

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States, their mask and embedding of ids (n, L) under mask (n, L), 1 where real."""
        side = self.model.encode_texts(ids, mask.bool())
        return side.states, side.real().long(), side.embedding


class PairGraph(ModelGraph):
    """The pair scorer, from the states of images and texts."""

    def forward(self, image_states: Tensor, text_states: Tensor, text_mask: Tensor) -> Tensor:
        """Match score (n,) of image i with text i."""
        unread = image_states[:, 0]  # the cross encoders read no embedding
        images = EncodedStates(image_states, None, unread)
        return self.model.match(images, EncodedStates(text_states, text_mask.bool(), unread))


def build_graphs(
    model: R2D2, tokenizer: Tokenizer, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """ONNX models by name; "match" is absent from a model without cross encoders.

    Args:
        model: is put on the CPU.
        tokenizer: the text graph cuts texts at its length.
        progress: called with the name of the graph that is being built.

    Raises:
        R2D2Error: a package is missing, or the exporter does not know a part of the model.
    """
    model = model.cpu().eval()
    config, width = model.config, model.config.vision.width
    batch, length = torch.export.Dim("n"), torch.export.Dim("length", max=config.text.max_length)
    size = config.vision.image_size
    pixels = torch.zeros(2, 3, size, size)
    ids = torch.full((2, 4), 5)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    report = progress or (lambda name: None)
    report(IMAGE)
    image = export_graph(
        ImageGraph(model), (pixels,), {"pixels": {0: batch}}, ["states", "embedding"], IMAGE
    )
    graphs = {IMAGE: with_pixels(image, size)}
    report(TEXT)
    text = export_graph(
        TextGraph(model),
        (ids, mask),
        {"ids": {0: batch, 1: length}, "mask": {0: batch, 1: length}},
        ["states", "states_mask", "embedding"],
        TEXT,
    )
    graphs[TEXT] = with_cut(text, tokenizer.max_length, special_tokens_behind(tokenizer))
    if model.has_match:
        report(MATCH)
        patches = 1 + config.vision.patches
        image_states = torch.zeros(2, patches, width)
        text_states = torch.zeros(2, 4, config.text.width)
        states = torch.export.Dim("states", max=config.text.max_length + 1)  # towers may add one
        graphs[MATCH] = export_graph(
            PairGraph(model),
            (image_states, text_states, mask),
            {
                "image_states": {0: batch},
                "text_states": {0: batch, 1: states},
                "text_mask": {0: batch, 1: states},
            },
            ["match"],
            MATCH,
        )
    return graphs


def export_graph(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    dynamic: dict[str, dict[int, Any]],
    outputs: list[str],
    name: str,
) -> Any:
    """An ONNX model whose sizes are free where `dynamic` says so."""
    for package in ("onnx", "onnxscript"):  # else the exporter fails late, with a long message
        require("onnx", package, "export")
    try:
        with errors_only(*_CHATTY), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                arguments,
                dynamo=True,
                dynamic_shapes=dynamic,
                output_names=[f"{_OUT}{output}" for output in outputs],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter raises errors of its own, of many lines
        reason = first_line(error)
        raise R2D2Error(
            f"the {name} graph cannot be exported by torch {torch.__version__} ({reason}): "
            "try another version of torch"
        ) from error
    assert program is not None
    named = _named(_clean(program.model_proto), outputs)
    _check_free(named, dynamic, name)
    return named


def _clean(model: Any) -> Any:
    """The model without the exporter's notes, which hold source lines and paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    model.producer_name, model.producer_version = "r2d2", ""
    return model


def _named(model: Any, outputs: list[str]) -> Any:
    """With its outputs named so; a value within that has the name already gets another.

    The exporter itself would let both have it: a token embedding is called "embedding".
    """
    new = {name: f"{name}.within" for name in outputs} | {f"{_OUT}{name}": name for name in outputs}
    graph = model.graph
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*graph.value_info, *graph.output, *graph.initializer):
        value.name = new.get(value.name, value.name)
    return model


def _check_free(model: Any, dynamic: dict[str, dict[int, Any]], name: str) -> None:
    """R2D2Error where the exporter fixed a size that should be free; it does so silently."""
    for graph_input in model.graph.input:
        sizes = graph_input.type.tensor_type.shape.dim
        for axis in dynamic.get(graph_input.name, {}):
            if not sizes[axis].dim_param:
                raise R2D2Error(
                    f"torch {torch.__version__} fixed axis {axis} of {graph_input.name} in the "
                    f"{name} graph, so this model cannot be exported: try another version of torch"
                )
