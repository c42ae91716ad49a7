"""The pairs of a block of images that stay, as SQL: by rate, and at most so many queries an image.

Only images of more queries than may stay are sorted; of all others every query that passes the cut
stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from r2d2.corpus.clicks.buckets import with_texts
from r2d2.corpus.clicks.checks import image_id
from r2d2.corpus.clicks.ctr import Prior
from r2d2.corpus.clicks.cut import LastScore, enough, looks_of, score_literal, score_of
from r2d2.corpus.clicks.engine import Database, quoted
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.config import RankConfig
from r2d2.corpus.funnel import COUNTED, EXAMPLES, Flow, StageCount
from r2d2.corpus.rows import PAIR_ROWS, DroppedFile

NO_QUERY = "no query left"
COLUMNS = "image, source, text, clicks, impressions, examined, ctr"
KEPT = "image_id, source, p.text, clicks, impressions, examined, ctr"
# The name of a pair's source.
SOURCE = f"CASE source {' '.join(f'WHEN {n} THEN {quoted(t)}' for n, t in enumerate(TEXTS))} END"
TOTALS = "count(*), coalesce(sum(clicks), 0)::BIGINT, coalesce(sum(impressions), 0)::BIGINT"
_MOST = f"max(impressions, {EXAMPLES})"  # of the pairs that were shown most often
_NOTHING: tuple[Any, ...] = (0, 0, 0, None)


def rank_block(
    base: Database,
    sums: str,
    images: str,
    texts: str,
    config: RankConfig,
    prior: Prior,
    last: LastScore | None,
    dropped: DroppedFile | None = None,
) -> StageCount:
    """Rank the pairs of a block of images.

    Args:
        base: where the relations are. It then has `ranked` (KEPT of the pairs that stay) and
            `alive` (`key`, `image` and `image_id` of their images; with `copies`, of all others
            too).
        sums: a relation with the columns SUMS, all pairs of its images.
        images: their sums, see `buckets.images_of`.
        texts: their texts, see `buckets.texts_of`.
        config: the rules.
        prior: of the whole log.
        last: of this block; see `cut.find_cut`.
        dropped: takes the pairs that do not stay.

    Returns:
        A count of pairs; its notes tell how often images were shown of which none is left.
    """
    if not config.active:
        base.run(
            f"""CREATE TABLE alive AS SELECT key, image, {image_id("image")} AS image_id
            FROM {images}"""
        )
        base.run(
            f"""CREATE VIEW ranked AS
            SELECT alive.image_id, s.* REPLACE (t.text AS text), NULL::FLOAT AS ctr FROM {sums} s
            JOIN alive ON alive.key = s.image JOIN {texts} t ON t.key = s.text"""
        )
        (totals,) = base.run(f"SELECT {TOTALS} FROM {sums}")
        return _stage_count(totals, {}, {}, {})
    base.run(
        f"""CREATE VIEW scores AS SELECT * EXCLUDE (looks),
            CASE WHEN source = 0 THEN {score_of(config, prior)} END AS ctr
        FROM (SELECT *, {looks_of()} AS looks, {enough(config)} AS enough FROM {sums})"""
    )
    low = "false" if last is None else f"ctr < {score_literal(last.score)}"
    base.run(
        f"""CREATE TABLE passing AS SELECT {COLUMNS} FROM scores
        WHERE source = 0 AND enough = 0 AND NOT {low}"""
    )
    tied = _drop_ties(base, images, texts, last)
    base.run(
        f"""CREATE TABLE alive AS SELECT key, image, {image_id("image")} AS image_id,
            true AS ranked, queries > {config.max_queries} AS crowded
        FROM (SELECT image AS key, count(*) AS queries FROM passing GROUP BY image)
        JOIN {images} USING (key)"""
    )
    base.run(
        f"""CREATE TABLE crowded AS SELECT p.*, image_id,
            row_number() OVER (PARTITION BY p.image ORDER BY ctr DESC, t.text) AS place
        FROM passing p JOIN alive ON alive.key = p.image JOIN {texts} t ON t.key = p.text
        WHERE crowded"""
    )
    base.run(
        f"""CREATE VIEW ranked AS SELECT pair.* REPLACE (t.text AS text) FROM (
            SELECT {KEPT} FROM passing p JOIN alive ON alive.key = p.image WHERE NOT crowded
            UNION ALL SELECT {KEPT} FROM crowded p WHERE place <= {config.max_queries}
            UNION ALL SELECT {KEPT} FROM scores p JOIN alive ON alive.key = p.image
                WHERE source > 0 AND ranked
        ) pair JOIN {texts} t ON t.key = pair.text"""
    )
    rules = _rules(config, f"{low} OR {tied}" if tied else low)
    count = _count_ranked(base, images, texts, config, low, rules)
    if dropped is not None and dropped.wanted:
        for rule, rows in rules.items():
            pairs = with_texts(f"(SELECT {COLUMNS} FROM {rows})", images, texts)
            query = f"""SELECT {image_id("image")} AS image_id, text, {SOURCE} AS source,
                clicks, impressions FROM {pairs}"""
            for batch in base.batches(query, PAIR_ROWS):
                dropped.add_table(rule, pa.Table.from_batches([batch]))
    if config.copies:
        base.run(
            f"""INSERT INTO alive SELECT key, image, {image_id("image")}, false, false
            FROM {images} WHERE key NOT IN (SELECT key FROM alive)"""
        )
    return count


def unranked_images(images: str) -> str:
    """A SELECT of the images that are not `alive`: their ids, sums, and addresses where known."""
    return f"""SELECT {image_id("image")} AS image_id, clicks, impressions,
        CASE WHEN NOT starts_with(image, chr(0)) THEN image END AS place
        FROM {images} WHERE key NOT IN (SELECT key FROM alive)"""


def _drop_ties(base: Database, images: str, texts: str, last: LastScore | None) -> str:
    """Take pairs of the very last score out of `passing`, but for those that stay.

    Returns:
        Whether a pair of `scores` was taken out, as SQL; empty where all stay.
    """
    if last is None or last.ties is None:
        return ""
    tied = f"ctr = {score_literal(last.score)}"
    (ties,) = last.ties
    if not ties:
        base.run(f"DELETE FROM passing WHERE {tied}")
        return tied
    pairs = f"(SELECT {COLUMNS} FROM passing WHERE {tied})"
    base.run(
        f"""CREATE TABLE beyond_cut AS SELECT image, text FROM (
            SELECT pair.image, pair.text, row_number() OVER (ORDER BY id, t.text) AS rank
            FROM {pairs} pair JOIN (SELECT key, {image_id("image")} AS id FROM {images}) i
            ON i.key = pair.image JOIN {texts} t ON t.key = pair.text) WHERE rank > {ties}"""
    )
    beyond = "(image, text) IN (SELECT (image, text) FROM beyond_cut)"
    base.run(f"DELETE FROM passing WHERE {tied} AND {beyond}")
    return f"({tied} AND {beyond})"


def _cut_name(config: RankConfig) -> str:
    """The setting by which pairs are dropped for their rate."""
    names = ("top_share", "top_count")
    return next((name for name in names if getattr(config, name) is not None), "threshold")


def _rules(config: RankConfig, low: str) -> dict[str, str]:
    """The pairs that each rule of `rank_block` drops, as what stands after FROM."""
    return {
        "min_impressions": "scores WHERE source = 0 AND enough = 1",
        "min_clicks": "scores WHERE source = 0 AND enough = 2",
        _cut_name(config): f"scores WHERE source = 0 AND enough = 0 AND ({low})",
        "max_queries": f"crowded WHERE place > {config.max_queries}",
        NO_QUERY: "scores WHERE source > 0 AND image NOT IN (SELECT key FROM alive)",
    }


def _count_ranked(
    base: Database,
    images: str,
    texts: str,
    config: RankConfig,
    low: str,
    rules: Mapping[str, str],
) -> StageCount:
    """What each rule of `rank_block` drops, with examples, and what stays."""
    # numbers alone: texts are read for the examples
    by_rule = {
        row[0]: row[1:]
        for row in base.run(
            f"""SELECT CASE WHEN source > 0 THEN 5 WHEN enough > 0 THEN enough
                WHEN {low} THEN 3 ELSE 0 END AS rule, {TOTALS}, {_MOST}
            FROM scores GROUP BY rule"""
        )
    }
    (passed,) = base.run(f"SELECT {TOTALS} FROM passing")
    (beyond,) = base.run(f"SELECT {TOTALS}, {_MOST} FROM {rules['max_queries']}")
    seen = _sum([*by_rule.values()])
    dropped = {
        "min_impressions": by_rule.get(1, _NOTHING),
        "min_clicks": by_rule.get(2, _NOTHING),
        # those of the very score at the cut that did not pass are among them
        _cut_name(config): (
            *_sum([by_rule.get(0, _NOTHING), by_rule.get(3, _NOTHING)], [passed]),
            by_rule.get(3, _NOTHING)[3],
        ),
        "max_queries": beyond,
    }
    if 5 in by_rule:
        (dropped[NO_QUERY],) = base.run(f"SELECT {TOTALS}, {_MOST} FROM {rules[NO_QUERY]}")
    dropped = {rule: amounts for rule, amounts in dropped.items() if amounts[0]}
    examples = {
        rule: _examples(
            base, rules[rule], images, texts, min(most) if most and len(most) == EXAMPLES else 0
        )
        for rule, (*_, most) in dropped.items()
    }
    ((shown,),) = base.run(
        f"SELECT sum(impressions) FROM {images} WHERE key IN (SELECT key FROM alive)"
    )
    notes = {"aside_impressions": seen[2] - int(shown or 0)}
    return _stage_count(seen, dropped, examples, notes)


def _sum(
    more: Sequence[tuple[Any, ...]], less: Sequence[tuple[Any, ...]] = ()
) -> tuple[int, int, int]:
    """Pairs, clicks and impressions of some groups, without those of others."""
    pairs, clicks, impressions = (
        sum(int(group[n]) for group in more) - sum(int(group[n]) for group in less)
        for n in range(3)
    )
    return pairs, clicks, impressions


def _stage_count(
    seen: tuple[int, int, int],
    dropped: Mapping[str, tuple[Any, ...]],
    examples: Mapping[str, tuple[str, ...]],
    notes: Mapping[str, int],
) -> StageCount:
    kept = [total - sum(amounts[n] for amounts in dropped.values()) for n, total in enumerate(seen)]
    flows = {
        name: Flow(
            seen[n], kept[n], {rule: amounts[n] for rule, amounts in dropped.items() if amounts[n]}
        )
        for n, name in enumerate(COUNTED, 1)
    }
    return StageCount(
        "rank", "pairs", seen[0], kept[0], {rule: amounts[0] for rule, amounts in dropped.items()},
        examples, notes, flows if any(flow.seen for flow in flows.values()) else {},
    )  # fmt: skip


def _examples(base: Database, rows: str, images: str, texts: str, least: int) -> tuple[str, ...]:
    """The pairs that were shown most often, of at least `least` impressions."""
    shown = f"(SELECT {COLUMNS} FROM {rows} AND coalesce(impressions, 0) >= {least})"
    pairs = base.run(
        f"""SELECT text, source, clicks, impressions, ctr FROM {with_texts(shown, images, texts)}
        ORDER BY impressions DESC, text, image LIMIT {EXAMPLES}"""
    )
    return tuple(
        f"{text} ({TEXTS[source]})"
        if source
        else f"{text} ({clicks} of {impressions}, CTR {ctr:.4f})"
        for text, source, clicks, impressions, ctr in pairs
    )
