"""Measure the seconds of a step of each arm in several short turns, and take the fastest turn.

The time of a long run depends on what else the machine did in it. Turns that alternate between the
arms are disturbed equally, and the fastest turn is disturbed least.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch

from r2d2 import progress
from r2d2.ablation.runs import Arm
from r2d2.config import to_dict
from r2d2.files import write_text
from r2d2.table import PairsTable
from r2d2.training.pretrain import run_tokenizer
from r2d2.training.trainer import Trainer

log = logging.getLogger(__name__)

SPEED = "speed.json"
TURNS, WARM, STEPS = 3, 3, 8


@dataclass(frozen=True)
class ArmSpeed:
    """The speed of one arm."""

    seconds: float  # the time of a step
    length: float  # the mean length in tokens that the texts of a batch were padded to
    vocab: int  # the size of the vocabulary, which a run trains or reads


def measure_speeds(
    arms: Sequence[Arm], out: Path, vocab: str | Path | None = None
) -> dict[str, ArmSpeed]:
    """Return the speed of each arm by its name.

    Speeds are saved in OUT/speed.json, and arms with equal settings are measured once.
    """
    known = _read(out / SPEED)
    missing = [arm for arm in arms if _key(arm) not in known]
    if missing:
        log.info("measuring the seconds a step of %s", ", ".join(arm.name for arm in missing))
        turns: dict[str, list[ArmSpeed]] = {_key(arm): [] for arm in missing}
        with progress.bars() as update:
            for turn in range(TURNS):
                for number, arm in enumerate(missing):
                    turns[_key(arm)].append(_turn(arm, vocab))
                    update("speed", turn * len(missing) + number + 1, TURNS * len(missing))
        known |= {key: min(measured, key=lambda s: s.seconds) for key, measured in turns.items()}
        text = json.dumps({key: asdict(speed) for key, speed in known.items()}, indent=1)
        write_text(out / SPEED, text)
    return {arm.name: known[_key(arm)] for arm in arms}


def equal_epochs(seconds: float, speed: ArmSpeed, rows: int, batch_size: int) -> int:
    """Return the number of epochs, at least one, whose training time is nearest to `seconds`."""
    return max(1, round(seconds / (speed.seconds * rows / batch_size)))


def _turn(arm: Arm, vocab: str | Path | None) -> ArmSpeed:
    """Time the steps of a run that is then discarded."""
    with tempfile.TemporaryDirectory() as work:
        table, config, out = PairsTable.open(arm.table), arm.config, Path(work)
        if config.system.threads:
            torch.set_num_threads(config.system.threads)
        trainer = Trainer(table, out, config, run_tokenizer(table, out, config, vocab))
        size = config.train.batch_size
        # The pictures are decoded before the time is taken.
        batches = list(trainer.loader.batches(0, WARM + STEPS, size))
        lengths: list[int] = []
        seconds = 0.0
        for first, share in kinds_of_steps(trainer):
            taken = []
            for raw in batches:
                trainer.step = first  # only the schedules read it
                began = time.perf_counter()
                batch = trainer.prepare(raw)
                trainer.train_step(batch)["total"].item()  # `item` waits for the device
                taken.append(time.perf_counter() - began)
                lengths.append(batch.ids.shape[1])
            seconds += share * statistics.median(taken[WARM:])
    return ArmSpeed(seconds, statistics.fmean(lengths), trainer.tokenizer.vocab_size)


def kinds_of_steps(trainer: Trainer) -> list[tuple[int, float]]:
    """Return the first step of each phase of a run, and the share of the steps in it.

    In the first phase only the towers are trained, in the second the whole model, and in the third
    only the cross encoders. A phase without steps is left out.
    """
    config, steps = trainer.config, trainer.steps
    begun = config.objectives.ranking_from if config.objectives.fgr else 0.0
    ranked = min(math.ceil(begun * steps), trainer.second_stage)
    edges = (0, ranked, trainer.second_stage, steps)
    return [(a, (b - a) / steps) for a, b in pairwise(edges) if b > a]


def _key(arm: Arm) -> str:
    """Return a key of all settings that the speed depends on, so without epochs and seed."""
    config = to_dict(arm.config)
    config["train"] = {k: v for k, v in config["train"].items() if k not in ("epochs", "seed")}
    settings = json.dumps(config, sort_keys=True).encode()
    return f"{arm.config.variant} {hashlib.sha256(settings).hexdigest()[:12]}"


def _read(path: Path) -> dict[str, ArmSpeed]:
    if not path.exists():
        return {}
    try:
        speeds = json.loads(path.read_text(encoding="utf-8"))
        return {key: ArmSpeed(**speed) for key, speed in speeds.items()}
    except (ValueError, TypeError):
        return {}  # then the speeds are measured again
