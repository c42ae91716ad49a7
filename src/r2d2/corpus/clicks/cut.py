"""What a ranking needs from all pairs: the prior, and the least score that is kept.

A score is a function of the clicks and looks of a pair alone, so both follow exactly from a small
table: the number of pairs of each bucket by clicks and looks. Pairs whose score equals the least
one are kept in the order of image id and text. Buckets are ranges of ids, so the tables also give
the number of such pairs that are kept in each bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from r2d2.corpus.clicks.buckets import by_bucket, sums_of
from r2d2.corpus.clicks.checks import EXAMINED_UNIT
from r2d2.corpus.clicks.ctr import Floats, Prior, fit_prior, read_prior, score, write_prior
from r2d2.corpus.clicks.engine import open_database
from r2d2.corpus.config import RankConfig
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.rows import read_pairs
from r2d2.corpus.runner import Runner
from r2d2.progress import Update

PRIOR = "prior.json"
TALLY = "tally"  # folder of what the passes over all buckets leave


@dataclass(frozen=True)
class LastScore:
    """The least score that a ranking keeps."""

    score: float  # of float32; pairs above it stay
    ties: tuple[int, ...] | None = None  # pairs of this score that stay in each bucket; None: all

    def of(self, bucket: int) -> LastScore:
        """What a bucket needs to know."""
        return self if self.ties is None else LastScore(self.score, (self.ties[bucket],))


NONE_KEPT = LastScore(2.0)  # above every score


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


def score_literal(value: float) -> str:
    """A score as the database compares it with others."""
    return f"{_real(value)}::FLOAT"


def find_cut(
    inp: Path,
    out: Path,
    config: RankConfig,
    jobs: Sequence[dict[str, str]],
    runner: Runner,
    memory_bytes: int,
    update: Update,
) -> tuple[Prior, LastScore | None]:
    """The prior of the log, and the last score kept; None where there is no cut by rate.

    Args:
        inp: folder of the sums.
        out: folder of the stage; a prior that an interrupted call left there is used again.
        config: the rules.
        jobs: one a bucket.
        runner: who does the jobs.
        memory_bytes: of all workers together.
        update: progress.
    """
    work = Outcomes(config, *runner.database_share(memory_bytes))
    by_bucket(work, jobs, runner, "rates", update)
    buckets = [_read_outcomes(out / TALLY / f"outcomes-{job['bucket']}.parquet") for job in jobs]
    if not (out / PRIOR).exists():
        clicks, looks, pairs, _ = map(np.concatenate, zip(*buckets, strict=True))
        write_prior(out / PRIOR, fit_prior(clicks, looks, pairs))
    prior = read_prior(out / PRIOR)
    if config.threshold is not None:
        return prior, LastScore(float(np.float32(config.threshold)))
    if config.top_share is None and config.top_count is None:
        return prior, None
    scores, counts = [], []
    for clicks, looks, pairs, good in buckets:
        scores.append(score(clicks[good], looks[good], config, prior).astype(np.float32))
        counts.append(pairs[good].astype(np.int64))
    total = sum(int(pairs_of_bucket.sum()) for pairs_of_bucket in counts)
    wanted = total if config.top_count is None else min(total, config.top_count)
    if config.top_share is not None:
        wanted = round(config.top_share * total)
    if wanted == 0:
        return prior, NONE_KEPT
    levels, place = np.unique(np.concatenate(scores), return_inverse=True)
    sizes = np.bincount(place, np.concatenate(counts), minlength=len(levels)).astype(np.int64)
    above = np.cumsum(sizes[::-1])[::-1]  # of at least this score
    level = int(np.flatnonzero(above >= wanted)[-1])
    last = float(levels[level])
    left = wanted - int(above[level] - sizes[level])
    ties = []
    for scores_of_bucket, pairs in zip(scores, counts, strict=True):
        ties.append(min(left, int(pairs[scores_of_bucket == levels[level]].sum())))
        left -= ties[-1]
    return prior, LastScore(last, tuple(ties))


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
            rows = base.write(query, target)
        return StageCount("rates", "outcomes", rows, rows)


def _read_outcomes(path: Path) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
    """Of each outcome (n,): clicks, looks, how many pairs had it, and whether that is enough."""
    rows = read_pairs(path, ["clicks", "looks", "pairs", "enough"])
    clicks, looks, pairs = (
        rows[name].to_numpy().astype(np.float64) for name in rows.column_names[:3]
    )
    return clicks, looks, pairs, rows["enough"].to_numpy()


def _real(value: float) -> str:
    """A literal that the database reads as the same 64-bit float."""
    return f"{value:.17e}"
