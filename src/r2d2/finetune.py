"""Fine-tuning: a saved model trained on, measured on `val` every epoch, the best epoch kept."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from r2d2.config import OFFICIAL, RECOMMENDED, Config, make_tuning_config
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.labelled import score_labelled
from r2d2.evaluation.run import evaluate_run
from r2d2.evaluation.settings import EvaluationSettings, RankingSettings
from r2d2.files import whole_folder, write_text
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.saved_model import read_saved, saved_config
from r2d2.table import PairsTable
from r2d2.tensor_cores import tensor_cores
from r2d2.training.epochs import Epoch, read_epochs, still_rising, write_epochs
from r2d2.training.lora import check_lora
from r2d2.training.preflight import held_back
from r2d2.training.pretrain import RunHooks, pretrain
from r2d2.training.run_folder import METRICS, MODEL, saved_run
from r2d2.training.schedule import warmup_end
from r2d2.training.start import Start, contrast_settings, find_start
from r2d2.training.trainer import Trainer
from r2d2.weights.official import unlike_official

log = logging.getLogger(__name__)

TRAIN, VALIDATION = "train", "val"
FEW = 50.0  # %; if chance gives more, a figure means nothing
BEST = "best"


def finetune(
    table_path: str | Path,
    out: str | Path,
    config: Config,
    *,
    init: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Fine-tune the model at `init` on split `train`, and keep the best epoch on `val`.

    The best epoch is written to `out`/model. With `config.train.labelled`, matching is trained on
    the labels of the table, otherwise retrieval. The shape of the model replaces that of the
    settings. Every process of a run calls this function; see `pretrain`.

    Returns:
        The path of the report; for a matching set, that of its metrics.

    Raises:
        R2D2Error: the table, the model or the settings do not fit, such as a missing split `val`.
        RunStoppedError: a signal was received.
    """
    table, out = PairsTable.open(table_path), Path(out)
    start = tuning_start(out, init, resume)
    if config.train.labelled and not start.model.cross_layers:
        raise R2D2Error(
            f"{start.init} has no cross encoders to learn matching with: give an R2D2 model, or "
            "fine-tune for retrieval"
        )
    keep_best = KeepBest(table, out, config, config.tuning.patience)
    config = replace(config, model=start.model)
    hooks = RunHooks(on_epoch=keep_best, stage="fine-tuning")
    pretrain(table_path, out, config, resume=resume, init=init, hooks=hooks)
    return finish(table, table_path, out, config) if keep_best.first else out


def tuning_config(
    start: Start, task: str, settings: Sequence[str] = (), tuning: str = RECOMMENDED
) -> Config:
    """Settings to fine-tune the model at `start`; see `make_tuning_config`.

    Raises:
        R2D2Error: as `make_tuning_config`, or the official code cannot build the model.
    """
    settings = (*contrast_settings(start, settings), *settings)
    config = make_tuning_config(task, start.model.cross_layers > 0, settings, tuning)
    check_lora(config.train, start.model)
    if tuning == OFFICIAL and (why := unlike_official(start.model)):
        raise R2D2Error(
            f"--tuning {OFFICIAL} is for the official R2D2 models and others of their shape, and "
            f"{start.init} has another ({why}): leave it out for --tuning {RECOMMENDED}"
        )
    return config


def tuning_start(out: Path, init: str | Path | None, resume: bool) -> Start:
    """The model that is fine-tuned; see `find_start`.

    Raises:
        R2D2Error: there is none, or the run that is resumed was a pre-training.
    """
    start = find_start(out, init, resume)
    if start is None and saved_run(out) is not None:
        raise R2D2Error(
            f"{out} was started from random weights, so it is no fine-tuning: give another --out "
            "and --init MODEL"
        )
    if start is None:
        raise R2D2Error("there is no model to fine-tune: give --init MODEL, a run or a model/")
    return start


