"""Make the index of a table: embed its images and its distinct texts.

The vectors of the images become columns of the table, those of the texts a table beside it. New
vectors are written into a staging table first. A run that was stopped continues from there, and a
table that has grown needs only its new rows. The column of a fragment is written once, when all
of its rows have their vectors.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.corpus.cluster.connection import check_nodes
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.runner import Runner, map_jobs, start
from r2d2.errors import R2D2Error
from r2d2.index import layout
from r2d2.index.calibrate import update_calibration
from r2d2.index.embed import (
    EmbedImages,
    EmbedTexts,
    int8_column,
    loaded,
    loaded_at,
    staged_schema,
    text_schema,
)
from r2d2.index.gallery.protocol import Floats
from r2d2.index.table_texts import texts_of
from r2d2.index.text.words import write_words
from r2d2.index.vectors.exact import scales_of
from r2d2.models import ImageTextModel, lasting_name, narrowed_model
from r2d2.native_write import write_whole
from r2d2.pretrained import Pretrained
from r2d2.progress import Update, bars
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash, text_key

log = logging.getLogger(__name__)

BLOCKS = 200  # into which the rows of a table are divided
BLOCK_ROWS = (128, 8192)  # the smallest and largest block; a stop loses the work on one block
TEXTS_AT_ONCE = 1024
SCALE_TEXTS = 4096  # texts that the scales of texts in int8 are computed from
SHOWN = 3  # images that a message names of each kind that was left out
WAVE = 64  # blocks of texts that are prepared before they are embedded


@dataclass(frozen=True)
class IndexReport:
    """The result of `build_index`."""

    images: StageCount  # new images: read, embedded, and why others were not embedded
    texts: StageCount | None  # new texts; None: they were not to be indexed
    rows: int  # of the table
    vectors: int  # of images that the table has now
    fingerprint: str


def build_index(
    table: str | Path,
    model: str | Path,
    *,
    texts: bool = True,
    runner: str | Runner = "native",
    workers: int | None = None,
    dim: int | None = None,
    store: str | None = None,
    overwrite: bool = False,
) -> IndexReport:
    """Embed the images and texts of a table that have no vector yet.

    Args:
        table: a pairs table; it gets two columns, and a table of texts beside it.
        model: a model as `r2d2.load` takes it; on a cluster, every worker must be able to read it.
        texts: whether the texts are indexed, too, for search by an image.
        runner: `native`, or `ray` for a cluster, where each worker has a model; or a runner that
            is there already.
        workers: of the cluster; None means as many as fit. One machine has one model, which uses
            all cores.
        dim: the width of the vectors; None means that of the index, or of the model where there
            is no index yet.
        store: `float32` or `int8`, which needs a quarter of the space; None means that of the
            index, or float32 where there is no index yet.
        overwrite: remove all vectors and make them anew.

    Raises:
        R2D2Error: there is no table or no model, the vectors are of another model, or another
            process indexes the table.
    """
    uri, name = PairsTable.open(table).path, lasting_name(model)
    with layout.indexing(uri):
        if dim is None and not overwrite:
            dim = _width_there(uri, loaded(name))
        net = loaded_at(name, dim)
        # On this machine one process with one model: torch takes all cores by itself.
        if isinstance(runner, Runner):
            runs = runner
        else:
            runs = start(runner, workers) if runner != "native" else Runner()
        if runs.cluster:
            check_nodes(Path(uri).parent if "://" not in uri else None, ["r2d2", "torch"])
        width = net.embed_dim
        new = layout.IndexInfo(net.fingerprint, width, store=store or layout.FLOAT32)
        _prepare(uri, new, store, overwrite)
        with bars() as update:
            images = _embed_images(uri, (name, dim), width, runs, update)
            text_count = _embed_texts(uri, (name, dim), width, runs, update) if texts else None
            if texts:
                write_words(uri, update)
        vectors = update_calibration(uri, net)
        rows = layout.existing_lance(uri).count_rows()
        return IndexReport(images, text_count, rows, vectors, net.fingerprint)


def _width_there(uri: str, model: ImageTextModel) -> int | None:
    """The width of an index that this model made with vectors that are cut; None: it made none."""
    dataset = layout.open_lance(uri)
    about = None if dataset is None else layout.read_index_info(dataset, uri)
    if about is None or not isinstance(model, Pretrained) or about.width >= model.embed_dim:
        return None
    narrow = narrowed_model(model, about.width, warn=False)
    return about.width if narrow.fingerprint == about.fingerprint else None


def _prepare(uri: str, new: layout.IndexInfo, store: str | None, overwrite: bool) -> None:
    """Add the columns, and note the model, so that no other model continues what this one began."""
    made_by, width = new.fingerprint, new.width
    dataset = layout.existing_lance(uri)
    about = layout.read_index_info(dataset, uri) if not overwrite else None
    if about is not None and about.fingerprint != made_by:
        raise R2D2Error(
            f"{uri} was indexed by another model ({about.fingerprint}, this one is {made_by}): "
            "give --overwrite to drop its vectors and make them anew"
        )
    if about is not None and store not in (None, about.store):
        raise R2D2Error(
            f"{uri} was indexed with vectors in {about.store}: leave --store {store} out, or give "
            "--overwrite to drop them and make them anew"
        )
    columns = layout.VECTOR, layout.BAD, layout.WORDS
    existing = [name for name in columns if name in dataset.schema.names]
    if about is None:
        drop(layout.texts_uri(uri))
        drop(layout.staging_uri(uri))
        if existing:
            dataset.drop_columns(existing)
        layout.write_index_info(dataset, new)
        existing = []
    if layout.VECTOR not in existing:
        kind = layout.vector_type(width, (about or new).store)
        dataset.add_columns(pa.schema([(layout.VECTOR, kind), (layout.BAD, pa.string())]))


def _embed_images(
    uri: str, model: tuple[str, int | None], width: int, runs: Runner, update: Update
) -> StageCount:
    staging = layout.staging_uri(uri)
    if layout.open_lance(staging) is not None:
        _put_in(uri, staging)  # the vectors of a run that was stopped
    dataset = layout.existing_lance(uri)
    todo = _row_numbers(dataset, layout.TODO)
    if not len(todo):
        return StageCount("index", "images", 0, 0)
    _create(staging, staged_schema(width))
    low, high = BLOCK_ROWS
    block = int(np.clip(-(-len(todo) // BLOCKS), low, high))
    jobs = [
        {"runs": json.dumps(_runs(todo[first : first + block]))}
        for first in range(0, len(todo), block)
    ]
    work = EmbedImages(model[0], uri, dataset.version, staging, model[1])
    row_progress = _in_rows(update, block, len(todo))
    counts = map_jobs(work, jobs, runs, "images", row_progress, holds_model=True)
    _put_in(uri, staging)
    return add_counts(counts)


def _in_rows(update: Update, block: int, total: int) -> Update:
    """Report progress in rows instead of blocks."""

    def in_rows(label: str, done: int, _: int) -> None:
        update(label, min(done * block, total), total)

    return in_rows


def _row_numbers(dataset: Any, condition: str) -> npt.NDArray[np.int64]:
    """The numbers of the rows that meet a condition, ascending."""
    addresses = (
        dataset.scanner(columns=[], with_row_address=True).to_table()[layout.ROW_ADDRESS].to_numpy()
    )
    chosen = dataset.scanner(columns=[], filter=condition, with_row_address=True).to_table()[
        layout.ROW_ADDRESS
    ]
    return np.searchsorted(addresses, np.sort(chosen.to_numpy())).astype(np.int64)


def _silent(*progress: object) -> None:
    pass


def _runs(rows: npt.NDArray[np.int64]) -> list[list[int]]:
    """Ascending row numbers as runs [first, stop] of consecutive ones."""
    ends = np.flatnonzero(np.diff(rows) != 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(rows, ends)]


def _put_in(uri: str, staging: str) -> None:
    """Write the staged vectors into the columns of the table, one commit for each fragment."""
    dataset, waiting = layout.existing_lance(uri), layout.existing_lance(staging)
    about = layout.existing_index_info(dataset, uri)
    if about.store == layout.INT8 and about.scales is None:
        about = _with_scales(dataset, about, _vectors_of(waiting))
        dataset = layout.existing_lance(uri)
    scales = None
    if about.store == layout.INT8:  # without scales all vectors are unusable, and any scale will do
        scales = np.array(about.scales or [1.0] * about.width, np.float32)
    for fragment in dataset.get_fragments():
        first = fragment.fragment_id << 32
        is_here = f"{layout.STAGED} >= {first} AND {layout.STAGED} < {first + (1 << 32)}"
        staged = waiting.to_table(filter=is_here)
        if not len(staged):
            continue
        if scales is not None:
            position = staged.schema.get_field_index(layout.VECTOR)
            column = int8_column(staged[layout.VECTOR].combine_chunks(), scales)
            staged = staged.set_column(position, layout.VECTOR, column)
        layout.update_fragment(uri, dataset.version, fragment, staged)
    drop(staging)


def _with_scales(
    dataset: Any, about: layout.IndexInfo, batches: Iterator[Floats]
) -> layout.IndexInfo:
    """Compute and store the scales of an index in int8, unless it has no usable vector."""
    scales = scales_of(batches)
    if scales is None:
        return about
    known = replace(about, scales=scales.tolist())
    layout.write_index_info(dataset, known)
    return known


def _vectors_of(waiting: Any) -> Iterator[Floats]:
    for batch in waiting.to_batches(columns=[layout.VECTOR], filter=f"{layout.VECTOR} IS NOT NULL"):
        yield layout.as_matrix(batch[layout.VECTOR])


def _embed_texts(
    uri: str, model: tuple[str, int | None], width: int, runs: Runner, update: Update
) -> StageCount:
    target = layout.texts_uri(uri)
    dataset_of_texts = layout.open_lance(target)
    dataset = layout.existing_lance(uri)
    about = layout.existing_index_info(dataset, uri)
    if dataset_of_texts is None:
        dataset_of_texts = _create(target, text_schema(width, about.store))
        new = layout.IndexInfo(about.fingerprint, width, store=about.store)
        layout.write_index_info(dataset_of_texts, new)
    info = layout.existing_index_info(dataset_of_texts, target)
    known = set(dataset_of_texts.to_table(columns=[layout.TEXT_KEY])[layout.TEXT_KEY].to_pylist())
    counts = [StageCount("index", "texts", 0, 0)]
    total = dataset.count_rows()

    def hand_out(texts: list[list[Any]], row: int) -> None:
        nonlocal info
        if info.store == layout.INT8 and info.scales is None:
            sample = [text for text, *_ in texts[:: -(-len(texts) // SCALE_TEXTS)]]
            vectors = loaded_at(*model).encode_texts(sample).embedding.float().cpu().numpy()
            info = _with_scales(layout.open_lance(target), info, iter([vectors]))
        scales = None if info.scales is None else tuple(info.scales)
        work = EmbedTexts(model[0], target, model[1], scales)
        jobs = [
            {"texts": json.dumps(texts[first : first + TEXTS_AT_ONCE])}
            for first in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        counts.extend(map_jobs(work, jobs, runs, "texts", _silent, holds_model=True))
        update("texts", row, total)

    waiting: list[list[Any]] = []
    row = 0
    for row, text, image_id, address in texts_of(dataset):
        key = key_hash(text_key(text))
        if key in known:
            continue
        known.add(key)
        waiting.append([text, key, image_id, address])
        if len(waiting) == WAVE * TEXTS_AT_ONCE:
            hand_out(waiting, row)
            waiting = []
    if waiting:
        hand_out(waiting, total)
    return add_counts(counts)


def _create(uri: str, schema: pa.Schema) -> Any:
    import lance

    return write_whole(lambda: lance.write_dataset(schema.empty_table(), uri, mode="create"))


def drop(uri: str) -> None:
    """Remove a Lance dataset if there is one."""
    import lance

    if "://" not in uri:
        shutil.rmtree(uri, ignore_errors=True)
    elif layout.open_lance(uri) is not None:
        with contextlib.suppress(OSError, ValueError):
            lance.LanceDataset.drop(uri)


def count_bad(counts: StageCount) -> str:
    """The rows that were left out, as `3 unreadable (such as p1, p2), 1 empty (such as p7)`."""
    return ", ".join(
        f"{count} {kind}" + (f" (such as {', '.join(names[:SHOWN])})" if names else "")
        for kind, count in sorted(counts.dropped.items())
        for names in (counts.examples.get(kind, ()),)
    )
