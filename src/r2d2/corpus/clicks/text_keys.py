"""Numbers in place of addresses and texts, by which a log is summed.

A key is a 64-bit hash. Keys take less memory than texts, and the database groups and spills them
faster. A table gives the text of each key. Whenever such a table is made, it is checked that keys
and texts belong to each other one to one. If they do not, the log is summed again by another hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from r2d2.corpus.clicks.checks import is_sound, trimmed_address
from r2d2.corpus.clicks.engine import Database, quoted
from r2d2.corpus.texts.spelling import spell_queries

SPELLED_AT_ONCE = 1 << 16  # texts
TOTALLED = ("clicks", "impressions", "examined")  # what is added up
KEY_TABLES = ("images", "texts")


class KeyCollisionError(RuntimeError):
    """Two texts have one key, or one text has two keys."""


@dataclass(frozen=True)
class TextKeys:
    """A hash function of texts."""

    seed: int = 0
    bits: int = 64

    def of(self, text: str) -> str:
        """The key of a text, as SQL; `text` is an expression."""
        seeded = f"{quoted(f'{self.seed} ')} || {text}" if self.seed else text
        return f"hash({seeded})" if self.bits == 64 else f"(hash({seeded}) >> {64 - self.bits})"


def check_keys(base: Database, table: str) -> None:
    """Check that the keys and texts of a table belong to each other one to one.

    Args:
        base: where the table is.
        table: of distinct pairs of `key` and `text`; NULL counts as a text.

    Raises:
        KeyCollisionError: two texts have one key, or one text has two keys.
    """
    ((pairs, keys, texts),) = base.run(
        f"""SELECT count(*), count(DISTINCT key),
            count(DISTINCT text) + count(*) - count(text) FROM {table}"""
    )
    if not pairs == keys == texts:
        raise KeyCollisionError(f"{table}: {pairs} pairs of {keys} keys and {texts} texts")


def totals(prefix: str = "") -> str:
    """The sums of TOTALLED as the columns of a SELECT."""
    return ", ".join(f"sum({prefix}{name})::BIGINT AS {name}" for name in TOTALLED)


def sum_addresses(base: Database, log: str, rows: str, keys: TextKeys, simplified: bool) -> str:
    """A SELECT of the sums of rows with an address and a query, with the columns SUMS.

    Texts are checked once each, not in every row.

    Args:
        base: where the relations are. It then has `images` and `texts` (`key`, `text`).
        log: a relation with the columns `url` and `query` of all rows.
        rows: a relation with these of the rows whose numbers are counts, and TOTALLED.
        keys: the hash function.
        simplified: see `spell_queries`.

    Raises:
        KeyCollisionError: two texts have one key.
    """
    _write_keys(base, "images", f"SELECT DISTINCT url AS text FROM {log}", keys)
    _write_keys(base, "texts", f"SELECT DISTINCT query AS text FROM {log}", keys)
    sound = f"{is_sound(['text'])} AS sound"
    base.run(
        f"""INSERT INTO moved_images
        SELECT written, CASE WHEN sound THEN {keys.of("address")} END, address
        FROM (SELECT *, {sound}, {trimmed_address("text")} AS address FROM written_images)
        WHERE NOT sound OR address <> text"""
    )
    base.run(
        f"""INSERT INTO moved_texts SELECT written, NULL, NULL
        FROM (SELECT written, {sound} FROM written_texts) WHERE NOT sound"""
    )
    _spell(base, "SELECT text FROM written_texts", keys, simplified)
    summed = f"""SELECT image, 0::UTINYINT AS source, text, {", ".join(TOTALLED)}
        FROM (SELECT {keys.of("url")} AS image, {keys.of("query")} AS text, {totals()}
            FROM {rows} GROUP BY 1, 2)"""
    return _move(base, summed)


def sum_texts(base: Database, sums: str, keys: TextKeys, simplified: bool) -> str:
    """A SELECT of sums of rows whose texts are checked, with the columns SUMS.

    Args:
        base: where the relation is. It then has `images` and `texts` (`key`, `text`).
        sums: a relation with the columns SUMS, with texts in place of keys.
        keys: the hash function.
        simplified: see `spell_queries`.

    Raises:
        KeyCollisionError: two texts have one key.
    """
    _write_keys(base, "images", f"SELECT DISTINCT image AS text FROM {sums}", keys)
    _write_keys(base, "texts", f"SELECT DISTINCT text FROM {sums}", keys)
    _spell(base, f"SELECT DISTINCT text FROM {sums} WHERE source = 0", keys, simplified)
    summed = f"""SELECT {keys.of("image")} AS image, source, {keys.of("text")} AS text, {totals()}
        FROM {sums} GROUP BY 1, 2, 3"""
    return _move(base, summed)


def _write_keys(base: Database, name: str, texts: str, keys: TextKeys) -> None:
    """Leave the keys of distinct texts, and an empty table of those that get another key."""
    base.run(
        f"CREATE TABLE written_{name} AS SELECT {keys.of('text')} AS written, text FROM ({texts})"
    )
    base.run(f"CREATE TABLE moved_{name} (written UBIGINT, key UBIGINT, text VARCHAR)")
    ((count, distinct),) = base.run(f"SELECT count(*), count(DISTINCT written) FROM written_{name}")
    if count != distinct:
        raise KeyCollisionError(f"{name}: {count} texts have {distinct} keys")


def _spell(base: Database, queries: str, keys: TextKeys, simplified: bool) -> None:
    """Move queries to the keys of their spelling."""
    sound = f"""SELECT text FROM ({queries})
        WHERE {keys.of("text")} NOT IN (SELECT written FROM moved_texts WHERE key IS NULL)"""
    for batch in base.batches(sound, SPELLED_AT_ONCE):
        written = batch.column(0).to_pylist()
        spelled = spell_queries(written, simplified)
        changed = [(old, new) for old, new in zip(written, spelled, strict=True) if old != new]
        if changed:
            columns = [pa.array(column, pa.string()) for column in zip(*changed, strict=True)]
            with base.registered("changed", pa.table(columns, names=["written", "text"])):
                base.run(
                    f"""INSERT INTO moved_texts
                    SELECT {keys.of("written")}, {keys.of("text")}, text FROM changed"""
                )


def _move(base: Database, summed: str) -> str:
    """The sums under the keys of addresses and queries as the corpus spells them."""
    moved = 0
    for name in KEY_TABLES:
        ((count,),) = base.run(f"SELECT count(*) FROM moved_{name}")
        moved += count
        if not count:
            base.run(f"CREATE VIEW {name} AS SELECT written AS key, text FROM written_{name}")
            continue
        # A query that is moved may also stand as a title, which is not.
        base.run(
            f"""CREATE TABLE {name} AS SELECT written AS key, text FROM written_{name}
            WHERE written NOT IN (SELECT written FROM moved_{name} WHERE key IS NULL)
            UNION SELECT key, text FROM moved_{name} WHERE key IS NOT NULL"""
        )
        check_keys(base, name)
    if not moved:
        return summed
    return f"""SELECT coalesce(i.key, s.image) AS image, source, coalesce(t.key, s.text) AS text,
            {totals()}
        FROM ({summed}) s LEFT JOIN moved_images i ON i.written = s.image
        LEFT JOIN moved_texts t ON t.written = s.text AND s.source = 0
        WHERE (i.written IS NULL OR i.key IS NOT NULL) AND (t.written IS NULL OR t.key IS NOT NULL)
        GROUP BY 1, 2, 3"""
