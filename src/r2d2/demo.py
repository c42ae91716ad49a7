"""The demo: the whole method on the embedded corpus, from pictures to report."""

from __future__ import annotations

import logging
from pathlib import Path

from r2d2.config import Config
from r2d2.data.emoji import build_emoji_table
from r2d2.evaluation.run import evaluate_run
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import check_folder

log = logging.getLogger(__name__)

TABLE = "pairs.lance"


def run_demo(out: Path, config: Config, *, resume: bool = False) -> Path:
    """Build the corpus, pre-train, evaluate; all under `out`. Gives the report's path.

    Raises:
        R2D2Error: whatever the user can mend.
        RunStoppedError: a signal came; the checkpoint is written.
    """
    check_folder(out, resume=resume)
    table_path = out / TABLE
    if not table_path.exists():
        log.info("building the embedded corpus at %s", table_path)
        build_emoji_table(table_path)
    summary = pretrain(table_path, out, config, resume=True)
    return evaluate_run(
        out, table_path, out, settings=config.evaluation, train=summary.as_dict(), keep_weight=True
    )