class KeepBest:
    """Measures the model when an epoch is over, keeps the best one, and says when to stop."""

    def __init__(self, table: PairsTable, out: Path, config: Config, patience: int = 0) -> None:
        """`patience`: epochs without a better figure before the run ends; 0: it does not.

        Raises:
            R2D2Error: the table has no split to measure, or no matches and others to learn from.
        """
        if VALIDATION not in table.splits():
            raise R2D2Error(
                f"{table.path} has no split '{VALIDATION}' to choose the best epoch by (it has "
                f"{', '.join(table.splits())}): give some rows that split, a tenth for example, as "
                "by a column 'split' in the file of captions, or by "
                "--set 'sample.splits={val: 0.1}' of r2d2 corpus build"
            )
        for split in (TRAIN, VALIDATION) if config.train.labelled else ():
            missing = sorted({0, 1} - _kinds(table, split))
            if missing:
                raise R2D2Error(
                    f"{table.path}: split '{split}' has no label {missing[0]}: matching needs "
                    "pairs with label 1 and pairs with label 0, in 'train' and in 'val'"
                )
        self.table = table
        self.patience = patience
        self.out = out
        self.config = config
        self.first = True  # whether this process writes
        self._data: EvaluationSet | None = None

    def __call__(self, trainer: Trainer, epoch: int) -> bool:
        """See `Trainer.run`: True ends the run."""
        here, device = trainer.world, trainer.device
        self.first = here.first
        epochs: list[Epoch] = []
        if here.first:
            epochs = [e for e in read_epochs(self.out) if e.step <= trainer.step]
        # The first process decides: the others might find what it writes, or not yet.
        if here.any(here.first and (not epochs or epochs[-1].step < trainer.step), device):
            model = self._model(trainer)
            if model is not None:
                with tensor_cores(device):
                    measured = self._measure(model, epoch, trainer.step)
                if all(measured.figure > e.figure for e in epochs):
                    model.save(self.out / BEST)
                self._tell(measured, epochs, trainer.steps)
                epochs.append(measured)
                write_epochs(self.out, epochs)
        enough = False
        if epochs and self.patience:
            best = max(epochs, key=lambda e: e.figure)
            enough = sum(e.step > best.step for e in epochs) >= self.patience
        return here.any(enough, device)

    def _model(self, trainer: Trainer) -> Pretrained | None:
        """The model as the first process measures it; the others help to gather it, for None."""
        model = trainer.model
        whole = trainer.plain_weights()
        if not self.first:
            return None
        if whole is not None:
            model = R2D2(trainer.config.model)
            model.load_state_dict(whole)
            model.to(trainer.device)
        top_k = self.config.evaluation.top_k
        widths = trainer.config.objectives.widths
        return Pretrained(model, trainer.tokenizer, top_k=top_k, widths=widths)

    def _measure(self, model: Pretrained, epoch: int, step: int) -> Epoch:
        size = self.config.evaluation.batch_size
        if self.config.train.labelled:
            auc = score_labelled(model, self.table, VALIDATION, size).auc
            return Epoch(epoch, step, auc, 50.0)
        if self._data is None:
            self._data = EvaluationSet.from_table(self.table, (VALIDATION,))
        settings = EvaluationSettings(batch_size=size, splits=(VALIDATION,))
        ranking = RankingSettings(full=(), weight=model.match_weight)
        metrics = evaluate(model, self._data, settings, ranking).metrics[VALIDATION]
        stage = "two_stage" if "two_stage" in metrics else "prerank"
        return Epoch(epoch, step, metrics[stage]["r_mean"], metrics["chance"]["r_mean"])

    def _tell(self, epoch: Epoch, earlier: list[Epoch], steps: int) -> None:
        name = "AUC" if self.config.train.labelled else "R@M"
        best = max([*earlier, epoch], key=lambda e: e.figure)
        log.info(
            "epoch %d: %s on val %.1f (best: %.1f, epoch %d)",
            epoch.epoch, name, epoch.figure, best.figure, best.epoch,
        )  # fmt: skip
        if epoch.chance > FEW:
            log.warning(
                "val is so small that chance alone gives %s %.1f: hold more pictures out to tell "
                "one epoch from another",
                name, epoch.chance,
            )  # fmt: skip
            return
        epochs = [*earlier, epoch]
        hopeless = [
            e for i, e in enumerate(epochs)
            if self._at_chance(e, steps) and not still_rising(epochs[: i + 1])
        ]  # fmt: skip
        if hopeless != [epoch]:  # another epoch, or an earlier warning
            return
        causes = [
            f"is {(saved_run(self.out) or {}).get('init')} the model that was meant, and do the "
            "texts belong to their pictures? `r2d2 data check` looks for it"
        ]
        if (reason := held_back(steps, self.config.train)) is not None:
            causes.append(reason)
        elif earlier:  # it has not risen since, though all of it was trained
            causes.append(f"train.lr={self.config.train.lr:g} may be too high")
        log.warning(
            "%s is %.1f, near chance (%.1f), after the warm-up: %s",
            name, epoch.figure, epoch.chance, "; or: ".join(causes),
        )  # fmt: skip

    def _at_chance(self, epoch: Epoch, steps: int) -> bool:
        """Whether the warm-up is over and what was measured is what guessing gets."""
        train = self.config.train
        limit = epoch.chance + 2 if train.labelled else 2 * epoch.chance
        return epoch.step > warmup_end(steps, train) and epoch.figure < limit


def finish(table: PairsTable, table_path: str | Path, out: Path, config: Config) -> Path:
    """Put the best epoch's model in the place of the last one's, and measure it."""
    with whole_folder(out / MODEL) as work:
        shutil.copytree(out / BEST, work, dirs_exist_ok=True)
    if not config.train.labelled:
        ranks = saved_config(out / MODEL).cross_layers > 0
        return evaluate_run(out, table_path, out, keep_weight=ranks)
    best, metrics = read_saved(out / MODEL), {}
    for split in table.splits():
        if split != TRAIN and _kinds(table, split) < {0, 1}:
            log.warning("split '%s' is not measured: it lacks label 0 or label 1", split)
        elif split != TRAIN:
            scored = score_labelled(best, table, split, config.evaluation.batch_size)
            metrics[split] = {"matching": {"auc": scored.auc, "pairs": len(scored.scores)}}
    write_text(out / METRICS, json.dumps(metrics, indent=2))
    return out / METRICS


def _kinds(table: PairsTable, split: str) -> set[int]:
    """Labels that a split has."""
    return {label for label in table.labels(table.rows(split)) if label is not None}
