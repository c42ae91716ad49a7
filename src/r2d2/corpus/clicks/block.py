"""A block of a log summed: Parquet files by the database itself, all else through the readers."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from r2d2.corpus.clicks.batches import make_batch
from r2d2.corpus.clicks.blobs import BLOBS, write_run
from r2d2.corpus.clicks.buckets import PLACES, SUMS, TOTALS
from r2d2.corpus.clicks.checks import check_rows, image_id
from r2d2.corpus.clicks.engine import STORAGE, Database, identifier, open_database, quoted
from r2d2.corpus.clicks.log import read_piece
from r2d2.corpus.clicks.log_columns import FILE_ROW_NUMBER, LOG_FILE, ROW_NUMBER, TEXTS
from r2d2.corpus.clicks.sums import (
    address_rows,
    count_rows,
    dropped_rows,
    exact_tally,
    example_rows,
    is_address_log,
    relation_types,
    row_location,
    sum_checked,
    tally_rows,
)
from r2d2.corpus.clicks.text_cuts import LINE_FORMATS
from r2d2.corpus.clicks.text_keys import KEY_TABLES, TextKeys, sum_addresses, sum_texts
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.rows import PAIR_ROWS, DroppedFile
from r2d2.errors import first_line
from r2d2.files import disk_errors, write_text
from r2d2.inputs.dropped_rows import DroppedRows

log = logging.getLogger(__name__)

RUNS = "runs"  # folder of the blocks' sums
ROW_BYTES = 500  # what a row of a chunk takes while it is summed
CHUNK_SHARE = 8  # a chunk's bytes are at most this part of the memory
CHUNK_ROWS = (10_000, 1 << 20)  # at least, at most
# Of the table of sums whose texts are not replaced by keys yet
BLOCK_COLUMNS = """image VARCHAR, source UTINYINT, text VARCHAR, clicks BIGINT, impressions BIGINT,
    examined BIGINT"""
# Settings of a block on which its sums depend
SOURCE_SETTINGS = ("examination", "simplified", "keys", "buckets")
CHUNK_BYTES = 1 << 30  # at most: Arrow's strings count to 2 GiB


@dataclass(frozen=True)
class SumBlock:
    """The sums of a block of the log, by bucket."""

    examination: tuple[float, ...]
    simplified: bool  # queries are spelled with simplified characters
    keys: TextKeys
    buckets: int
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Sum a block; its sums are valid once its count lies beside them."""
        folder, name = Path(job["out"]) / RUNS, job["name"]
        record = folder / f"{name}.json"
        settings = {**asdict(self), "examination": list(self.examination)}
        source = {"job": job, **{name: settings[name] for name in SOURCE_SETTINGS}}
        if record.exists():
            done = json.loads(record.read_text(encoding="utf-8"))
            if done.pop("source") == source:
                return StageCount.from_dict(done)
        pieces = json.loads(job["pieces"])
        work = folder / name
        shutil.rmtree(work, ignore_errors=True)
        for old in (Path(job["out"]) / BLOBS).glob(f"{name}-*.arrow"):
            old.unlink()
        with disk_errors(work):
            work.mkdir(parents=True)
        count = None
        with DroppedFile(Path(job["out"]), "aggregate", "rows", name) as file:
            if is_block(pieces):
                with open_database(work, self.memory_bytes, self.threads) as base:
                    count = self._by_files(base, pieces, work, file)
            if count is None:
                blobs = Path(job["out"]) / BLOBS / name
                with open_database(work, self.memory_bytes, self.threads) as base:
                    count = self._by_batches(base, pieces, work, blobs, file)
        write_text(record, json.dumps({**count.to_dict(), "source": source}))
        return count

    def _by_files(
        self, base: Database, pieces: Sequence[dict[str, str]], work: Path, file: DroppedFile
    ) -> StageCount | None:
        """Sum Parquet files in one statement; None where the database cannot read one."""
        import duckdb

        columns = json.loads(pieces[0]["columns"])
        files = ", ".join(quoted(piece["file"]) for piece in pieces)
        chosen = ", ".join(f"{identifier(column)} AS {role}" for role, column in columns.items())
        rows = f"(SELECT {chosen} FROM read_parquet([{files}]))"
        try:
            types = relation_types(base, rows)
            checked = f"({check_rows(rows, types, self.examination)})"
            exact = None
            if not is_address_log(types):
                base.run(f"CREATE TABLE block AS {sum_checked(checked, types)}")
                self._write(base, sum_texts(base, "block", self.keys, self.simplified), work)
            else:
                exact = None if self.examination else exact_tally(base, rows, types)
                counted = address_rows(rows, types, self.examination, exact=exact is not None)
                sums = sum_addresses(base, rows, counted, self.keys, self.simplified)
                self._write(base, sums, work)
        except (
            duckdb.InvalidInputException,  # texts that are no UTF-8, among others
            duckdb.NotImplementedException,
            duckdb.BinderException,
        ) as error:
            log.info("read by Arrow, for DuckDB says: %s", first_line(error))
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            return None
        summed = block_files(TOTALS, [*(work / TOTALS).rglob("*.parquet")])
        (totals,) = base.run(f"SELECT sum(clicks), sum(impressions) FROM {summed}")
        if exact is not None and [int(total or 0) for total in totals] == [*exact[2:4]]:
            return count_rows([exact])
        count = count_rows(base.run(tally_rows(checked)))
        if is_address_log(types) and count.notes["clicks"] != int(totals[0] or 0):
            raise RuntimeError(
                f"{work}: {totals[0]} clicks are summed, not {count.notes['clicks']}"
            )
        if not count.dropped:
            return count
        base.run("SET preserve_insertion_order = true")  # the first of the log
        rows = f"""(SELECT {chosen}, {LOG_FILE}, {FILE_ROW_NUMBER} + 1 AS {ROW_NUMBER} FROM
            read_parquet([{files}], filename = {quoted(LOG_FILE)}, {FILE_ROW_NUMBER} = true))"""
        location = row_location(LOG_FILE, "row")
        checked = f"({check_rows(rows, types, self.examination)})"
        dropped = DroppedRows()
        _tell_dropped(base, checked, types, location, count, dropped, file)
        return replace(count, examples=dropped.first_examples())

    def _by_batches(
        self,
        base: Database,
        pieces: Sequence[dict[str, str]],
        work: Path,
        blobs: Path,
        file: DroppedFile,
    ) -> StageCount:
        """Sum chunk by chunk, and the sums of the chunks."""
        dropped = DroppedRows(keep=lambda reason, where: file.add(reason, {}, where))
        shown, runs, tally = DroppedRows(), 0, []
        base.run(f"CREATE TABLE block ({BLOCK_COLUMNS})")
        base.run("CREATE TABLE places (image VARCHAR, url VARCHAR, path VARCHAR)")
        for piece, chunk in self._chunks(pieces, dropped):
            batch = make_batch(chunk, piece["folder"])
            word = "line" if piece["format"] in LINE_FORMATS else "row"
            location = row_location(quoted(piece["file"]), word)
            with base.registered("batch", batch.rows):
                types = relation_types(base, "batch")
                base.run(
                    "CREATE OR REPLACE TABLE checked AS "
                    + check_rows("batch", types, self.examination)
                )
            base.run(f"INSERT INTO block {sum_checked('checked', types)}")
            outcomes = base.run(tally_rows("checked"))
            tally += outcomes
            _tell_dropped(base, "checked", types, location, count_rows(outcomes), shown, file)
            if {"inline", "place"} & set(types):
                path = "path" if "path" in types else "NULL"
                base.run(
                    f"INSERT INTO places SELECT key, min(address), min({path}) FROM checked "
                    "WHERE reason IS NULL GROUP BY key"
                )
            if batch.images is not None:
                kept = base.run(
                    "SELECT DISTINCT key FROM checked WHERE reason IS NULL AND inline IS NOT NULL"
                )
                run = blobs.with_name(f"{blobs.name}-{runs:06d}.arrow")
                write_run(run, batch.rows["inline"], batch.images, {key for (key,) in kept})
                runs += 1
        base.run("DROP TABLE IF EXISTS checked")
        self._write(base, sum_texts(base, "block", self.keys, self.simplified), work)
        if base.run("SELECT count(*) FROM places")[0][0]:
            of_image = "SELECT image, min(url) AS url, min(path) AS path FROM places GROUP BY image"
            cut = f"SELECT *, {self._bucket('image')} AS bucket FROM ({of_image})"
            self._write_kind(base, of_image, cut, work / PLACES)
        count = count_rows(tally, shown.first_examples())
        lines = dict(dropped.counts)
        return replace(
            count,
            seen=count.seen + sum(lines.values()),
            dropped={**lines, **count.dropped},
            examples={**dropped.first_examples(), **count.examples},
        )

    def _chunks(
        self, pieces: Sequence[dict[str, str]], dropped: DroppedRows
    ) -> Iterator[tuple[dict[str, str], pa.Table]]:
        most = int(np.clip(self.memory_bytes // ROW_BYTES, *CHUNK_ROWS))
        bytes_ = min(self.memory_bytes // CHUNK_SHARE, CHUNK_BYTES)
        for piece in pieces:
            held: list[pa.Table] = []
            rows = size = 0
            for table in read_piece(piece, dropped):
                held.append(table)
                rows, size = rows + len(table), size + table.nbytes
                if rows >= most or size >= bytes_:
                    yield piece, pa.concat_tables(held, promote_options="permissive")
                    held, rows, size = [], 0, 0
            if held:
                yield piece, pa.concat_tables(held, promote_options="permissive")

    def _write(self, base: Database, sums: str, work: Path) -> None:
        """Write sums, and the tables `images` and `texts` of their keys, by bucket."""
        if self.buckets == 1:
            self._write_kind(base, sums, "", work / TOTALS)
            for table in KEY_TABLES:
                self._write_kind(base, f"FROM {table}", "", work / table)
            return
        whole = work / "whole.parquet"
        base.write(sums, whole)
        base.run(
            f"CREATE TABLE buckets AS SELECT key, {self._bucket('text')} AS bucket FROM images"
        )
        pairs = f"read_parquet({quoted(str(whole))}) s JOIN buckets ON buckets.key = s.image"
        self._write_kind(base, "", f"SELECT s.*, bucket FROM {pairs}", work / TOTALS)
        cut = "SELECT key, text, bucket FROM images JOIN buckets USING (key)"
        self._write_kind(base, "", cut, work / KEY_TABLES[0])
        cut = f"""SELECT key, texts.text, bucket FROM texts JOIN (
            SELECT DISTINCT s.text AS key, bucket FROM {pairs}) USING (key)"""
        self._write_kind(base, "", cut, work / KEY_TABLES[1])
        whole.unlink()

    def _write_kind(self, base: Database, rows: str, cut: str, target: Path) -> None:
        """Write rows into the folder of the only bucket, or `cut`, with `bucket`, into several."""
        if self.buckets == 1:
            target = target / "bucket=0"
            target.mkdir(parents=True, exist_ok=True)
            base.run(f"COPY ({rows}) TO {quoted(str(target / 'data.parquet'))} ({STORAGE})")
        else:
            base.run(f"COPY ({cut}) TO {quoted(str(target))} ({STORAGE}, PARTITION_BY (bucket))")

    def _bucket(self, image: str) -> str:
        """The bucket of an image, as SQL."""
        prefix = f"('0x' || substr({image_id(image)}, 1, 8))::BIGINT"
        return f"coalesce(({prefix} * {self.buckets}) >> 32, 0)"


def is_block(pieces: Sequence[dict[str, str]]) -> bool:
    """Whether these are whole files that the database reads."""
    return all(piece["plain"] and "whole" in piece for piece in pieces)


def block_files(kind: str, files: Sequence[Path]) -> str:
    """A relation over the files of blocks, perhaps over none.

    Args:
        kind: TOTALS, or one of KEY_TABLES.
        files: of this kind.
    """
    if files:
        listed = ", ".join(quoted(str(file)) for file in files)
        return f"read_parquet([{listed}], hive_partitioning = false)"
    types = {"source": "UTINYINT", "image": "UBIGINT", "key": "UBIGINT"}
    types["text"] = "UBIGINT" if kind == TOTALS else "VARCHAR"
    names = SUMS if kind == TOTALS else ("key", "text")
    columns = ", ".join(f"NULL::{types.get(name, 'BIGINT')} AS {name}" for name in names)
    return f"(SELECT {columns} WHERE false)"


def _tell_dropped(
    base: Database,
    checked: str,
    types: Mapping[str, str],
    location: str,
    count: StageCount,
    dropped: DroppedRows,
    file: DroppedFile,
) -> None:
    """Note the first rows of each reason in `dropped`, and write all of them into `file`.

    Args:
        base: where the relation is.
        checked: a relation with the columns of `check_rows`.
        types: of the columns of the log; see `check_rows`.
        location: of a row in the log, as SQL.
        count: of these rows.
        dropped: gets the examples.
        file: of dropped rows, where they are wanted.
    """
    for reason in count.dropped:
        for row in base.table(example_rows(checked, types, reason, location)).to_pylist():
            where = row.pop("location")
            dropped.add(reason, f"{where}: " + ", ".join(f"{k}={v}" for k, v in row.items()))
    if file.wanted:
        _keep_dropped(base.batches(dropped_rows(checked, types, location), PAIR_ROWS), file)


def _keep_dropped(batches: Iterable[pa.RecordBatch], file: DroppedFile) -> None:
    """Write the rows of `dropped_rows`; what stands in a row is its reason in words."""
    for batch in batches:
        for row in batch.to_pylist():
            rule, location = row.pop("reason"), row.pop("location")
            texts = ((source, row[source]) for source in TEXTS if row.get(source))
            source, text = next(texts, (None, None))
            known = {key: row.get(key) for key in ("image_id", "url", "path")}
            words = ", ".join(f"{k}={v}" for k, v in row.items() if k != "image_id")
            file.add(rule, {**known, "text": text, "source": source}, f"{location}: {words}")
