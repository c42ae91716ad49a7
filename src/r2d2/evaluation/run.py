"""Measure a saved model on a table and write what people look at: metrics.json, report.html."""

from __future__ import annotations

from pathlib import Path

from r2d2 import progress
from r2d2.config import EvaluationConfig, to_dict
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import evaluate
from r2d2.evaluation.report import write_report
from r2d2.pretrained import load
from r2d2.table import PairsTable
from r2d2.training.log import read_history
from r2d2.training.run_folder import METRICS, MODEL, REPORT, saved_run, saved_summary


def evaluate_run(
    model_path: Path,
    table_path: str | Path,
    out: Path,
    *,
    top_k: int | None = None,
    weight: float | None = None,
    batch_size: int = EvaluationConfig.batch_size,
    keep_weight: bool = False,
) -> Path:
    """Measure a model on a table; write metrics.json and report.html under `out`.

    Args:
        model_path: a run's folder, or a saved model's.
        table_path: a pairs table.
        out: where to.
        top_k: candidates that the cross encoders rank again; None: as saved with the model.
        weight: of the match score; None: the best on `val`.
        batch_size: items, or pairs, a forward pass.
        keep_weight: save the weight with the model.

    Returns:
        The report's path.
    """
    table = PairsTable.open(table_path)
    model = load(model_path)
    with progress.bars() as update:
        results = evaluate(
            model,
            EvaluationSet.from_table(table),
            top_k=top_k or model.top_k,
            weight=weight,
            batch_size=batch_size,
            progress=update,
        )
    if keep_weight and "weight" in results.metrics:
        model.match_weight = float(results.metrics["weight"])
        model.save(model_path / MODEL)
    run, train = saved_run(model_path), saved_summary(model_path)
    settings = dict(run["config"]) if run else {}
    settings["model"] = to_dict(model.model.config)  # with the vocabulary as it was trained
    results.save(out / METRICS, train)
    write_report(
        out / REPORT,
        results,
        history=read_history(model_path),
        settings=settings,
        train=train,
        attribution=table.metadata,
    )
    return out / REPORT
