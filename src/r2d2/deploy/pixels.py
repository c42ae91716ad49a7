"""Preprocessing from raw pixels to network input as ONNX nodes in front of an image encoder.

One Resize, cubic with a = -0.5 and antialias, weights outside of the picture left out: Pillow's
bicubic filter, which data/images.py uses. On uint8 ONNX Runtime computes it as Pillow does, in
integers; docs/deploy.md tells how far they differ.
"""

from __future__ import annotations

from typing import Any

from r2d2.data.augment import MEAN, STD

_SIZE, _SCALE, _SHIFT = "pixels.size", "pixels.scale", "pixels.shift"


def with_pixels(encoder: Any, size: int) -> Any:
    """An encoder of `pixels` (n, 3, size, size) as one of `image` (n, H, W, 3) uint8, RGB."""
    from onnx import TensorProto, checker, compose, helper

    scale = [1 / (255 * std) for std in STD]
    shift = [-mean / std for mean, std in zip(MEAN, STD, strict=True)]
    nodes = [
        helper.make_node("Transpose", ["image"], ["pixels.planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            ["pixels.planes", "", "", _SIZE],
            ["pixels.resized"],
            mode="cubic",
            cubic_coeff_a=-0.5,
            antialias=1,
            exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
            axes=[2, 3],
        ),
        helper.make_node("Cast", ["pixels.resized"], ["pixels.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels.float", _SCALE], ["pixels.scaled"]),
        helper.make_node("Add", ["pixels.scaled", _SHIFT], ["pixels.done"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info("pixels.done", TensorProto.FLOAT, ["n", 3, size, size])],
        [
            helper.make_tensor(_SIZE, TensorProto.INT64, [2], [size, size]),
            helper.make_tensor(_SCALE, TensorProto.FLOAT, [1, 3, 1, 1], scale),
            helper.make_tensor(_SHIFT, TensorProto.FLOAT, [1, 3, 1, 1], shift),
        ],
    )
    front = helper.make_model(
        graph, opset_imports=list(encoder.opset_import), ir_version=encoder.ir_version
    )
    whole = compose.merge_models(front, encoder, io_map=[("pixels.done", "pixels")])
    del whole.opset_import[:]  # merging repeats what both have, and quantising stumbles on it
    whole.opset_import.extend(encoder.opset_import)
    whole.producer_name = "r2d2"
    checker.check_model(whole)
    return whole
