"""Where an index is stored: in columns of the pairs table, and in a table of texts beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.errors import R2D2Error
from r2d2.files import sole_process
from r2d2.native_write import write_whole

# float32 of unit length, or int8 (see `IndexInfo.store`); null: unusable, or not embedded yet
VECTOR = "image_vector"
BAD = "image_vector_bad"  # why a row has no vector; null: it has one, or is not embedded yet
WORDS = "image_words"  # terms of the texts, joined by spaces; null: not indexed yet
HAS_BAD = f"{BAD} IS NOT NULL"
TODO = f"{VECTOR} IS NULL AND {BAD} IS NULL"
TEXT, TEXT_KEY, TEXT_VECTOR = "text", "text_key", "text_vector"
IMAGE_ID, ADDRESS = "image_id", "image_address"  # in the table of texts: an image with this text
ROW_ADDRESS = "_rowaddr"  # Lance's name, which no column may have
STAGED = "row_address"  # in the table of vectors that wait for being written
ABOUT = "r2d2.index"  # in the metadata of both tables
CALIBRATION = "r2d2.calibration"  # in the metadata of the pairs table; see `calibration`
FLOAT32, INT8 = STORES = ("float32", "int8")  # the type of the numbers of a vector
LOCK = ".indexing.lock"  # in the table's folder


@dataclass(frozen=True)
class IndexInfo:
    """The properties of an index, which the metadata of its tables hold."""

    fingerprint: str  # of the model
    width: int  # d
    probes: int | None = None  # partitions that an approximate search reads
    refine: int | None = None  # an approximate search compares refine x k vectors exactly
    store: str = FLOAT32  # or int8; see `vectors/exact.py`
    scales: list[float] | None = None  # (d,) of vectors in int8; None before the first vectors


def base_name(uri: str) -> str:
    """The last part of a path, for readers who need not know the folder: pairs.lance."""
    return uri.rstrip("/").rpartition("/")[2]


def texts_uri(uri: str) -> str:
    """The table of the texts of a table: pairs.texts.lance beside pairs.lance."""
    return _beside(uri, "texts")


def staging_uri(uri: str) -> str:
    """The table of vectors that wait for being written into the table: pairs.indexing.lance."""
    return _beside(uri, "indexing")


@contextmanager
def indexing(uri: str) -> Iterator[None]:
    """Lock a table against a second `r2d2 index`; a table in an object store has no lock.

    Raises:
        R2D2Error: another process indexes the table.
    """
    if "://" in uri:
        yield
        return
    with sole_process(Path(uri) / LOCK, f"indexes {uri}: wait for it, or end it, then try again"):
        yield


def _beside(uri: str, word: str) -> str:
    bare = uri.rstrip("/")
    stem = bare.removesuffix(".lance")
    return f"{stem}.{word}.lance" if stem != bare else f"{bare}.{word}"


def vector_type(width: int, store: str = FLOAT32) -> pa.DataType:
    """The Arrow type of a vector of `width` numbers."""
    return pa.list_(pa.int8() if store == INT8 else pa.float32(), width)


def vector_column(vectors: Any, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Vectors, (m, d) in float32 or int8, as a column.

    Args:
        vectors: the m vectors.
        valid: (n,) with m true values: the rows of the column that have a vector. The others are
            null. None means that all rows have one.
    """
    width = vectors.shape[1]
    if valid is not None:
        filled = np.zeros((len(valid), width), vectors.dtype)
        filled[valid] = vectors
        vectors = filled
    kind = pa.list_(pa.from_numpy_dtype(vectors.dtype), width)
    mask = None if valid is None else pa.array(~valid)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind, mask=mask)


def as_matrix(column: pa.Array) -> Any:
    """A column of vectors without nulls as an array (n, d) of its own type."""
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def read_index_info(dataset: Any, uri: str) -> IndexInfo | None:
    """The properties of an index; None where there is none, R2D2Error where they are damaged."""
    stored = (dataset.metadata or {}).get(ABOUT)
    if stored is None:
        return None
    try:
        return IndexInfo(**json.loads(stored))
    except (ValueError, TypeError) as error:
        raise R2D2Error(
            f"the index of {uri} is of another version ({error}): make it anew by "
            "`r2d2 index --overwrite`"
        ) from error


def existing_index_info(dataset: Any, uri: str) -> IndexInfo:
    """The properties of an index; R2D2Error where there is none."""
    info = read_index_info(dataset, uri)
    if info is None:
        raise R2D2Error(f"the index of {uri} is gone: make it anew by `r2d2 index`")
    return info


def write_index_info(dataset: Any, about: IndexInfo) -> None:
    """Store the properties of an index in the metadata of a table."""
    dataset.update_metadata({ABOUT: json.dumps(asdict(about))})


def update_fragment(uri: str, version: int, fragment: Any, values: pa.Table) -> Any:
    """Write columns of a fragment in one commit.

    Args:
        uri: the table.
        version: of the table, that the commit builds on.
        fragment: of Lance.
        values: the columns, with the addresses of the rows in the column `STAGED`.

    Returns:
        The dataset after the commit.
    """
    import lance

    change = partial(fragment.update_columns, values, left_on=ROW_ADDRESS, right_on=STAGED)
    changed, fields = write_whole(change)
    operation = lance.LanceOperation.Update(updated_fragments=[changed], fields_modified=fields)
    return lance.LanceDataset.commit(uri, operation, read_version=version)


def open_lance(uri: str) -> Any | None:
    """The newest version of a Lance dataset; None where there is none."""
    import lance

    try:
        return lance.dataset(uri)
    except (ValueError, OSError):
        return None


def existing_lance(uri: str) -> Any:
    """The newest version of a Lance dataset; R2D2Error where there is none."""
    dataset = open_lance(uri)
    if dataset is None:
        raise R2D2Error(f"there is no table at {uri}: was it removed meanwhile?")
    return dataset
