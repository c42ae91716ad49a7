"""Where an index lies: two columns of the pairs table, and a table of its texts beside it."""

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

# float32, of unit length, or int8 (see `IndexInfo.store`); null: bad, or not embedded yet
VECTOR = "image_vector"
BAD = "image_vector_bad"  # why there is no vector; null: there is one, or not embedded yet
WORDS = "image_words"  # the terms of its texts, with spaces between; null: not indexed yet
HAS_BAD = f"{BAD} IS NOT NULL"
TODO = f"{VECTOR} IS NULL AND {BAD} IS NULL"
TEXT, TEXT_KEY, TEXT_VECTOR = "text", "text_key", "text_vector"
IMAGE_ID, ADDRESS = "image_id", "image_address"  # in the table of texts: an image that has it
ROW_ADDRESS = "_rowaddr"  # as Lance calls it; a name that no column may have
STAGED = "row_address"  # in the table of vectors that are not in the pairs table yet
ABOUT = "r2d2.index"  # in the metadata of both tables
CALIBRATION = "r2d2.calibration"  # in the metadata of the pairs table; see `calibration`
FLOAT32, INT8 = STORES = ("float32", "int8")  # how a number of a vector is kept
LOCK = ".indexing.lock"  # in the table's folder


@dataclass(frozen=True)
class IndexInfo:
    """What an index says of itself."""

    fingerprint: str  # of the model
    width: int  # d
    probes: int | None = None  # partitions that an approximate search looks into
    refine: int | None = None  # times k that it compares exactly
    store: str = FLOAT32  # or int8; see `vectors/exact.py`
    scales: list[float] | None = None  # (d,) of int8; None: not known before the first vectors


def base_name(uri: str) -> str:
    """/data/pairs.lance: pairs.lance. For those who need not know where it lies."""
    return uri.rstrip("/").rpartition("/")[2]


def texts_uri(uri: str) -> str:
    """pairs.lance: pairs.texts.lance."""
    return _beside(uri, "texts")


def staging_uri(uri: str) -> str:
    """Vectors that are not in the table yet: pairs.indexing.lance."""
    return _beside(uri, "indexing")


@contextmanager
def indexing(uri: str) -> Iterator[None]:
    """Keep a second `r2d2 index` off a table; one in an object store has no locks.

    Raises:
        R2D2Error: another process is at it.
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
    """(d,) float32, or int8."""
    return pa.list_(pa.int8() if store == INT8 else pa.float32(), width)


def vector_column(vectors: Any, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Vectors (m, d) in float32 or int8 as a column.

    `valid` (n,): which rows of the column have one of the m vectors, the others are null; None:
    all of them.
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
    """A column of vectors without nulls as (n, d), in its own type."""
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def read_index_info(dataset: Any, uri: str) -> IndexInfo | None:
    """None where there is no index; R2D2Error where what is there is damaged."""
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
    """What an index says of itself; R2D2Error where there is none."""
    info = read_index_info(dataset, uri)
    if info is None:
        raise R2D2Error(f"the index of {uri} is gone: make it anew by `r2d2 index`")
    return info


def write_index_info(dataset: Any, about: IndexInfo) -> None:
    """Set it."""
    dataset.update_metadata({ABOUT: json.dumps(asdict(about))})


def update_fragment(uri: str, version: int, fragment: Any, values: pa.Table) -> Any:
    """Write columns of a fragment in one commit on a version; gives the dataset after it.

    `values` has the columns, and the address of each of its rows as `STAGED`.
    """
    import lance

    change = partial(fragment.update_columns, values, left_on=ROW_ADDRESS, right_on=STAGED)
    changed, fields = write_whole(change)
    operation = lance.LanceOperation.Update(updated_fragments=[changed], fields_modified=fields)
    return lance.LanceDataset.commit(uri, operation, read_version=version)


def open_lance(uri: str) -> Any | None:
    """A Lance dataset as it stands now; None where there is none."""
    import lance

    try:
        return lance.dataset(uri)
    except (ValueError, OSError):
        return None


def existing_lance(uri: str) -> Any:
    """A Lance dataset as it stands now; R2D2Error where there is none."""
    dataset = open_lance(uri)
    if dataset is None:
        raise R2D2Error(f"there is no table at {uri}: was it removed meanwhile?")
    return dataset
