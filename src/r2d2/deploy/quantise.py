"""Quantisation of the weights to 8 bits, and its cost in recall."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.protocol import Progress
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.extras import errors_only, require
from r2d2.images.decode import BadImage
from r2d2.onnx_models.exported import OnnxModel
from r2d2.table import Pair, PairsTable

SPLIT = "test"


def quantise(source: Path, out: Path) -> None:
    """Write a graph with matrices of 8 bits, with a scale for each column; activations are dynamic.

    Raises:
        R2D2Error: onnxruntime is missing.
    """
    quantization = require("onnx", "onnxruntime.quantization", "quantising a graph")
    with errors_only(""):  # it recommends, at the root logger, what does not apply here
        quantization.quantize_dynamic(
            str(source),
            str(out),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )


def recall_lines(
    folder: Path, data: EvaluationSet | None = None, progress: Progress | None = None
) -> list[str]:
    """A table of R@M in float and in 8 bits, by stage; R@M is the mean of six recalls.

    `data`: what is measured on; None: the embedded corpus' split `test`.
    """
    measured = embedded() if data is None else data
    recalls = {int8: _recalls(folder, measured, int8, progress) for int8 in (False, True)}
    lines = [f"{'R@M on ' + SPLIT:<16} float    int8    loss"]
    for stage, before in recalls[False].items():
        after = recalls[True][stage]
        lines.append(f"{stage:<16} {before:5.2f}   {after:5.2f}   {before - after:5.2f}")
    return lines


def embedded() -> EvaluationSet:
    """The embedded corpus' split `test`."""
    from r2d2.data.emoji import emoji_pairs

    return _data([pair for pair in emoji_pairs() if pair.split == SPLIT])


def of_table(path: str | Path) -> EvaluationSet:
    """A table's split `test`. R2D2Error where it has none."""
    table = PairsTable.open(path)
    table.rows(SPLIT)  # says which splits there are
    data = EvaluationSet.from_table(table)
    return data.keep([i for i, split in enumerate(data.splits) if split == SPLIT])


def _data(pairs: Sequence[Pair]) -> EvaluationSet:
    texts = [(text.text, i) for i, pair in enumerate(pairs) for text in pair.texts]

    def load(positions: Sequence[int]) -> list[Image.Image | BadImage]:
        return [Image.open(io.BytesIO(pairs[position].image)) for position in positions]

    return EvaluationSet(
        [pair.image_id for pair in pairs],
        [pair.split for pair in pairs],
        [text for text, _ in texts],
        [image for _, image in texts],
        load,
    )


def _recalls(
    folder: Path, data: EvaluationSet, int8: bool, progress: Progress | None
) -> dict[str, float]:
    """R@M by stage."""
    model = OnnxModel(folder, int8=int8)
    ranking = RankingSettings(full=(), weight=model.match_weight)
    settings = EvaluationSettings(splits=(SPLIT,))
    results = evaluate(model, data, settings, ranking, progress=progress).metrics[SPLIT]
    names = {"prerank": "pre-ranking", "two_stage": "two-stage"}
    return {label: results[key]["r_mean"] for key, label in names.items() if key in results}
