"""Measure a model on a table and write what people look at: metrics.json, report.html."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import r2d2
from r2d2 import progress
from r2d2.config import EvaluationConfig, to_dict
from r2d2.errors import R2D2Error
from r2d2.evaluation.contact import contact_groups, write_examples
from r2d2.evaluation.cost import Stopwatch, cost
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.evaluate import VALIDATION, MemoryLimits, Results, can_choose, evaluate
from r2d2.evaluation.opening import EvaluatedModel, open_encoder
from r2d2.evaluation.published import published
from r2d2.evaluation.report import write_report
from r2d2.pretrained import Pretrained
from r2d2.table import PairsTable
from r2d2.tensor_cores import use_tensor_cores
from r2d2.training.log import read_history
from r2d2.training.run_folder import METRICS, MODEL, REPORT, saved_run, saved_summary

log = logging.getLogger(__name__)

EXAMPLES = "examples.json"
TESTS = ("test", "test_novel", "test_pairs", "test_things")  # measured where no split is named
RESAMPLES = 1000


@dataclass(frozen=True)
class RetrievalSettings:
    """What to measure, and how."""

    splits: Sequence[str] = ()  # none: those of TESTS that are there, or else val
    full: bool = False  # rank `test` against the whole table too
    t2i_only: bool = False  # texts ask for images and no more, as on MUGE
    top_k: int | None = None  # None: as saved with the model
    weight: float | None = None  # of the match score; None: the best on val, or as saved
    cascade: int | None = None  # candidates that both cross encoders score; None: all
    batch_size: int = EvaluationConfig.batch_size
    sample: int | None = None  # images a split, for a quick look
    text_length: int | None = None  # tokens; None: as the model is used
    dim: int | None = None  # numbers of an embedding that are kept; None: all
    resamples: int = RESAMPLES  # of the images, for intervals
    seed: int = 0  # of the sample and of the resampling
    half_states: bool = False  # hidden states on disk in 16 bits
    benchmark: str | None = None  # the published set that this table is
    setting: str = "zero-shot"  # or fine-tuned: beside which published rows it may stand
    submission: str | None = None  # the split whose queries are answered in submission.jsonl
    submission_keys: str = "muge"  # or chinese-clip: what its fields are called


def evaluate_retrieval(
    source: str | Path,
    table_path: str | Path,
    out: Path,
    settings: RetrievalSettings = RetrievalSettings(),
) -> Path:
    """Measure retrieval; write metrics.json, examples.json and report.html under `out`.

    Args:
        source: a model of any kind that `open_encoder` knows.
        table_path: a pairs table.
        out: where to.
        settings: what to measure.

    Returns:
        The report's path.

    Raises:
        R2D2Error: whatever the user can mend.
    """
    check(settings)
    table = PairsTable.open(table_path)
    benchmark = choose_benchmark(table, settings.benchmark)
    t2i_only = settings.t2i_only or published().t2i_only(benchmark or "")
    if settings.full and "test" not in table.splits():
        raise R2D2Error(f"--full ranks split test against the whole table: {table.path} has none")
    opened = open_encoder(source, text_length=settings.text_length, dim=settings.dim)
    _check_stages(settings, opened)
    if settings.submission is not None:
        return _submit(opened, table, out, settings)
    splits = choose_splits(table, settings.splits)
    there = set(table.splits())
    weight = settings.weight
    choosing = opened.encoder.has_match and weight is None
    if choosing and not can_choose(there, splits):
        weight = opened.match_weight
        log.info(
            "no split '%s' to choose by: the match score keeps its saved weight, %g",
            VALIDATION, weight,
        )  # fmt: skip
    read = None if settings.full else {*splits, *({VALIDATION} & there if choosing else ())}
    data = EvaluationSet.from_table(table, read, textless=t2i_only)
    if settings.sample is not None:
        data = data.sample(settings.sample, settings.seed)
    watch = Stopwatch()
    with use_tensor_cores(opened.encoder), progress.bars() as update:
        results = evaluate(
            opened.encoder,
            data,
            top_k=settings.top_k or opened.candidates,
            weight=weight,
            cascade=settings.cascade,
            batch_size=settings.batch_size,
            splits=splits,
            full=("test",) if settings.full and "test" in there else (),
            weight_gallery="full" if settings.full else "split",
            t2i_only=t2i_only,
            resamples=settings.resamples,
            seed=settings.seed,
            memory=MemoryLimits(states="float16" if settings.half_states else "float32"),
            watch=watch,
            progress=update,
        )
    results.metrics["run"] = about("retrieval", opened, table, benchmark) | {
        "cost": cost(
            watch,
            opened.encoder,
            opened.network,
            dim=results.width,
            candidates=settings.top_k or opened.candidates,
            batch_size=settings.batch_size,
        ),
        "setting": settings.setting,
        "sample": settings.sample,
        "seed": settings.seed,
        "resamples": settings.resamples,
        "cut": _cut(opened, results.data, splits),
    }
    _write(source, opened, table, out, results)
    return out / REPORT


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
    """Measure the model of a run of ours on its table, `test` against the whole of it too.

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
    opened = open_encoder(model_path)
    with use_tensor_cores(opened.encoder), progress.bars() as update:
        results = evaluate(
            opened.encoder,
            EvaluationSet.from_table(table),
            top_k=top_k or opened.candidates,
            weight=weight,
            batch_size=batch_size,
            resamples=RESAMPLES,
            progress=update,
        )
    model = opened.model
    if keep_weight and "weight" in results.metrics and isinstance(model, Pretrained):
        model.match_weight = float(results.metrics["weight"])
        model.save(model_path / MODEL)
    results.metrics["run"] = about("retrieval", opened, table, None) | {
        "setting": "fine-tuned" if (saved_run(model_path) or {}).get("init") else "pre-trained",
        "sample": None,
        "seed": 0,
        "resamples": RESAMPLES,
        "cut": _cut(opened, results.data, TESTS),
    }
    _write(model_path, opened, table, out, results)
    return out / REPORT


