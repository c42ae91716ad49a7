"""Choose the weight of a trained model's match score, and save it with the model."""

from __future__ import annotations

import logging
from pathlib import Path

from r2d2 import progress
from r2d2.arguments import default_device
from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.settings import VALIDATION, EvaluationSettings, RankingSettings
from r2d2.saved_model import read_saved
from r2d2.table import PairsTable

log = logging.getLogger(__name__)


def keep_best_weight(folder: Path, table: PairsTable, batch_size: int) -> float | None:
    """Choose the weight that is the best on the whole split `val`, and save it with the model.

    Args:
        folder: of a saved model.
        table: the one that it was trained on.
        batch_size: items, or pairs, in a forward pass.

    Returns:
        The weight. None where it cannot be chosen, because the model has no cross encoders or the
        table has no `val` that can be ranked; the latter is logged.
    """
    model = read_saved(folder, default_device())
    if not model.has_match:
        return None
    if VALIDATION not in table.splits():
        log.warning(
            "there is no split '%s' to choose the weight of the second stage by: it stays %g, and "
            "the second stage may rank worse than the first alone",
            VALIDATION, model.match_weight,
        )  # fmt: skip
        return None
    try:
        data = EvaluationSet.from_table(table, (VALIDATION,))
        with progress.bars() as update:
            settings = EvaluationSettings(batch_size=batch_size, splits=())
            metrics = evaluate(
                model, data, settings, RankingSettings(full=()), progress=update
            ).metrics
    except R2D2Error as error:
        log.warning("the weight of the second stage stays %g: %s", model.match_weight, error)
        return None
    model.match_weight = float(metrics["weight"])
    model.save(folder)
    return model.match_weight
