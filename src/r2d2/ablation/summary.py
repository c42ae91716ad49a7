"""Summarise each arm of an ablation over its seeds, and its difference from the first arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from r2d2.ablation.outcome import TaskOutcome
from r2d2.ablation.runs import ArmRun
from r2d2.ablation.statistics import (
    FIGURES,
    Estimate,
    draw_images,
    draw_seeds,
    estimate,
    figures,
    units,
)
from r2d2.errors import R2D2Error

TASKS = ("test", "test_novel", "test_full")
RESAMPLES = 2000
ENOUGH_SEEDS = 5  # with fewer seeds no verdict is given
BETTER, WORSE, OPEN = "better", "worse", "open"

Key = tuple[str, str]  # task, figure


@dataclass(frozen=True)
class ArmSummary:
    """The figures of one arm."""

    name: str
    seeds: tuple[int, ...]
    seconds: tuple[float, ...]  # the training time of each run
    values: dict[Key, Estimate]
    # Differences from the baseline; empty for the baseline itself.
    differences: dict[Key, Estimate] = field(default_factory=dict)

    def verdict(self, key: Key) -> str:
        """Return better, worse or open; empty for fewer than ENOUGH_SEEDS seeds in common."""
        estimate = self.differences.get(key)
        if (
            estimate is None
            or len(estimate.by_seed) < ENOUGH_SEEDS
            or not np.isfinite(estimate.low)
        ):
            return ""
        if estimate.low > 0:
            return BETTER
        return WORSE if estimate.high < 0 else OPEN


def summarise(
    runs: Sequence[ArmRun], baseline: str, resamples: int = RESAMPLES, seed: int = 0
) -> list[ArmSummary]:
    """Summarise every arm, in the order in which they first ran.

    Args:
        runs: all finished runs.
        baseline: the arm that the others are compared with, on the seeds that both have.
        resamples: the number of resamples of the bootstrap. All seeds and arms of a task share the
            draws of images, and two arms that are compared share the draws of seeds.
        seed: of the bootstrap.

    Raises:
        R2D2Error: two runs were measured on different queries.
    """
    first = runs[0].outcome
    tasks = [task for task in TASKS if task in first]
    points: dict[Key, dict[tuple[str, int], float]] = {}
    drawn: dict[Key, dict[tuple[str, int], npt.NDArray[np.float64]]] = {}
    for task in tasks:
        count = len(units(first[task]))
        ones = np.ones((1, count), dtype=np.int64)
        weights = np.concatenate([ones, draw_images(count, resamples, seed)])
        for run in runs:
            _require_same(first[task], run, task)
            for name, values in figures(run.outcome[task], weights).items():
                points.setdefault((task, name), {})[run.arm, run.seed] = float(values[0])
                drawn.setdefault((task, name), {})[run.arm, run.seed] = values[1:]
    arms = list(dict.fromkeys(run.arm for run in runs))
    seeds = {arm: tuple(run.seed for run in runs if run.arm == arm) for arm in arms}
    summaries = []
    for arm in arms:
        arm_seeds = seeds[arm]
        shared = tuple(s for s in arm_seeds if s in seeds.get(baseline, ()))
        means: dict[Key, Estimate] = {}
        differences: dict[Key, Estimate] = {}
        for key in [(task, name) for task in tasks for name in FIGURES]:
            at, under = points[key], drawn[key]
            means[key] = _estimate(
                [at[arm, s] for s in arm_seeds], [under[arm, s] for s in arm_seeds], resamples, seed
            )
            if arm != baseline and shared:
                differences[key] = _estimate(
                    [at[arm, s] - at[baseline, s] for s in shared],
                    [under[arm, s] - under[baseline, s] for s in shared],
                    resamples, seed,
                )  # fmt: skip
        seconds = tuple(float(r.metrics["train"]["seconds"]) for r in runs if r.arm == arm)
        summaries.append(ArmSummary(arm, arm_seeds, seconds, means, differences))
    return summaries


def _estimate(
    points: Sequence[float],
    resampled: Sequence[npt.NDArray[np.float64]],
    resamples: int,
    seed: int,
) -> Estimate:
    share = draw_seeds(len(points), resamples, seed)
    return estimate(np.array(points), np.stack(resampled), share)


def _require_same(first: TaskOutcome, run: ArmRun, task: str) -> None:
    if task not in run.outcome or not first.same_queries(run.outcome[task]):
        raise R2D2Error(
            f"{run.arm}, seed {run.seed}, was measured on other queries of {task} than the first "
            "run: remove its folder, and it is done again"
        )


def mean_spread(estimate: Estimate, digits: int = 1) -> str:
    """Write the mean and the spread over the seeds, such as `82.3 (1.4)`."""
    if not np.isfinite(estimate.mean):
        return ""
    return f"{estimate.mean:.{digits}f} ({estimate.spread:.{digits}f})"


def difference(estimate: Estimate, digits: int = 1) -> str:
    """Write the mean difference and its interval, such as `-0.8 [-2.1, 0.4]`."""
    if not np.isfinite(estimate.mean):
        return ""
    return f"{estimate.mean:+.{digits}f} [{estimate.low:+.{digits}f}, {estimate.high:+.{digits}f}]"


def as_dict(arms: Sequence[ArmSummary]) -> list[dict[str, object]]:
    """Return plain data for JSON, nested by task and then by figure."""

    def nested(estimates: Mapping[Key, Estimate], arm: ArmSummary) -> dict[str, dict[str, object]]:
        plain: dict[str, dict[str, object]] = {}
        for (task, name), value in estimates.items():
            if np.isfinite(value.mean):
                entry: dict[str, object] = {
                    "mean": value.mean, "low": value.low, "high": value.high,
                    "spread": value.spread, "by_seed": list(value.by_seed),
                }  # fmt: skip
                if estimates is arm.differences and (verdict := arm.verdict((task, name))):
                    entry["verdict"] = verdict
                plain.setdefault(task, {})[name] = entry
        return plain

    return [
        {
            "arm": arm.name,
            "seeds": list(arm.seeds),
            "seconds": list(arm.seconds),
            "figures": nested(arm.values, arm),
            "differences": nested(arm.differences, arm),
        }
        for arm in arms
    ]
