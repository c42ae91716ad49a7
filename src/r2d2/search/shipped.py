"""Write the vectors and the calibration of the emoji corpus that the package ships.

`r2d2.index.gallery.emoji` reads them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from r2d2.data.emoji import emoji_pairs
from r2d2.errors import R2D2Error
from r2d2.files import write_bytes
from r2d2.index.calibrate import calibrate
from r2d2.index.gallery.emoji import CALIBRATION_FILE, INDEX, EmojiGallery
from r2d2.models import ImageTextModel, load
from r2d2.saved_model import shipped_folder


def write_shipped_index(model: str | Path, out: str | Path | None = None) -> Path:
    """Write the vectors of the corpus, in float16, and their calibration.

    Args:
        model: the folder of the model.
        out: the folder of the files; None means that of the shipped model.

    Returns:
        The file of the vectors.
    """
    loaded = load(model)
    pairs = emoji_pairs()
    made = EmojiGallery.make(loaded)
    tensors = {
        "images": torch.from_numpy(made.images.take(np.arange(len(made)))).half(),
        "texts": torch.from_numpy(made.texts.take(made.text_rows)).half(),
    }
    rows = [[p.image_id, p.split, [text.text_id for text in p.texts]] for p in pairs]
    about = {"fingerprint": made.fingerprint, "rows": json.dumps(rows, separators=(",", ":"))}
    folder = shipped_folder() if out is None else Path(out)
    file = folder / INDEX
    write_bytes(file, save(tensors, metadata=about))
    write_calibration(loaded, folder)
    return file


def write_calibration(model: ImageTextModel, folder: Path | None = None) -> Path:
    """Write the calibration of the shipped vectors, and return its file.

    R2D2Error where another model made the vectors.
    """
    folder = shipped_folder() if folder is None else folder
    gallery = EmojiGallery.shipped(model, folder)
    if gallery is None:
        raise R2D2Error(f"{folder / INDEX} is not of this model: write_shipped_index makes it")
    file = folder / CALIBRATION_FILE
    write_bytes(file, calibrate(model, gallery).to_json().encode())
    return file
