"""Do the runs of an ablation one after the other, each only once.

Each run has a folder. It is finished when its last file, metrics.json, exists. A finished run is
read, an interrupted run continues from its checkpoint, and a run with other settings is refused.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r2d2 import progress
from r2d2.ablation.outcome import OUTCOME, Outcome, load_outcome, outcome_of, save_outcome
from r2d2.config import Config, to_dict
from r2d2.errors import RunStoppedError
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.models import load_network
from r2d2.table import PairsTable
from r2d2.training.pretrain import RunHooks, pretrain
from r2d2.training.run_folder import CHECKPOINTS, METRICS, MODEL, check_run, saved_summary

log = logging.getLogger(__name__)

RUNS = "runs"


@dataclass(frozen=True)
class Arm:
    """A configuration that is compared with others, trained with every seed."""

    name: str
    config: Config  # its seed is replaced in each run
    table: str  # the arm is trained on the split `train` of this table
    rows: int  # the number of rows of that split
    share: float = 1.0  # what share of the corpus that split is

    def folder(self, out: Path, seed: int) -> Path:
        """Return the folder of one run, which does not depend on the other arms."""
        epochs = self.config.train.epochs
        share = "" if self.share == 1 else f"-share{self.share:g}"
        return out / RUNS / f"{self.config.variant}-{epochs}epochs{share}-seed{seed}"


@dataclass(frozen=True)
class ArmRun:
    """A finished run."""

    arm: str
    seed: int
    metrics: dict[str, Any]  # the metrics of `evaluate`, with those of the training under "train"
    outcome: Outcome


def run_arms(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    out: Path,
    table: PairsTable,
    vocab: str | Path | None = None,
) -> Iterator[list[ArmRun]]:
    """Do the missing runs, seed by seed, and yield all runs so far after each seed.

    Seeds are the outer loop: an ablation that is stopped compares all arms on the seeds it has.

    Args:
        arms: the configurations to compare.
        seeds: the seeds that each arm is trained with.
        out: the folder that holds the folders of the runs.
        table: to measure on; the table of an arm may have fewer rows to train on.
        vocab: see `pretrain`.

    Raises:
        R2D2Error: a folder has a run with other settings or rows.
        RunStoppedError: a signal stopped the run; the same command continues it.
    """
    check_arms(arms, seeds, out)
    data = EvaluationSet.from_table(table)
    done: list[ArmRun] = []
    for seed in seeds:
        for arm in arms:
            count = len(arms) * len(seeds)
            log.info("run %d of %d: %s, seed %d", len(done) + 1, count, arm.name, seed)
            done.append(_run(arm, seed, out, data, vocab, preflight_warnings=not done))
        yield done


def check_arms(arms: Sequence[Arm], seeds: Sequence[int], out: Path) -> None:
    """Raise R2D2Error where a folder has a run with other settings or rows."""
    for arm in arms:
        fingerprint = PairsTable.open(arm.table).fingerprint
        for seed in seeds:
            config = to_dict(_seeded(arm.config, seed))
            run = {"config": config, "table": arm.table, "fingerprint": fingerprint}
            check_run(arm.folder(out, seed), run)


def _seeded(config: Config, seed: int) -> Config:
    return replace(config, train=replace(config.train, seed=seed))


def _run(
    arm: Arm,
    seed: int,
    out: Path,
    data: EvaluationSet,
    vocab: str | Path | None,
    preflight_warnings: bool,
) -> ArmRun:
    folder = arm.folder(out, seed)
    if not (folder / METRICS).exists():
        try:
            pretrain(
                arm.table, folder, _seeded(arm.config, seed), resume=True, vocab=vocab,
                # All runs of an ablation would give the same warnings.
                hooks=RunHooks(preflight_warnings=preflight_warnings),
            )  # fmt: skip
        except RunStoppedError as stopped:
            how = "the same command goes on from there"
            raise RunStoppedError(stopped.signum, stopped.checkpoint, how) from None
        measure(folder, data, arm.config.evaluation.batch_size)
        # Checkpoints are removed, because they have four times the size of the model.
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return ArmRun(arm.name, seed, metrics, load_outcome(folder / OUTCOME))


def measure(folder: Path, data: EvaluationSet, batch_size: int) -> None:
    """Write queries.safetensors and metrics.json, and keep the chosen weight with the model."""
    model = load_network(folder, "fine-tune")
    with progress.bars() as update:
        settings = EvaluationSettings(batch_size=batch_size)
        results = evaluate(model, data, settings, progress=update)
    if "weight" in results.metrics:
        model.match_weight = float(results.metrics["weight"])
        model.save(folder / MODEL)
    save_outcome(folder / OUTCOME, outcome_of(results))
    # This file is written last, because it marks the run as finished.
    results.save(folder / METRICS, saved_summary(folder))
