"""Finding click logs and reading them in chunks: Parquet, CSV, JSONL, Lance; local or by URL.

A log is cut into pieces: a file, or some row groups or fragments of one. Whatever its format, a
piece is read as chunks of bounded size whose columns bear the names of `LogConfig`.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from r2d2.corpus.clicks.batches import is_plain
from r2d2.corpus.clicks.lines import head_columns, read_lines
from r2d2.corpus.clicks.log_columns import (
    ADDED_COLUMNS,
    ROW_NUMBER,
    is_text,
    log_columns,
    text_image_role,
)
from r2d2.corpus.clicks.log_files import (
    PACKED,
    list_urls,
    open_file,
    open_parquet,
    reading,
    unpacked,
)
from r2d2.corpus.clicks.pairs_log import (
    chosen_fragments,
    is_pairs_table,
    numbered_rows,
    pairs_columns,
    read_pairs_table,
)
from r2d2.corpus.clicks.text_cuts import LINE_FORMATS, lines_before, open_cut
from r2d2.corpus.config import CorpusConfig, LogConfig
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows

log = logging.getLogger(__name__)

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".lance": "lance",
}
PAIRS = "pairs table"  # a Lance dataset of that kind
HEAD_ROWS = 100  # whose images tell what a column of text holds
PIECE_ROWS = 1 << 20  # of a Parquet file, before it is cut between row groups
READ_ROWS = 128 << 10  # read at a time: more are slower, for their memory is new each time ...
READ_BYTES = 32 << 20  # ... or fewer, where rows are large


def find_logs(logs: Sequence[str]) -> list[str]:
    """Every file of the logs, in order; a Lance dataset counts as a file.

    Args:
        logs: files, folders (searched to the bottom), globs, or URLs of them.

    Raises:
        R2D2Error: nothing is there, or a file's ending tells no format.
    """
    files_of_logs: list[str] = []
    for place in logs:
        files = _remote(place) if "://" in place else _local(place)
        if not files:
            raise R2D2Error(
                f"no log at {place}: give files, folders or globs of {', '.join(FORMATS)}"
            )
        files_of_logs += files
    return sorted(set(files_of_logs))


def plan(files: Sequence[str], config: CorpusConfig) -> list[dict[str, str]]:
    """The pieces that the logs are read in, as jobs.

    Raises:
        R2D2Error: a file lacks a column that is needed, or a column is of a type that does not
            serve, or there is nothing to rank by.
    """
    ranked = False
    pieces: list[dict[str, str]] = []
    unused_splits = []
    for file in files:
        with reading(file):
            log_file = _look(file)
        kind, fields = log_file.kind, log_file.fields
        if not fields:
            continue  # an empty file
        # the columns of a pairs table have their own names, whatever those of other logs are
        own = replace(config, log=LogConfig()) if kind == PAIRS else config
        columns = log_columns(file, fields, own)
        ranked = ranked or "clicks" in columns
        if kind == PAIRS or "split" in set(fields) - set(columns.values()):
            unused_splits.append(file)
        piece = {
            "file": file,
            "format": kind,
            "columns": json.dumps(columns),
            "folder": posixpath.dirname(file),  # in which a path of the log is looked up
        }
        if log_file.cuts and "image" in columns and is_text(fields[columns["image"]]):
            first = {**piece, "cut": json.dumps(log_file.cuts[0]), "before": "0"}
            columns = _named_images(first, columns)
            piece["columns"] = json.dumps(columns)
        piece["plain"] = _plain(log_file, columns) if "://" not in file else ""
        pieces += [
            {
                **piece,
                "cut": json.dumps(cut),
                "rows": "" if rows is None else str(rows),
                "before": str(before),
            }
            for cut, rows, before in zip(log_file.cuts, log_file.rows, log_file.before, strict=True)
        ]
    if not pieces:
        raise R2D2Error(
            f"the logs hold no rows that can be read ({', '.join(files[:3])}"
            f"{', ...' if len(files) > 3 else ''}): give others"
        )
    if unused_splits:
        log.warning(
            "the column 'split' of %s is not used: what is held out is drawn by sample.splits; "
            "leave out what is a test set",
            ", ".join(unused_splits[:3]) + (", ..." if len(unused_splits) > 3 else ""),
        )
    if config.rank.active and not ranked:
        raise R2D2Error(
            f"no log has clicks to rank by (there is no column {config.log.clicks!r} beside "
            f"{config.log.query!r}): map it by --set log.clicks=NAME, or --set rank.enabled=false"
        )
    return pieces


def with_ranking(config: CorpusConfig, files: Sequence[str]) -> CorpusConfig:
    """The settings, with `rank.enabled` decided by the logs where it was left open.

    Logs without any query are ranked by nothing, unless a cut by rate is asked for.
    """
    if config.rank.enabled is not None:
        return config
    asked = config.rank.cuts or bool(config.rank.examination)
    return replace(config, rank=replace(config.rank, enabled=asked or _any_query(files, config)))


def _any_query(files: Sequence[str], config: CorpusConfig) -> bool:
    for file in files:
        with reading(file):
            log_file = _look(file)
        kind, fields = log_file.kind, log_file.fields
        if ("query" if kind == PAIRS else config.log.query) in fields:
            return True
    return False


def _named_images(piece: Mapping[str, str], columns: dict[str, str]) -> dict[str, str]:
    """The columns with text in `image` as what it is: base64, or paths, or addresses."""
    name = columns["image"]
    alone = {**piece, "columns": json.dumps({"image": name})}
    values: list[str] = []
    for chunk in read_piece(alone, DroppedRows()):
        values += chunk["image"].slice(0, HEAD_ROWS).cast(pa.string()).drop_null().to_pylist()
        if len(values) >= HEAD_ROWS:
            break
    role = text_image_role(values)
    if role == "image" or role in columns:
        return columns
    return {role if key == "image" else key: column for key, column in columns.items()}


def read_piece(piece: Mapping[str, str], dropped: DroppedRows) -> Iterator[pa.Table]:
    """Chunks of a piece, their columns named as in `LogConfig`, with the ROW_NUMBER of each row.

    Malformed lines go to `dropped`.
    """
    file, kind = piece["file"], piece["format"]
    columns: dict[str, str] = json.loads(piece["columns"])
    cut: list[int] = json.loads(piece["cut"])
    before = int(piece["before"])
    roles = {name: role for role, name in columns.items()}
    with reading(file):
        batches: Iterable[pa.RecordBatch]
        if kind == "parquet":
            batches = numbered_rows(_parquet(file, cut, columns), before)
        elif kind == PAIRS:
            import lance

            batches = read_pairs_table(lance.dataset(file), cut, before, columns, dropped, file)
        elif kind == "lance":
            batches = numbered_rows(_lance(file, cut, columns), before)
        else:
            header = kind != "jsonl"
            with open_file(file) as stream:
                text = open_cut(unpacked(stream, file), cut, header)
                yield from read_lines(text, kind, columns, dropped, file, lines_before(cut, header))
            return
        for batch in batches:
            yield pa.Table.from_batches([batch]).rename_columns(
                [*(roles[name] for name in batch.schema.names[:-1]), ROW_NUMBER]
            )


def log_format(file: str) -> str | None:
    """The format of a file or URL by its ending, one of FORMATS; None: there is no such one."""
    name, ending = posixpath.splitext(file.rstrip("/"))
    packed = ending in PACKED
    kind = FORMATS.get((posixpath.splitext(name)[1] if packed else ending).lower())
    return None if packed and kind not in LINE_FORMATS else kind


def _local(log: str) -> list[str]:
    paths = [Path(log)]
    if glob.has_magic(log) and not paths[0].exists():  # a name may hold a bracket
        paths = [Path(path) for path in glob.glob(log, recursive=True)]  # noqa: PTH207
    files: list[Path] = []
    for path in paths:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe may never end
            raise R2D2Error(f"the log {path} is no plain file: write what it gives into one")
        if not path.is_dir() or path.suffix == ".lance":
            files += [path] if path.exists() else []
            continue
        for folder, inner, names in os.walk(path):
            files += [Path(folder, name) for name in inner if name.endswith(".lance")]
            inner[:] = [n for n in inner if not n.endswith(".lance") and n[0] not in "._"]
            files += [Path(folder, name) for name in names if _known(name)]
    return [str(file.absolute()) for file in files]


def _remote(log: str) -> list[str]:
    if log.rstrip("/").endswith(".lance") or (_known(log) and not glob.has_magic(log)):
        return [log]
    listed = list_urls(log)
    return [file for file in listed if _known(posixpath.basename(file))]


def _known(name: str) -> bool:
    try:
        return posixpath.basename(name)[0] not in "._" and log_format(name) is not None
    except IndexError:
        return False


@dataclass(frozen=True)
class LogFile:
    """What a file of a log tells of itself."""

    kind: str
    fields: dict[str, pa.DataType]  # its columns
    cuts: list[list[int]]  # numbers of row groups, or of fragments, of each piece
    rows: Sequence[int | None]  # of each piece; None where it is not known before it is read
    before: Sequence[int]  # rows of the file before each piece; 0 of text, see `lines_before`


def _look(file: str) -> LogFile:
    """The kind and the columns of a file, and how it is cut."""
    kind = log_format(file)
    if kind is None:
        raise R2D2Error(f"cannot tell the format of {file}: name it {', '.join(FORMATS)}")
    if kind == "lance":
        import lance

        dataset = lance.dataset(file)
        fragments = dataset.get_fragments()
        cuts = [[fragment.fragment_id] for fragment in fragments]
        rows = [fragment.count_rows() for fragment in fragments]
        before = _before(rows)
        fields = {field.name: field.type for field in dataset.schema}
        if is_pairs_table(dataset.schema):  # whose rows are pictures
            fields = pairs_columns(dataset)
            return LogFile(PAIRS, fields, cuts, [None] * len(cuts), before)
        return LogFile(kind, fields, cuts, rows, before)
    if kind != "parquet":
        with open_file(file) as stream:
            names = head_columns(unpacked(stream, file), kind, file)
        fields = dict.fromkeys(names, pa.string())
        return LogFile(kind, fields, [[]], [None], [0])
    with open_parquet(file) as parquet:
        meta, schema = parquet.metadata, parquet.schema_arrow
    cuts, rows = [[]], [0]
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        if rows[-1] >= PIECE_ROWS:
            cuts.append([])
            rows.append(0)
        cuts[-1].append(number)
        rows[-1] += group.num_rows
    fields = {field.name: field.type for field in schema}
    return LogFile(kind, fields, cuts, rows, _before(rows))


def _before(rows: Sequence[int]) -> list[int]:
    """How many rows stand before each piece."""
    return [*accumulate(rows, initial=0)][:-1]


def _plain(file: LogFile, columns: Mapping[str, str]) -> str:
    """What files have in common that the database reads together; empty where it cannot read one.

    It reads Parquet whose columns are texts and numbers; images and paths go through Python.
    """
    types = {role: file.fields[name] for role, name in columns.items()}
    if file.kind != "parquet" or not all(is_plain(role, kind) for role, kind in types.items()):
        return ""
    if any(name.lower() in ADDED_COLUMNS for name in file.fields):
        return ""
    return json.dumps([[role, columns[role], str(kind)] for role, kind in types.items()])


def _parquet(file: str, groups: list[int], columns: dict[str, str]) -> Iterator[pa.RecordBatch]:
    with open_parquet(file) as parquet:
        for group in groups:
            meta = parquet.metadata.row_group(group)
            chosen = [meta.column(n) for n in range(meta.num_columns)]
            size = sum(
                column.total_uncompressed_size
                for column in chosen
                if column.path_in_schema in columns.values()
            )
            rows = READ_BYTES * max(1, meta.num_rows) // max(1, size)
            rows = max(1, min(READ_ROWS, rows))
            yield from parquet.iter_batches(
                rows, row_groups=[group], columns=[*columns.values()], use_threads=False
            )


def _lance(file: str, fragments: list[int], columns: dict[str, str]) -> Iterator[pa.RecordBatch]:
    import lance

    dataset = lance.dataset(file)
    scanner = dataset.scanner(
        columns=[*columns.values()],
        fragments=chosen_fragments(dataset, fragments),
        batch_size=256 if "image" in columns else READ_ROWS >> 4,
        batch_readahead=2,
        scan_in_order=True,
    )
    yield from scanner.to_batches()
