"""Embeddings that another program made, found by image id and by text.

images.npy (n, d) and image_ids.json, a list of n ids, or images.parquet: image_id, embedding
texts.npy (m, d) and texts.json, a list of m texts, or texts.parquet: text, embedding
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.inputs.json_text import read_json
from r2d2.inputs.values import BadValueError, name_value
from r2d2.model.encoded_states import EncodedStates, embedded

Matrix = NDArray[np.float32]
SIDES = {"images": ("image_ids.json", "image_id"), "texts": ("texts.json", "text")}


class PrecomputedEmbeddings:
    """A `DualEncoder` that knows its images by id; rows of the matrices are read when needed."""

    has_match = False

    def __init__(
        self, images: Matrix, image_ids: Sequence[str], texts: Matrix, sentences: Sequence[str]
    ) -> None:
        self.images, self.texts = images, texts
        self.image_row = {name: row for row, name in enumerate(image_ids)}
        self.text_row = {text: row for row, text in enumerate(sentences)}

    def knows(self, image_id: str) -> bool:
        """Whether there is an embedding."""
        return image_id in self.image_row

    def known_images(self, image_ids: Sequence[str]) -> EncodedStates:
        """The embeddings of images it knows."""
        return _side(self.images, [self.image_row[name] for name in image_ids])

    def encode_images(self, images: Sequence[Image.Image]) -> EncodedStates:
        """Not available: raises R2D2Error."""
        raise R2D2Error("precomputed embeddings know images by their id only")

    def encode_texts(self, texts: Sequence[str]) -> EncodedStates:
        """The embeddings of texts.

        Raises:
            R2D2Error: one of them is missing. Leaving it out would make another benchmark.
        """
        missing = [text for text in texts if text not in self.text_row]
        if missing:
            raise R2D2Error(
                f"there is no embedding of the text {missing[0][:40]!r}: give one for every text "
                "of the splits that are measured"
            )
        return _side(self.texts, [self.text_row[text] for text in texts])

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """Not available: raises R2D2Error."""
        raise R2D2Error("precomputed embeddings have no match head")


def is_there(folder: Path) -> bool:
    """Whether a folder holds embeddings."""
    return any((folder / f"images.{end}").is_file() for end in ("npy", "parquet"))


def read(folder: Path) -> PrecomputedEmbeddings:
    """Read a folder that `write` wrote, or that has the same layout.

    Raises:
        R2D2Error: a file is missing, damaged, or does not fit the others.
    """
    images, image_ids = _read_side(folder, "images")
    texts, sentences = _read_side(folder, "texts")
    if images.shape[1] != texts.shape[1]:
        raise R2D2Error(
            f"{folder}: images have {images.shape[1]} numbers and texts {texts.shape[1]}: "
            "give embeddings of one model"
        )
    return PrecomputedEmbeddings(images, image_ids, texts, sentences)


def write(
    folder: Path, images: Matrix, image_ids: Sequence[str], texts: Matrix, sentences: Sequence[str]
) -> None:
    """Write the four files, whole or not at all."""
    with whole_folder(folder) as work:
        for name, matrix, names in (("images", images, image_ids), ("texts", texts, sentences)):
            np.save(work / f"{name}.npy", matrix, allow_pickle=False)
            text = json.dumps(list(names), ensure_ascii=False)
            (work / SIDES[name][0]).write_text(text, encoding="utf-8")


def _read_side(folder: Path, name: str) -> tuple[Matrix, list[str]]:
    listing, column = SIDES[name]
    array, table = folder / f"{name}.npy", folder / f"{name}.parquet"
    try:
        if array.is_file():
            matrix = np.load(array, mmap_mode="r", allow_pickle=False)
            names = read_json(folder / listing, "give a JSON list")
        else:
            matrix, names = _read_parquet(table, column)
    except (OSError, ValueError, KeyError) as error:
        raise R2D2Error(
            f"{folder} has no readable embeddings of its {name} ({error}): give {name}.npy with "
            f"{listing}, or {name}.parquet with the columns {column} and embedding"
        ) from error
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        raise R2D2Error(f"{folder}/{name}.npy is {matrix.dtype} {matrix.shape}: give floats (n, d)")
    if not isinstance(names, list) or len(names) != len(matrix):
        raise R2D2Error(f"{folder}: {len(matrix)} embeddings of {name}, but not as many names")
    return matrix, [_name(folder, name, row, value) for row, value in enumerate(names)]


def _name(folder: Path, side: str, row: int, value: object) -> str:
    """An image id, or a text; R2D2Error where the value is neither."""
    try:
        name = name_value(value)
    except BadValueError as error:
        raise R2D2Error(f"{folder}: {side}, item {row + 1}: {error}: {error.shown}") from error
    if name is None:
        raise R2D2Error(f"{folder}: {side}, item {row + 1} has no name: give one for each row")
    return name


def _read_parquet(path: Path, column: str) -> tuple[Matrix, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=[column, "embedding"])
    flat = pa.concat_arrays([chunk.flatten() for chunk in table["embedding"].chunks])
    matrix = flat.cast(pa.float32()).to_numpy(zero_copy_only=False)
    return matrix.reshape(len(table), -1), table[column].to_pylist()


def _side(matrix: Matrix, rows: list[int]) -> EncodedStates:
    return embedded(torch.from_numpy(np.asarray(matrix[rows], dtype=np.float32)))
