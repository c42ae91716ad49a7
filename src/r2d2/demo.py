"""The demo: the whole method on the embedded corpus, from pictures to report."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

from r2d2.config import Config
from r2d2.data.emoji import ATTRIBUTION, build_emoji_table
from r2d2.errors import R2D2Error, RunStoppedError, TerminatedError
from r2d2.evaluation.run import evaluate_run
from r2d2.table import PairsTable
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import MODEL, check_folder

log = logging.getLogger(__name__)

TABLE = "pairs.lance"
# What differs from the preset `tiny`. Ten minutes on two cores are few epochs: overlapping patches,
# positions that are large from the start and pictures that are moved a little learn more in them.
SETTINGS = (
    "train.train_vocab=true",
    "train.epochs=13",
    "train.augment=mild",
    "model.vision.stem=conv",
    "model.vision.position_std=1",
)


def run_demo(out: Path, config: Config, *, resume: bool = False) -> Path:
    """Build the corpus, pre-train, evaluate; all under `out`. Gives the report's path.

    `config`: with train.train_vocab, for the demo needs nothing that is not installed.

    Raises:
        R2D2Error: whatever the user can mend.
        RunStoppedError: a signal was received; the checkpoint is written.
    """
    if not config.train.train_vocab:
        raise R2D2Error(
            "the demo trains its own tokenizer and reads no vocab.txt: set train.train_vocab=true"
        )
    check_folder(out, resume=resume, more=[TABLE])
    table_path = out / TABLE
    if not table_path.exists():
        log.info("building the embedded corpus at %s", table_path)
        build_emoji_table(table_path)
    elif PairsTable.open(table_path).metadata.get("title") != ATTRIBUTION["title"]:
        raise R2D2Error(f"{table_path} is not the embedded corpus: give another --out")
    pretrain(table_path, out, config, resume=True)
    batch_size = config.evaluation.batch_size
    try:
        return evaluate_run(out, table_path, out, batch_size=batch_size, keep_weight=True)
    except (KeyboardInterrupt, TerminatedError) as stopped:
        term = isinstance(stopped, TerminatedError)
        signum = signal.SIGTERM if term else signal.SIGINT
        raise RunStoppedError(signum, out / MODEL) from None
