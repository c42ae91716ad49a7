"""Measure retrieval on a table and write metrics.json, examples.json and report.html."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import r2d2
from r2d2 import progress
from r2d2.config import to_dict
from r2d2.errors import R2D2Error
from r2d2.evaluation.contact import contact_groups, write_examples
from r2d2.evaluation.cost import Stopwatch, cost
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import Results, candidate_count, evaluate
from r2d2.evaluation.opening import EvaluatedModel, open_encoder
from r2d2.evaluation.pooled_stage import check_choice, check_pooling
from r2d2.evaluation.published import published
from r2d2.evaluation.report import write_report
from r2d2.evaluation.settings import (
    BATCH_SIZE,
    RESAMPLES,
    VALIDATION,
    EvaluationSettings,
    RankingSettings,
    can_choose,
)
from r2d2.evaluation.submission import answer_queries, write_submission
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.pretrained import Pretrained
from r2d2.table import PairsTable
from r2d2.tensor_cores import use_tensor_cores
from r2d2.training.log import read_history
from r2d2.training.run_folder import METRICS, MODEL, REPORT, saved_run, saved_summary

log = logging.getLogger(__name__)

EXAMPLES = "examples.json"
SUBMISSION = "submission.jsonl"
TESTS = ("test", "test_novel", "test_pairs", "test_things")  # measured where no split is named


@dataclass(frozen=True)
class SubmissionSettings:
    """The queries that a file to submit answers, and its layout."""

    split: str
    keys: str = "muge"  # or chinese-clip: the names of the fields


def evaluate_retrieval(
    source: str | Path,
    table_path: str | Path,
    out: Path,
    settings: EvaluationSettings = EvaluationSettings(),
    ranking: RankingSettings = RankingSettings(full=()),
) -> Path:
    """Measure retrieval; write metrics.json, examples.json and report.html under `out`.

    Args:
        source: a model of any kind that `open_encoder` knows.
        table_path: a pairs table.
        out: the folder of the files.
        settings: what to measure.
        ranking: how. The weight, where it is None and there is no `val`, is the saved one.

    Returns:
        The path of the report.

    Raises:
        R2D2Error: whatever the user can mend.
    """
    table = PairsTable.open(table_path)
    benchmark = choose_benchmark(table, settings.benchmark)
    ranking = replace(ranking, t2i_only=ranking.t2i_only or published().t2i_only(benchmark or ""))
    if ranking.full and not set(ranking.full) & set(table.splits()):
        raise R2D2Error(f"--full ranks split test against the whole table: {table.path} has none")
    opened = _open(source, settings, ranking)
    settings = replace(settings, splits=choose_splits(table, settings.splits))
    assert settings.splits is not None
    present = set(table.splits())
    check_choice(ranking, present, settings.splits)
    choosing = opened.encoder.has_match and ranking.weight is None
    if choosing and not can_choose(present, settings.splits):
        ranking = replace(ranking, weight=opened.match_weight)
        log.info(
            "there is no split '%s' to choose the weight of the match score on: it keeps its "
            "saved value, %g",
            VALIDATION, ranking.weight,
        )  # fmt: skip
    chooses = choosing or ranking.chooses_pooled
    read = {*settings.splits, *({VALIDATION} & present if chooses else ())}
    data = EvaluationSet.from_table(
        table, None if ranking.full else read, textless=ranking.t2i_only
    )
    if settings.sample is not None:
        data = data.sample(settings.sample, settings.seed)
    watch = Stopwatch()
    with use_tensor_cores(opened.encoder), progress.bars() as update:
        results = evaluate(opened.encoder, data, settings, ranking, watch=watch, progress=update)
    spent = cost(
        watch,
        opened.encoder,
        opened.network,
        dim=results.width,
        candidates=candidate_count(opened.encoder, ranking),
        batch_size=settings.batch_size,
    )
    results.metrics["run"] = about("retrieval", opened, table, settings, benchmark) | {
        "cost": spent,
        "setting": settings.setting,
        "cut": _cut(opened, results.data, settings.splits),
    }
    _write(source, opened, table, out, results)
    return out / REPORT


def submit(
    source: str | Path,
    table_path: str | Path,
    out: Path,
    submission: SubmissionSettings,
    settings: EvaluationSettings = EvaluationSettings(),
    ranking: RankingSettings = RankingSettings(),
) -> Path:
    """Answer the queries of a split in submission.jsonl; nothing is measured.

    Returns:
        The path of the file.

    Raises:
        R2D2Error: whatever the user can mend.
    """
    table = PairsTable.open(table_path)
    opened = _open(source, settings, ranking)
    table.rows(submission.split)  # refuses a split that is not there
    with progress.bars() as update:
        answers = answer_queries(
            opened.encoder,
            table,
            submission.split,
            top_k=candidate_count(opened.encoder, ranking),
            weight=opened.match_weight if ranking.weight is None else ranking.weight,
            cascade=ranking.cascade,
            batch_size=settings.batch_size,
            progress=update,
        )
    write_submission(out / SUBMISSION, answers, submission.keys)
    return out / SUBMISSION


def evaluate_run(
    model_path: Path,
    table_path: str | Path,
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    keep_weight: bool = False,
) -> Path:
    """Measure the model of a training run on its table, `test` against the whole of it too.

    Args:
        model_path: the folder of a run, or of a saved model.
        table_path: a pairs table.
        out: the folder of the files.
        batch_size: items, or pairs, in a forward pass.
        keep_weight: save the chosen weight with the model.

    Returns:
        The path of the report.
    """
    table = PairsTable.open(table_path)
    opened = open_encoder(model_path)
    settings = EvaluationSettings(batch_size=batch_size, resamples=RESAMPLES)
    with use_tensor_cores(opened.encoder), progress.bars() as update:
        results = evaluate(
            opened.encoder, EvaluationSet.from_table(table), settings, progress=update
        )
    model = opened.model
    if keep_weight and "weight" in results.metrics and isinstance(model, Pretrained):
        model.match_weight = float(results.metrics["weight"])
        model.save(model_path / MODEL)
    results.metrics["run"] = about("retrieval", opened, table, settings, None) | {
        "setting": "fine-tuned" if (saved_run(model_path) or {}).get("init") else "pre-trained",
        "cut": _cut(opened, results.data, TESTS),
    }
    _write(model_path, opened, table, out, results)
    return out / REPORT


def _open(
    source: str | Path, settings: EvaluationSettings, ranking: RankingSettings
) -> EvaluatedModel:
    """The model. R2D2Error where it has no second stage and a setting is of that stage."""
    opened = open_encoder(source, text_length=settings.text_length, dim=settings.dim)
    chosen = {
        "--candidates": ranking.top_k is not None,
        "--weight": ranking.weight is not None,
        "--cascade": ranking.cascade is not None,
        "--half-states": ranking.states != "float32",
    }
    for option, is_chosen in chosen.items():
        if is_chosen and not opened.encoder.has_match:
            raise R2D2Error(
                f"{option} belongs to the second stage, and {opened.name} has no cross encoders: "
                "leave it out"
            )
    check_pooling(opened.encoder, ranking)
    return opened


def choose_benchmark(table: PairsTable, name: str | None) -> str | None:
    """The published set that a table is: the one named, or else the one in the table's metadata.

    Raises:
        R2D2Error: no such set is known.
    """
    known = published().of_runs
    if name is not None and name not in known:
        raise R2D2Error(f"benchmark {name!r} is not known: choose of {', '.join(known)}")
    noted = table.metadata.get("benchmark")
    return name or (noted if noted in known else None)


def choose_splits(table: PairsTable, names: Sequence[str] | None) -> list[str]:
    """The splits to measure: those named, or else the test splits that the table has.

    Raises:
        R2D2Error: the table lacks a split that is named, or it has none to measure.
    """
    present = table.splits()
    if names:
        for name in names:
            table.rows(name)  # which refuses a split that is not there
        return list(dict.fromkeys(names))
    tests = [name for name in TESTS if name in present]
    if not tests and VALIDATION in present:
        log.warning("%s has no split 'test': measuring 'val'", table.path)
        tests = [VALIDATION]
    if not tests:
        raise R2D2Error(
            f"{table.path} has no split test or val: choose of {', '.join(present)} by --split"
        )
    return tests


def about(
    task: str,
    opened: EvaluatedModel,
    table: PairsTable,
    settings: EvaluationSettings,
    benchmark: str | None,
) -> dict[str, Any]:
    """What a report must know of an evaluation to compare it with others."""
    return {
        "task": task,
        "model": opened.name,
        "kind": opened.kind,
        "table": table.path,
        "fingerprint": table.fingerprint,
        "benchmark": benchmark,
        "text_length": opened.text_length,
        "dim": opened.dim,
        "r2d2": r2d2.__version__,
        "sample": settings.sample,
        "seed": settings.seed,
        "resamples": settings.resamples,
    }


def _cut(opened: EvaluatedModel, data: EvaluationSet, splits: Sequence[str]) -> dict[str, Any]:
    """How many texts of each split are cut."""
    counts = {}
    for split in splits:
        texts = [
            text
            for text, image in zip(data.texts, data.text_image, strict=True)
            if data.splits[image] == split
        ]
        if texts:
            counts[split] = opened.cut_counts(texts)
    return counts


def tell_dropped(dropped: DroppedRows) -> None:
    """Log what an evaluation leaves out: how much for which reason, and the first few."""
    for line in dropped.lines():
        log.warning("%s", line)


def _write(
    source: str | Path, opened: EvaluatedModel, table: PairsTable, out: Path, results: Results
) -> None:
    folder = Path(source)
    run, train = saved_run(folder), saved_summary(folder)
    settings: dict[str, Any] = dict(run["config"]) if run else {}
    if isinstance(opened.model, Pretrained):  # with the vocabulary as it was trained
        settings["model"] = to_dict(opened.model.model.config)
    tell_dropped(results.data.dropped)
    groups = contact_groups(results)
    results.save(out / METRICS, train)
    write_examples(out / EXAMPLES, groups)
    write_report(
        out / REPORT,
        results,
        history=read_history(folder),
        settings=settings,
        train=train,
        attribution=table.metadata,
        contact=groups,
    )


def about_of(metrics: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """What metrics tell of their run: its task, model and table; see `about`.

    Raises:
        R2D2Error: they do not tell it, as those of older versions.
    """
    run = metrics.get("run")
    names = ("task", "model", "table", "fingerprint")
    if not isinstance(run, dict) or not all(isinstance(run.get(name), str) for name in names):
        raise R2D2Error(
            f"{folder} does not name its model and table: evaluate again with this version"
        )
    return run


def read_metrics(folder: Path) -> Mapping[str, Any]:
    """The metrics.json of a folder that `evaluate` wrote.

    Raises:
        R2D2Error: there is none, or it is damaged.
    """
    path = folder / METRICS if folder.is_dir() else folder
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise R2D2Error(
            f"there is no {METRICS} in {folder}: give folders that `r2d2 evaluate` wrote"
        ) from error
    except ValueError as error:
        raise R2D2Error(f"{path} is damaged ({error}): evaluate again") from error
    if not isinstance(metrics, dict):
        raise R2D2Error(f"{path} is damaged: evaluate again")
    return metrics