def check(settings: RetrievalSettings) -> None:
    """Refuse what cannot be, before any work."""
    for name, least in (
        ("top_k", 1),
        ("cascade", 1),
        ("batch_size", 1),
        ("sample", 1),
        ("resamples", 0),
    ):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise R2D2Error(f"{name} is {value}: it must be at least {least}")


def _check_stages(settings: RetrievalSettings, opened: EvaluatedModel) -> None:
    """Refuse settings of the second stage for a model that has none."""
    given = {
        "--candidates": settings.top_k is not None,
        "--weight": settings.weight is not None,
        "--cascade": settings.cascade is not None,
        "--half-states": settings.half_states,
    }
    for option, is_given in given.items():
        if is_given and not opened.encoder.has_match:
            raise R2D2Error(
                f"{option} is of the second stage, and {opened.name} has no cross encoders: leave "
                "it out"
            )


def choose_benchmark(table: PairsTable, asked: str | None) -> str | None:
    """The published set that a table is: as asked for, or as whoever wrote it noted.

    Raises:
        R2D2Error: no such set is known.
    """
    known = published().of_runs
    if asked is not None and asked not in known:
        raise R2D2Error(f"benchmark {asked!r} is not known: choose of {', '.join(known)}")
    noted = table.metadata.get("benchmark")
    return asked or (noted if noted in known else None)


def choose_splits(table: PairsTable, asked: Sequence[str]) -> list[str]:
    """The splits to measure.

    Raises:
        R2D2Error: one that is asked for is not there, or there is none to measure.
    """
    there = table.splits()
    if asked:
        for name in asked:
            table.rows(name)  # which refuses what is not there
        return list(dict.fromkeys(asked))
    found = [name for name in TESTS if name in there]
    if not found and VALIDATION in there:
        log.warning("%s has no split 'test': measuring 'val'", table.path)
        found = [VALIDATION]
    if not found:
        raise R2D2Error(
            f"{table.path} has no split test or val: choose of {', '.join(there)} by --split"
        )
    return found


def about(
    task: str, opened: EvaluatedModel, table: PairsTable, benchmark: str | None
) -> dict[str, Any]:
    """What a report must know of a run to set it beside others."""
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
    }


def _cut(opened: EvaluatedModel, data: EvaluationSet, splits: Sequence[str]) -> dict[str, Any]:
    """How many texts of each split lost their end."""
    found = {}
    for split in splits:
        texts = [
            text
            for text, image in zip(data.texts, data.text_image, strict=True)
            if data.splits[image] == split
        ]
        if texts:
            cut = None if opened.cut is None else opened.cut(texts)
            found[split] = {"texts": len(texts), "cut": cut}
    return found


def _write(
    source: str | Path, opened: EvaluatedModel, table: PairsTable, out: Path, results: Results
) -> None:
    place = Path(source)
    run, train = saved_run(place), saved_summary(place)
    settings: dict[str, Any] = dict(run["config"]) if run else {}
    if isinstance(opened.model, Pretrained):  # with the vocabulary as it was trained
        settings["model"] = to_dict(opened.model.model.config)
    groups = contact_groups(results)
    results.save(out / METRICS, train)
    write_examples(out / EXAMPLES, groups)
    write_report(
        out / REPORT,
        results,
        history=read_history(place),
        settings=settings,
        train=train,
        attribution=table.metadata,
        contact=groups,
    )


def _submit(
    opened: EvaluatedModel, table: PairsTable, out: Path, settings: RetrievalSettings
) -> Path:
    from r2d2.evaluation.submission import answer_queries, write_submission

    weight = settings.weight
    if weight is None:
        weight = opened.match_weight
    assert settings.submission is not None
    table.rows(settings.submission)
    with progress.bars() as update:
        answers = answer_queries(
            opened.encoder,
            table,
            settings.submission,
            top_k=settings.top_k or opened.candidates,
            weight=weight,
            cascade=settings.cascade,
            batch_size=settings.batch_size,
            progress=update,
        )
    path = out / "submission.jsonl"
    write_submission(path, answers, settings.submission_keys)
    return path


def read_metrics(folder: Path) -> Mapping[str, Any]:
    """The metrics.json of a folder that `evaluate` wrote.

    Raises:
        R2D2Error: there is none, or it is damaged.
    """
    path = folder / METRICS if folder.is_dir() else folder
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise R2D2Error(
            f"there is no {METRICS} in {folder}: give folders that `r2d2 evaluate` wrote"
        ) from error
    except ValueError as error:
        raise R2D2Error(f"{path} is damaged ({error}): evaluate again") from error
    if not isinstance(found, dict):
        raise R2D2Error(f"{path} is damaged: evaluate again")
    return found
