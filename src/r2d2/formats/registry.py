"""The formats that pairs are read from and written to: a new one is a line in FORMATS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from r2d2.data.emoji_art import TWEMOJI, parse_styles
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.formats import (
    aic_icc,
    boxes,
    caption_files,
    class_folders,
    cldr,
    img2dataset,
    own,
    parquet,
    query_sets,
    web_tables,
    webdataset,
    zero_corpus,
    zero_tasks,
)
from r2d2.formats.caption_files import CaptionFiles
from r2d2.formats.import_context import ImportContext
from r2d2.formats.notes import TableNotes, add_notes, notes_of
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import IdChanges, unique_ids
from r2d2.inputs.import_result import ImportResult
from r2d2.outputs import a_folder, a_table, check_outputs
from r2d2.progress import Update
from r2d2.settings import one_of
from r2d2.table import Pair, PairsTable, write_table
from r2d2.table_queries import table_outputs, write_queries

CHUNK = 256  # rows read at once
EXPORTED = re.compile(r"[0-9]+\.(tar|parquet)|" + re.escape(webdataset.NOTES))

LOCAL_ONLY = "query without an answer, which has its place beside a local table only"
BENCHMARK = "benchmark"  # in a table's metadata: the published set that it is
HELD_SHARE = 0.1  # of the texts of a format that can hold some out
SPLIT, CAPTION_COLUMN = "--split", "--caption-column"
HELD_OUT, STYLES = "--held-out", "--styles"

Notes = Callable[[Path], Iterator[tuple[str, str]]]  # where, text
PathReader = Callable[[Path, str, DroppedRows], Iterator[Pair]]  # path, split where none is given


@dataclass(frozen=True)
class Format:
    """How a format is read, and how it is written if it can be."""

    about: str
    expects: str  # the files, in a line
    read: Callable[[ImportContext], Iterator[Pair]]
    write: Callable[[Path, Iterable[Pair], TableNotes], int] | None = None
    held: Callable[[ImportContext], Iterator[Pair]] | None = None  # rows of the texts held out
    options: tuple[str, ...] = (SPLIT,)  # of `data import`, of those that not all formats take
    is_benchmark: bool = False  # whether its name is that of a published set; readers may say more


def _each(
    read: PathReader, notes: Notes | None = None
) -> Callable[[ImportContext], Iterator[Pair]]:
    """Make a reader of several paths; `notes` reads the metadata of all paths first."""

    def every(context: ImportContext) -> Iterator[Pair]:
        if notes is not None:
            add_notes(context, chain.from_iterable(map(notes, context.paths)))
        for path in context.paths:
            yield from read(path, context.split, context.dropped)

    return every


def _captions(about: str, files: CaptionFiles) -> Format:
    options = (SPLIT,) if files.split is None else ()  # of others the format names it
    return Format(
        about, files.expects(), partial(caption_files.read, files), options=options,
        is_benchmark=not files.benchmarks,
    )  # fmt: skip


def _zero(about: str, length: str, task: str) -> Format:
    read = partial(zero_tasks.read, length, task)
    return Format(about, zero_tasks.expects(length, task), read, is_benchmark=True)


def _queries(about: str, source: str, expects: str, is_benchmark: bool = False) -> Format:
    read = partial(query_sets.read, source, expects)
    return Format(about, expects, read, is_benchmark=is_benchmark)


def _web(about: str) -> Format:
    options = (SPLIT, CAPTION_COLUMN)
    return Format(about, web_tables.EXPECTS, web_tables.read, options=options)


FORMATS = {
    "icr": _zero("Zero's ICR: retrieval by captions", "long", "itr"),
    "iqr": _zero("Zero's IQR: retrieval by queries", "short", "itr"),
    "icm": _zero("Zero's ICM: matching of captions, labelled", "long", "itm"),
    "iqm": _zero("Zero's IQM: matching of queries, labelled", "short", "itm"),
    "zero-corpus": Format(
        "Zero-Corpus: titles, contents and queries of images", zero_corpus.EXPECTS, zero_corpus.read
    ),
    "flickr30k-cna": _captions(
        "Flickr30k-CNA: translated by linguists", caption_files.FLICKR30K_CNA
    ),
    "flickr30k-cn": _captions(
        "Flickr30k-CN: translated by machine, its test by people", caption_files.FLICKR30K_CN
    ),
    "flickr8k-cn": _captions(
        "Flickr8k-CN: captions by people, or translations", caption_files.FLICKR8K_CN
    ),
    "coco-cn": _captions("COCO-CN: captions by people, or translations", caption_files.COCO_CN),
    "aic-icc": Format(
        "AIC-ICC: captions of AI Challenger", aic_icc.EXPECTS, aic_icc.read, is_benchmark=True
    ),
    "muge": _queries("MUGE: queries and product pictures", "query", query_sets.MUGE, True),
    "chinese-clip": _queries(
        "any set in Chinese-CLIP's layout", "caption", query_sets.CHINESE_CLIP
    ),
    "wukong": _web("Wukong: captions of the web's pictures"),
    "danqing": _web("DanQing: captions of the web's pictures"),
    "taisu": _web("TaiSu: captions of the web's pictures"),
    "lit-cn": _captions("LIT-CN: long captions", caption_files.LIT_CN),
    "dci-cn": _captions("DCI-CN: long captions, translated", caption_files.TRANSLATED),
    "docci-cn": _captions("DOCCI-CN: long captions, translated", caption_files.TRANSLATED),
    "boxclass-cn": Format(
        "BoxClass-CN: boxes to be classified", boxes.EXPECTS, boxes.read, options=(),
        is_benchmark=True,
    ),
    "class-folders": Format(
        "a folder a class, with Chinese names", class_folders.EXPECTS, class_folders.read
    ),
    "own": Format("pictures and captions of one's own", own.EXPECTS, own.read, options=()),
    "webdataset": Format(
        "tar files of pictures with their texts", "*.tar: NAME.jpg, NAME.txt and NAME.json",
        _each(webdataset.read, webdataset.notes), webdataset.write,
    ),
    "parquet": Format(
        "Parquet files of pictures and texts", "*.parquet: a column image, one of caption or texts",
        _each(parquet.read, parquet.notes), parquet.write,
    ),
    "img2dataset": Format(
        "what img2dataset writes", "its output folder: tar files, folders or Parquet",
        _each(img2dataset.read),
    ),
    "cldr-annotations": Format(
        "the emoji corpus with the keywords of Unicode CLDR",
        "zh/annotations.json of npm packages cldr-annotations-full, cldr-annotations-derived-full",
        cldr.read, held=cldr.held, options=(HELD_OUT, STYLES),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TableImportOptions:
    """The options of an import; a format refuses those that it does not take."""

    split: str | None = None  # the split of rows whose files name none; None: train
    caption: str | None = None  # the column of captions, where a table has several
    held_out: str | Path | None = None  # a second table, for texts that are kept out of the first
    held_share: float | None = None  # the share of these texts, in (0, 1); None: HELD_SHARE
    styles: str | None = None  # how emoji are drawn, separated by commas; None: twemoji

    def given(self) -> dict[str, object]:
        """Return the options that not all formats take, with the values that were given."""
        values = {
            SPLIT: self.split, CAPTION_COLUMN: self.caption, HELD_OUT: self.held_out,
            STYLES: self.styles,
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


def import_table(
    paths: Sequence[str | Path],
    kind: str,
    out: str | Path,
    options: TableImportOptions = TableImportOptions(),
    *,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> ImportResult:
    """Write a pairs table from files of another format.

    Args:
        paths: files and folders.
        kind: one of FORMATS.
        out: the table to write.
        options: how the files are read.
        overwrite: whether tables at `out` and `options.held_out` are replaced.
        update: is told the progress.

    Raises:
        R2D2Error: a path does not exist, the format is unknown or does not take an option, or no
            row can be used.
    """
    one_of("FORMAT", kind, tuple(FORMATS))
    chosen = FORMATS[kind]
    held_out, held_share = options.held_out, options.held_share
    for option in options.given():
        if option not in chosen.options:
            able = ", ".join(name for name, entry in FORMATS.items() if option in entry.options)
            raise R2D2Error(f"{kind} does not take {option}: leave it out; formats that do: {able}")
    if not paths:
        raise R2D2Error(f"no path given: {kind} wants {chosen.expects}")
    if held_share is not None and held_out is None:
        raise R2D2Error("--held-share goes with --held-out: leave it out, or name a second table")
    art = parse_styles(TWEMOJI if options.styles is None else options.styles)
    outputs = table_outputs(out)
    if held_out is not None:
        outputs.append(a_table(held_out, HELD_OUT))
    check_outputs(outputs, inputs=paths, overwrite=overwrite)
    for path in paths:
        if not Path(path).exists():
            raise R2D2Error(f"there is nothing at {path}: give a file or a folder")
    share = 0.0
    if held_out is not None:
        share = HELD_SHARE if held_share is None else held_share
        if not 0 < share < 1:
            raise R2D2Error(f"--held-share is {share}: give a share between 0 and 1, such as 0.1")
    result = ImportResult()
    context = ImportContext(
        tuple(map(Path, paths)),
        options.split or "train",
        options.caption,
        art,
        share,
        result.dropped,
        result.renamed,
    )

    def pairs() -> Iterator[Pair]:
        for pair in result.counted(read_rows(kind, context)):
            if result.rows % CHUNK == 0:
                update("importing", result.rows, None)
            yield pair
        if not result.rows:
            why = result.dropped.reasons() or "nothing in it"
            shown = ", ".join(map(str, paths))
            raise R2D2Error(f"{shown} gives not one row as {kind} ({why}): is it of this format?")

    rows = pairs()
    first = next(rows)  # reading the first row fills in the metadata
    if chosen.is_benchmark:
        context.metadata[BENCHMARK] = kind
    write_table(out, chain([first], rows), overwrite=overwrite, metadata=context.metadata)
    if "://" not in str(out):
        write_queries(out, context.queries)
        result.queries = len(context.queries)
    elif context.queries:
        result.dropped.add(LOCAL_ONLY, f"query {context.queries[0].text_id}", len(context.queries))
    if held_out is not None and chosen.held is not None:
        rows = chosen.held(context)
        result.held = write_table(held_out, rows, overwrite=overwrite, metadata=context.metadata)
    return result


def is_export(folder: Path) -> bool:
    """Whether a folder holds nothing but what `export_table` writes."""
    return all(EXPORTED.fullmatch(file.name) for file in folder.iterdir())


def read_rows(kind: str, context: ImportContext) -> Iterator[Pair]:
    """Yield the rows of a format's files with unique ids; `context` counts what is left out."""
    return unique_ids(FORMATS[kind].read(context), IdChanges(context.dropped, context.renamed))


def export_table(
    table: PairsTable, kind: str, out: str | Path, *, split: str | None = None,
    overwrite: bool = False, update: Update = lambda *arguments: None,
) -> int:  # fmt: skip
    """Write a table, or one split of it, in another format, and return the number of rows.

    The folder appears when all of it is written, or not at all. The columns of a pairs table, its
    metadata and its queries go along; other columns, such as vectors, do not.

    Raises:
        R2D2Error: an unknown format, one that is only read, or a folder that is not empty.
    """
    one_of("--format", kind, tuple(FORMATS))
    write = FORMATS[kind].write
    if write is None:
        able = ", ".join(name for name, entry in FORMATS.items() if entry.write)
        raise R2D2Error(f"{kind} is only read: choose of {able}")
    check_outputs([a_folder(out, is_export)], inputs=[table.path], overwrite=overwrite)
    rows = table.rows(split)
    pairs = table.stream(rows, batch_rows=CHUNK, stage="exporting", update=update)
    with whole_folder(Path(out)) as work:
        return write(work, pairs, notes_of(table, split))
