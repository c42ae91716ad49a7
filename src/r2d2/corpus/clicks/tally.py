"""What a ranking must know of all pairs at once: the prior, and the last score that is kept.

Which pairs are the best of all is settled exactly and in little memory: a score is a float32 from 0
to 1, whose 32 bits sort as it does, so two histograms, of the upper and then of the lower 16 bits,
find the last score that is kept, and how many of its equals. Equals go by image id, then text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.ctr import (
    Floats,
    Prior,
    fit_prior,
    group_counts,
    read_prior,
    score,
    write_prior,
)
from r2d2.corpus.clicks.groups import Ints
from r2d2.corpus.config import RankConfig
from r2d2.corpus.engine import map_columns
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.parts import Places
from r2d2.corpus.rows import PAIRS, QUERY, open_part, part_file, part_range, read_pairs
from r2d2.files import disk_errors
from r2d2.progress import Update

PRIOR = "prior.json"
TALLY = "tally"  # folder of what the passes leave
FIT_PAIRS = 1 << 20  # the prior is fitted to about so many pairs, all of an image or none
BINS = 1 << 16

Bits = npt.NDArray[np.uint32]


def log_prior(
    inp: Path, out: Path, jobs: Sequence[dict[str, str]], places: Places, update: Update
) -> Prior:
    """The prior of the log: fitted, or as an interrupted call left it."""
    if not (out / PRIOR).exists():
        rows = 0
        for part in range(len(jobs)):
            with open_part(part_file(inp, PAIRS, part)) as file:
                rows += file.metadata.num_rows
        last = f"{int(FIT_PAIRS / rows * 2**32):08x}" if rows > FIT_PAIRS else "g"
        some = [job for job in jobs if part_range(int(job["part"]), len(jobs))[0] < last]
        map_columns(Sample(last), some, places, "prior", update)
        parts = [_load(job, "outcomes") for job in some]
        write_prior(out / PRIOR, fit_prior(*group_counts(*np.concatenate(parts, axis=1))))
    return read_prior(out / PRIOR)


def last_kept(
    config: RankConfig,
    prior: Prior,
    jobs: Sequence[dict[str, str]],
    places: Places,
    update: Update,
) -> tuple[int, list[int]]:
    """The bits of the last score kept, and how many pairs of just that score each part keeps."""
    map_columns(Scores(config, prior), jobs, places, "scores", update)
    upper = _sum(jobs, "upper")
    total = int(upper.sum())
    wanted = total if config.top_count is None else min(total, config.top_count)
    if config.top_share is not None:
        wanted = round(config.top_share * total)
    if wanted == 0:
        return 1 << 32, [0] * len(jobs)  # above every score
    top, left = _from_above(upper, wanted)
    lower = np.zeros(BINS, dtype=np.int64)
    for job in jobs:
        bits = _load(job, "scores")
        lower += np.bincount(bits[bits >> 16 == top] & (BINS - 1), minlength=BINS)
    low, left = _from_above(lower, left)
    ties = []
    for job in jobs:  # parts are in the order of ids
        equal = int(np.count_nonzero(_load(job, "scores") == (top << 16 | low)))
        ties.append(min(left, equal))
        left -= ties[-1]
    return top << 16 | low, ties


def _from_above(counts: Ints, wanted: int) -> tuple[int, int]:
    """The bin in which the `wanted`-th of all lies, counted from the top, and its place there."""
    sums = np.cumsum(counts[::-1])
    place = int(np.searchsorted(sums, wanted))
    found = len(counts) - 1 - place
    return found, wanted - int(sums[place] - counts[found])


@dataclass(frozen=True)
class Sample:
    """Clicks and looks of the queries of some images of a part, for the prior."""

    last: str  # those with a lesser id, which is a hash: the same ones however they are cut

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Leave the outcomes and how often each was for `log_prior`."""
        rows = _queries(job, ["image_id"])
        rows = rows.filter(pc.less(rows["image_id"], self.last))
        _keep(job, "outcomes", np.stack(group_counts(*numbers(rows)[:2])))
        return StageCount("prior", "pairs", len(rows), len(rows))


@dataclass(frozen=True)
class Scores:
    """The scores of a part, of the pairs that the counts do not drop."""

    config: RankConfig
    prior: Prior

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Leave them, and how many have which upper 16 bits, for `last_kept`."""
        clicks, examined, impressions = numbers(_queries(job, []))
        bits = bits_of(clicks, examined, self.config, self.prior)
        bits = bits[enough(clicks, impressions, self.config) == 0]
        _keep(job, "scores", bits)
        _keep(job, "upper", np.bincount(bits >> 16, minlength=BINS))
        return StageCount("scores", "pairs", len(bits), len(bits))


def enough(clicks: Floats, impressions: Floats, config: RankConfig) -> Ints:
    """The rule (n,) by which the counts alone drop a pair: 1, 2, or 0 for none."""
    found = np.zeros(len(clicks), dtype=np.int64)
    found[clicks < config.min_clicks] = 2
    found[impressions < config.min_impressions] = 1
    return found


def bits_of(clicks: Floats, examined: Floats, config: RankConfig, prior: Prior) -> Bits:
    """Scores (n,) as the bits of float32, which sort as the scores do, for none is negative."""
    return score(clicks, examined, config, prior).astype(np.float32).view(np.uint32)


def _queries(job: dict[str, str], more: list[str]) -> pa.Table:
    columns = ["source", "clicks", "examined", "impressions", *more]
    rows = read_pairs(part_file(Path(job["inp"]), PAIRS, int(job["part"])), columns)
    return rows.filter(pc.equal(rows["source"], QUERY))


def numbers(rows: pa.Table) -> list[Floats]:
    """Clicks, examined impressions and impressions, each (n,); null is none."""
    return [
        pc.fill_null(rows[name], 0).to_numpy().astype(np.float64)
        for name in ("clicks", "examined", "impressions")
    ]


def _keep(job: dict[str, str], name: str, array: npt.NDArray[np.generic]) -> None:
    folder = Path(job["out"]) / TALLY
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}-{job['part']}.npy", array)


def _sum(jobs: Sequence[dict[str, str]], name: str) -> Ints:
    total = np.zeros(BINS, dtype=np.int64)
    for job in jobs:
        total += _load(job, name)
    return total


def _load(job: dict[str, str], name: str) -> Any:
    return np.load(Path(job["out"]) / TALLY / f"{name}-{job['part']}.npy", allow_pickle=False)
