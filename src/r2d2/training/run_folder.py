"""The folder of a run: which run it has, and whether it may be written to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r2d2.config import Config, to_dict
from r2d2.errors import R2D2Error
from r2d2.files import try_place, write_text
from r2d2.settings import current_names, merge

RUN, TOKENIZER, CHECKPOINTS, MODEL = "run.json", "tokenizer.json", "checkpoints", "model"
BAD_BATCH = "bad_batch.json"
SUMMARY, METRICS, REPORT = "training.json", "metrics.json", "report.html"

# All that a training, and its evaluation, leave in the folder.
WRITTEN = (
    TOKENIZER, CHECKPOINTS, MODEL, SUMMARY, METRICS, REPORT, BAD_BATCH, "best", "epochs.jsonl",
    "examples.json", "history.jsonl", "tensorboard",
)  # fmt: skip

# Settings that may change on --resume: they do not change what is learnt, except for rounding.
FREE = (
    "system.", "evaluation.batch_size", "train.cache_mb", "train.checkpoint_every",
    "train.keep_checkpoints", "train.log_every",
)  # fmt: skip


def saved_run(out: Path) -> dict[str, Any] | None:
    """Read the run.json of a folder, with the current names of settings; None if there is none."""
    run = _read(out / RUN, {"config": dict, "fingerprint": str})
    return run and run | {"config": current_names(run["config"])}


def saved_summary(out: Path) -> dict[str, Any] | None:
    """Read the training.json of a folder; None if no training has finished there."""
    return _read(out / SUMMARY, {"steps": int, "skipped": dict})


def _read(path: Path, types: Mapping[str, type]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise R2D2Error(f"{path} is damaged ({error}): give another folder") from error
    for name, kind in types.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise R2D2Error(f"{path} is damaged (no {name}): give another folder")
    return content


def check_folder(out: Path, *, resume: bool, more: Sequence[str] = ()) -> None:
    """Refuse a folder that has another run or cannot be written, before any work is done.

    Args:
        out: the run's folder.
        resume: whether the run that it holds goes on.
        more: names of what will be written there besides WRITTEN.

    Raises:
        R2D2Error: something of these is there and `resume` is off, or nothing can be written.
    """
    nearest = next((folder for folder in (out, *out.parents) if folder.exists()), out)
    if nearest.exists() and not nearest.is_dir():
        raise R2D2Error(f"{nearest} is a file: give a folder for the run")
    try_place(out / RUN)
    if resume:
        return
    if (out / RUN).exists():
        raise R2D2Error(
            f"{out} holds another run ({RUN}): go on with it by --resume, or give another --out"
        )
    for name in (*WRITTEN, *more):
        if (out / name).exists():
            raise R2D2Error(f"{out} already holds {name}: give another --out")


def remember(out: Path, run: Mapping[str, Any]) -> None:
    """Write run.json, unless it is there already."""
    if saved_run(out) is None:
        write_text(out / RUN, json.dumps(run, indent=1))


def check_run(out: Path, run: Mapping[str, Any]) -> None:
    """Check that the run in a folder, if there is one, has these settings and rows.

    Args:
        out: the run's folder.
        run: "config", plain data; "table", its path; "fingerprint", of the table's rows.

    Raises:
        R2D2Error: the run that is there has other settings or other rows.
    """
    saved = saved_run(out)
    if saved is None:
        return
    current = json.loads(json.dumps(run))  # tuples become lists, as they did there
    if saved["fingerprint"] != current["fingerprint"]:
        raise R2D2Error(
            f"{out} was trained on other rows than {current['table']} holds now: cannot --resume it"
        )
    # A setting that has come since the run began had its default then.
    defaults = json.loads(json.dumps(to_dict(Config())))
    configs = (merge(defaults, saved["config"]), current["config"])
    differing = [
        difference for difference in _differences(*configs) if not difference[0].startswith(FREE)
    ]
    if differing:
        name, was, wanted = differing[0]
        raise R2D2Error(
            f"{out} was started with {name}={was}, not {wanted}: --resume with its settings"
        )


def _differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for part in sorted(old.keys() | new.keys())
            for difference in _differences(
                old.get(part), new.get(part), f"{name}.{part}".lstrip(".")
            )
        ]
    return [] if old == new else [(name, old, new)]
