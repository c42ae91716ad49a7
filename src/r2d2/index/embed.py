"""Embed a block of rows or texts and store the vectors, also in a worker of a cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.runner import REPEATED
from r2d2.data.preprocessing import Pixels
from r2d2.images.decode import BadImage
from r2d2.index import layout
from r2d2.index.gallery.protocol import Floats
from r2d2.index.vectors.exact import to_int8
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.models import ImageTextModel, load, narrowed_model
from r2d2.native_write import write_whole
from r2d2.tensor_cores import allow_tensor_cores
from r2d2.vectors import NO_DIRECTION, refuse_without_direction, without_direction

FILES_AT_ONCE = 128  # files of images in memory


def staged_schema(width: int) -> pa.Schema:
    """The columns of the table of vectors that wait for being written."""
    vector = (layout.VECTOR, layout.vector_type(width))
    return pa.schema([(layout.STAGED, pa.uint64()), vector, (layout.BAD, pa.string())])


def text_schema(width: int, store: str = layout.FLOAT32) -> pa.Schema:
    """The columns of the table of texts."""
    return pa.schema(
        [
            (layout.TEXT, pa.string()),
            (layout.TEXT_KEY, pa.int64()),
            (layout.IMAGE_ID, pa.string()),
            (layout.ADDRESS, pa.uint64()),
            (layout.TEXT_VECTOR, layout.vector_type(width, store)),
        ]
    )


@lru_cache(maxsize=1)
def loaded(model: str) -> ImageTextModel:
    """A model, which a process loads once."""
    opened = load(model)
    allow_tensor_cores(opened)
    return opened


@lru_cache(maxsize=1)
def loaded_at(model: str, dim: int | None) -> ImageTextModel:
    """The model with embeddings of `dim` numbers, or of all; R2D2Error where it cannot be cut."""
    return loaded(model) if dim is None else narrowed_model(loaded(model), dim)


@dataclass(frozen=True)
class EmbedImages:
    """Embeds the images of rows, and writes the vectors into the staging table."""

    model: str
    table: str
    version: int
    staging: str
    dim: int | None = None  # numbers of an embedding; None: all

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Embed the rows of a job, whose `runs` are JSON: [[first, stop], ...]."""
        import lance

        rows = [row for first, stop in json.loads(job["runs"]) for row in range(first, stop)]
        dataset = lance.dataset(self.table, version=self.version)
        model = loaded_at(self.model, self.dim)
        bad = DroppedRows()
        tables = []
        for start in range(0, len(rows), FILES_AT_ONCE):
            part = rows[start : start + FILES_AT_ONCE]
            taken = dataset.take(part, columns=["image_id", "image", layout.ROW_ADDRESS])
            kinds: list[str | None] = []
            pixels: list[Pixels] = []
            for file in taken["image"].to_pylist():
                try:
                    pixels.append(model.read(file or b""))
                    kinds.append(None)
                except BadImage as error:
                    kinds.append(error.kind)
            vectors = np.empty((0, model.embed_dim), np.float32)
            if pixels:
                made = model.encode_pixels(pixels).embedding.float().cpu().numpy()
                vectors = _with_direction(made, kinds)
            for image_id, kind in zip(taken["image_id"].to_pylist(), kinds, strict=True):
                if kind is not None:
                    bad.add(kind, image_id or "no image_id")
            column = layout.vector_column(vectors, np.array([kind is None for kind in kinds], bool))
            addresses = taken[layout.ROW_ADDRESS].combine_chunks()
            arrays = [addresses, column, pa.array(kinds, pa.string())]
            tables.append(pa.Table.from_arrays(arrays, schema=staged_schema(model.embed_dim)))
        _append(self.staging, pa.concat_tables(tables), layout.STAGED, job)
        kept = len(rows) - bad.total
        return StageCount(
            "index", "images", len(rows), kept, dict(bad.counts), bad.first_examples()
        )


@dataclass(frozen=True)
class EmbedTexts:
    """Embeds distinct texts, and writes them with their vectors into the table of texts."""

    model: str
    table: str
    dim: int | None = None
    scales: tuple[float, ...] | None = None  # (d,) for vectors in int8; None: they are in float32

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Embed the texts of a job: `texts` is JSON, [[text, key, image id, address], ...]."""
        rows = json.loads(job["texts"])
        texts, keys, ids, addresses = (list(column) for column in zip(*rows, strict=True))
        model = loaded_at(self.model, self.dim)
        vectors = model.encode_texts(texts).embedding.float().cpu().numpy()
        refuse_without_direction(vectors, "texts", texts)
        width, store = vectors.shape[1], layout.FLOAT32 if self.scales is None else layout.INT8
        if self.scales is not None:
            vectors = to_int8(vectors, np.array(self.scales, np.float32))
        column = layout.vector_column(vectors)
        arrays = [pa.array(texts), pa.array(keys, pa.int64()), pa.array(ids, pa.string()),
                  pa.array(addresses, pa.uint64()), column]  # fmt: skip
        table = pa.Table.from_arrays(arrays, schema=text_schema(width, store))
        _append(self.table, table, layout.TEXT_KEY, job)
        return StageCount("index", "texts", len(texts), len(texts))


def _append(uri: str, rows: pa.Table, key: str, job: dict[str, str]) -> None:
    """Append the rows of a job, unless an earlier attempt of the job has appended them."""
    import lance

    if REPEATED in job and len(rows):
        first = rows[key][0].as_py()
        if lance.dataset(uri).count_rows(filter=f"{key} = {first}"):
            return
    write_whole(lambda: lance.write_dataset(rows, uri, mode="append"))


def _with_direction(vectors: Floats, kinds: list[str | None]) -> Floats:
    """The vectors that have a direction; sets `kinds` of the others.

    Args:
        vectors: (m, d), of the m entries of `kinds` that are None.
        kinds: (n,) why a row has no vector, or None.
    """
    bad = without_direction(vectors)
    good = [number for number, kind in enumerate(kinds) if kind is None]
    for number in np.flatnonzero(bad).tolist():
        kinds[good[number]] = NO_DIRECTION
    return vectors[~bad]


def int8_column(column: Any, scales: Floats) -> pa.Array:
    """A column of float32 vectors in int8; nulls stay null."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return layout.vector_column(to_int8(layout.as_matrix(column.drop_null()), scales), valid)
