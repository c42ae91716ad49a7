"""Truncation of long texts as ONNX nodes in front of a text encoder.

Not every library heeds the truncation of tokenizer.json: that for JavaScript does not. Where a text
has more real tokens than the encoder has places, the graph keeps the first ones and, at the end,
the special tokens that stand behind a text, as [SEP]: the ids that the Python library gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r2d2.tokenizer import Tokenizer

INPUTS = ("ids", "mask")


def special_tokens_behind(tokenizer: Tokenizer) -> int:
    """The number of special tokens that a tokenizer puts after a text."""
    engine = tokenizer._engine
    bare = engine.encode("一", add_special_tokens=False).ids
    whole = engine.encode("一").ids
    starts = range(len(whole) - len(bare) + 1)
    first = next(start for start in starts if whole[start : start + len(bare)] == bare)
    return len(whole) - len(bare) - first


def with_cut(encoder: Any, length: int, behind: int) -> Any:
    """An encoder of `ids` and `mask` (n, at most `length`) that takes any number of tokens.

    Real tokens stand in front, padding behind them. A text of more than `length` real tokens keeps
    its first `length` - `behind` and its last `behind`.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = encoder.graph
    for reader in graph.node:
        reader.input[:] = [f"cut.{name}" if name in INPUTS else name for name in reader.input]
    for graph_input in graph.input:  # within the graph, "length" is that of the truncated text
        graph_input.type.tensor_type.shape.dim[1].dim_param = "tokens"
    constants = {"axis": [1], "zero": 0, "one": 1, "length": length, "kept": length - behind}
    for name, value in constants.items():
        array = np.array(value, dtype=np.int64)
        graph.initializer.append(numpy_helper.from_array(array, f"cut.{name}"))

    def node(kind: str, inputs: str, output: str, **settings: Any) -> Any:
        names = [name if name in INPUTS else f"cut.{name}" for name in inputs.split()]
        return helper.make_node(kind, names, [f"cut.{output}"], **settings)

    front = [
        # by how many real tokens each text is too long, (n, 1)
        node("ReduceSum", "mask axis", "real", keepdims=1),
        node("Sub", "real length", "difference"),
        node("Max", "difference zero", "excess"),
        # the positions of the result, (K,) with K = min(L, length)
        node("Shape", "ids", "shape"),
        node("Gather", "shape one", "given"),
        node("Min", "given length", "size"),
        node("Range", "zero size one", "places"),
        # where each is read from, (n, K): the last `behind` from the end of the real tokens
        node("GreaterOrEqual", "places kept", "late"),
        node("Cast", "late", "moved", to=TensorProto.INT64),
        node("Mul", "excess moved", "offset"),
        node("Add", "places offset", "source"),
        *(
            helper.make_node("GatherElements", [name, "cut.source"], [f"cut.{name}"], axis=1)
            for name in INPUTS
        ),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return encoder
