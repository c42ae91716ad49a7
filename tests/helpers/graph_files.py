"""A pair of ONNX encoders as another program writes it, made with the graph helpers."""

import json

import numpy as np
import pytest

from helpers.encoders import COLOURS
from r2d2.onnx_models.encoder_pair import LAYOUT


def onnx_pair(folder, pixels="normalised"):
    """The mean colour, and the first token, as embeddings; made with the graph helpers."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def save(name, nodes, inputs, constants=()):
        out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", None])
        graph = helper.make_graph(nodes, "g", inputs, [out], initializer=list(constants))
        opset = helper.make_opsetid("", 17)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / name)

    if pixels == "uint8":
        shape = ["n", 8, 8, 3]
        cast = [helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT)]
        axes, given = [1, 2], helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
    else:
        shape = ["n", 3, 8, 8]
        cast = [helper.make_node("Identity", ["pixels"], ["x"])]
        axes, given = [2, 3], helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)
    mean = helper.make_node("ReduceMean", ["x"], ["embedding"], axes=axes, keepdims=0)
    save("image.onnx", [*cast, mean], [given])
    tokens = ["[PAD]", *COLOURS, "方", "块", "照", "片"]
    table = np.zeros((len(tokens), 3), dtype=np.float32)
    scaled = np.array(list(COLOURS.values()), dtype=np.float32)
    if pixels == "normalised":
        scaled = (scaled / 255 - 0.5) / 0.5
    table[1 : len(COLOURS) + 1] = scaled
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["t"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["mm"]),
        helper.make_node("Mul", ["t", "mm"], ["tm"]),
        helper.make_node("ReduceSum", ["tm", "one"], ["embedding"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"])
        for name in ("ids", "mask")
    ]
    save("text.onnx", nodes, inputs, [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "one"),
    ])  # fmt: skip
    from tokenizers import Tokenizer, models, pre_tokenizers

    engine = Tokenizer(models.WordLevel({t: n for n, t in enumerate(tokens)}, unk_token="[PAD]"))
    engine.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    engine.save(str(folder / "tokenizer.json"))
    layout = {
        "image": {"size": 8, "pixels": pixels, "mean": [0.5] * 3, "std": [0.5] * 3},
        "text": {"max_length": 6},
    }
    (folder / LAYOUT).write_text(json.dumps(layout))
    return folder
