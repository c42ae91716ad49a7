"""What a ranking must know of all pairs at once: the prior, and the last score that is kept.

A score is a function of a pair's clicks and looks alone, so that both follow exactly from a small
table: how many pairs had which outcome. Pairs of the very score at the cut go by image id, then by
text; the last of them that stays is looked up among these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.buckets import by_bucket, sums_of
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, image_id, quoted
from r2d2.corpus.clicks.ctr import Prior, fit_prior, read_prior, score, write_prior
from r2d2.corpus.config import RankConfig
from r2d2.corpus.engine import open_database
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.runner import Runner
from r2d2.files import whole_file
from r2d2.progress import Update

PRIOR = "prior.json"
TALLY = "tally"  # folder of what the passes over all buckets leave


@dataclass(frozen=True)
class LastPair:
    """The last pair that a cut by rank keeps; pairs of its score are kept up to it."""

    score: float  # of float32; those above it stay
    image_id: str | None = None  # None: all pairs of this score stay
    text: str = ""


NONE_KEPT = LastPair(2.0)  # above every score


def looks_of() -> str:
    """The looks of a pair of SUMS as a 64-bit float: see `ctr.looks`."""
    examined = f"coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE)"
    return f"greatest(coalesce(clicks, 0)::DOUBLE, coalesce({examined}, 0))"


def enough(config: RankConfig) -> str:
    """The rule by which the counts alone drop a pair: 1, 2, or 0 for none."""
    return (
        f"CASE WHEN coalesce(impressions, 0) < {config.min_impressions} THEN 1 "
        f"WHEN coalesce(clicks, 0) < {config.min_clicks} THEN 2 ELSE 0 END"
    )


def score_of(config: RankConfig, prior: Prior) -> str:
    """The score of a pair of SUMS with `looks`: the same to the last bit as `ctr.score`."""
    clicks = "coalesce(clicks, 0)::DOUBLE"
    if config.method == "wilson":
        z2 = NormalDist().inv_cdf(0.5 + config.confidence / 2) ** 2
        spread = f"{clicks} * (looks - {clicks}) / greatest(looks, 1e-300) + {_real(z2 / 4)}"
        root = f"sqrt({_real(z2)} * ({spread}))"
        low = f"({clicks} + {_real(z2 / 2)} - {root}) / (looks + {_real(z2)})"
        return f"greatest({low}, 0e0)::FLOAT"
    alpha, beta = _real(prior.alpha), _real(prior.beta)
    return f"(({clicks} + {alpha}) / (looks + {alpha} + {beta}))::FLOAT"


def is_kept(config: RankConfig, last: LastPair | None) -> str:
    """Whether the cut keeps a pair with `ctr`, `image` and `text`."""
    if config.threshold is not None:
        return f"ctr >= {_real(float(np.float32(config.threshold)))}::FLOAT"
    if last is None:
        return "true"
    cut = f"{_real(last.score)}::FLOAT"
    if last.image_id is None:
        return f"ctr >= {cut}"
    place = f"({image_id('image')}, text) <= ({quoted(last.image_id)}, {quoted(last.text)})"
    return f"CASE WHEN ctr = {cut} THEN {place} ELSE ctr > {cut} END"


def find_cut(
    inp: Path,
    out: Path,
    config: RankConfig,
    jobs: Sequence[dict[str, str]],
    places: Runner,
    memory_bytes: int,
    update: Update,
) -> tuple[Prior, LastPair | None]:
    """The prior of the log, and the last pair kept; None where there is no cut by rank.

    Args:
        inp: folder of the sums.
        out: folder of the stage; a prior that an interrupted call left there is used again.
        config: the rules.
        jobs: one a bucket.
        places: where to work.
        memory_bytes: of a worker.
        update: progress.
    """
    by_bucket(Outcomes(config, memory_bytes, places.workers), jobs, places, "rates", update)
    files = [Path(job["out"]) / TALLY / f"outcomes-{job['bucket']}.parquet" for job in jobs]
    outcomes = pa.concat_tables([pq.read_table(file) for file in files])
    outcomes = outcomes.group_by(["clicks", "looks", "enough"]).aggregate([("pairs", "sum")])
    outcomes = outcomes.sort_by([(name, "ascending") for name in ("clicks", "looks", "enough")])
    clicks, looks, pairs = (
        outcomes[name].to_numpy().astype(np.float64) for name in ("clicks", "looks", "pairs_sum")
    )
    if not (out / PRIOR).exists():
        write_prior(out / PRIOR, fit_prior(clicks, looks, pairs))
    prior = read_prior(out / PRIOR)
    if config.top_share is None and config.top_count is None:
        return prior, None
    good = outcomes["enough"].to_numpy()
    scores = score(clicks[good], looks[good], config, prior).astype(np.float32)
    counts = pairs[good].astype(np.int64)
    total = int(counts.sum())
    wanted = total if config.top_count is None else min(total, config.top_count)
    if config.top_share is not None:
        wanted = round(config.top_share * total)
    if wanted == 0:
        return prior, NONE_KEPT
    levels, place = np.unique(scores, return_inverse=True)
    sizes = np.bincount(place, counts, minlength=len(levels)).astype(np.int64)
    above = np.cumsum(sizes[::-1])[::-1]  # of at least this score
    level = int(np.flatnonzero(above >= wanted)[-1])
    last = LastPair(float(levels[level]))
    ties = wanted - int(above[level] - sizes[level])
    if ties < sizes[level]:
        last = _last_tie(inp, config, prior, last.score, ties, jobs, memory_bytes, places.workers)
    return prior, last


def is_below(config: RankConfig, last: LastPair | None) -> str:
    """Whether the `ctr` of a pair is too low, whatever its image and its text."""
    if config.threshold is not None:
        return f"ctr < {_real(float(np.float32(config.threshold)))}::FLOAT"
    return "false" if last is None else f"ctr < {_real(last.score)}::FLOAT"


def scores_of(sums: str, config: RankConfig, prior: Prior) -> str:
    """A SELECT of pairs with their scores: the columns SUMS, `enough`, and `ctr` of queries.

    Args:
        sums: a relation with the columns SUMS.
        config: the rules.
        prior: of the whole log.
    """
    return f"""SELECT * EXCLUDE (looks), CASE WHEN source = 0 THEN {score_of(config, prior)} END
            AS ctr FROM (SELECT *, {looks_of()} AS looks, {enough(config)} AS enough FROM {sums})"""


def scored(scores: str, config: RankConfig, last: LastPair | None) -> str:
    """A SELECT of pairs with the `rule` that drops each by itself: 1 to 3, or 0 for none.

    Args:
        scores: a relation with the columns of `scores_of`.
        config: the rules.
        last: of all pairs.
    """
    return f"""SELECT *, CASE WHEN source > 0 THEN 0 WHEN enough > 0 THEN enough
            WHEN {is_kept(config, last)} THEN 0 ELSE 3 END AS rule FROM {scores}"""


@dataclass(frozen=True)
class Outcomes:
    """How many pairs of a bucket had which clicks and looks."""

    config: RankConfig
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Leave a small table for `find_cut`."""
        target = Path(job["out"]) / TALLY / f"outcomes-{job['bucket']}.parquet"
        query = f"""SELECT coalesce(clicks, 0)::DOUBLE AS clicks, {looks_of()} AS looks,
            {enough(self.config)} = 0 AS enough, count(*) AS pairs
            FROM {sums_of(Path(job["inp"]), int(job["bucket"]))} WHERE source = 0 GROUP BY ALL"""
        with open_database(target.parent, self.memory_bytes, self.threads, job=target.stem) as base:
            rows = base.table(query)
        with whole_file(target) as work:
            pq.write_table(rows, work)
        pairs = pc.sum(rows["pairs"]).as_py() or 0
        return StageCount("rates", "pairs", pairs, pairs)


def _last_tie(
    inp: Path,
    config: RankConfig,
    prior: Prior,
    cut: float,
    ties: int,
    jobs: Sequence[dict[str, str]],
    memory_bytes: int,
    threads: int,
) -> LastPair:
    """The `ties`-th of the pairs of a score, by image id, then text."""
    for job in jobs:  # buckets are in the order of ids
        scores = scores_of(sums_of(inp, int(job["bucket"])), config, prior)
        equal = f"FROM ({scores}) WHERE source = 0 AND enough = 0 AND ctr = {_real(cut)}::FLOAT"
        with open_database(Path(job["out"]), memory_bytes, threads) as base:
            if len(jobs) > 1:
                ((count,),) = base.run(f"SELECT count(*) {equal}")
                if count < ties:
                    ties -= count
                    continue
            ((image, text),) = base.run(
                f"SELECT {image_id('image')} AS id, text {equal} "
                f"ORDER BY id, text LIMIT 1 OFFSET {ties - 1}"
            )
            return LastPair(cut, image, text)
    raise AssertionError("the outcomes count more pairs than there are")


def _real(value: float) -> str:
    """A literal that the database reads as the same 64-bit float."""
    return f"{value:.17e}"
