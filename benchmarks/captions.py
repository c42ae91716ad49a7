"""Captions by people against machine translation: the same training pictures, the same test.

    python benchmarks/captions.py ../shared/data/flickr8k-cn --init runs/ablation/runs/prd2-...

DATA holds train.parquet and val.parquet with columns image_id, image, human, machine (lists of
captions). Each arm trains on the pictures of train.parquet with its own captions; both are tested
on the human captions of val.parquet.

The start (the model at --init, or random weights) and the learning rate are chosen on a fifth of
train.parquet, held out by hash and asked with its human captions: the pair with the best mean R@M
of both arms. val.parquet has no say. Each arm then trains on all of train.parquet with every seed.

Random starts share one vocabulary, trained on both arms' captions. What is done is not done again.
Writes OUT/captions.json and prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from r2d2.ablation.document import ReportTable, table_lines
from r2d2.ablation.outcome import OUTCOME, load_outcome
from r2d2.ablation.runs import ArmRun, measure
from r2d2.ablation.summary import as_dict, difference, mean_spread, summarise
from r2d2.config import Config, make_config
from r2d2.corpus.report.sample import numbers
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.models import load
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import Tokenizer
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import METRICS, TOKENIZER

ARMS = ("machine", "human")  # the first is what the other is compared with
HELD_OUT = 0.2  # of the training pictures, to choose settings on
FIXED = ["train.augment=mild", "train.hard_batches=1", "train.warmup_steps=20"]
FIGURES = {"r_mean": "R@M", "r_1": "R@1", "auc": "AUC"}


def read(path: Path) -> list[dict]:
    """The rows of a parquet file."""
    return pq.read_table(path).to_pylist()


def pairs(rows: Sequence[dict], arm: str, split: str) -> list[Pair]:
    """Rows with one arm's captions."""
    return [
        Pair(r["image_id"], r["image"], tuple(Text(t, "caption") for t in r[arm]), split)
        for r in rows
    ]


def make_tables(data: Path, out: Path) -> None:
    """Tables to train on (ARM.lance, tune-ARM.lance) and to test on (test.lance, tune.lance)."""
    train, val = read(data / "train.parquet"), read(data / "val.parquet")
    held = numbers([row["image_id"] for row in train], 0, "captions") < HELD_OUT
    rest = [row for row, out_of in zip(train, held, strict=True) if not out_of]
    slice_ = [row for row, out_of in zip(train, held, strict=True) if out_of]
    wanted = {"test": pairs(val, "human", "test"), "tune": pairs(slice_, "human", "test")}
    for arm in ARMS:
        wanted |= {arm: pairs(train, arm, "train"), f"tune-{arm}": pairs(rest, arm, "train")}
    for name, some in wanted.items():
        if not (out / f"{name}.lance").exists():
            write_table(out / f"{name}.lance", some)


def run(
    name: str, table: Path, test: Path, config: Config, init: Path | None, out: Path, words: list
) -> Path:
    """One run's folder, finished."""
    folder = out / name
    if not (folder / METRICS).exists():
        if init is None and not (folder / TOKENIZER).exists():
            folder.mkdir(parents=True, exist_ok=True)
            text = config.model.text
            Tokenizer.train(words, text.vocab_size, text.max_length).save(folder / TOKENIZER)
        pretrain(table, folder, config, resume=True, init=init)
        data = EvaluationSet.from_table(PairsTable.open(test))
        measure(folder, data, config.evaluation.batch_size)
    return folder


def unknown(init: Path, texts: Sequence[str]) -> float:
    """The share of tokens that the vocabulary at `init` does not know, in %."""
    tokenizer = load(init, "cpu").tokenizer
    ids, mask = tokenizer(list(texts))
    unknown_id = tokenizer.unk_id
    return 100 * float(((ids == unknown_id) & mask).sum() / mask.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--init", type=Path, help="A model of the embedded corpus.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--lr", nargs="+", default=["0.001", "0.0003"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--variant", default="prd2", help="Of random starts, and its objectives.")
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--out", type=Path, default=Path("runs/captions"))
    arguments = parser.parse_args()
    logging.basicConfig(level="WARNING")
    out, began = arguments.out, time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    make_tables(arguments.data, out)
    rows = read(arguments.data / "train.parquet")
    words = list(chain.from_iterable(row[arm] for row in rows for arm in ARMS))
    starts: dict[str, Path | None] = {"random": None}
    if arguments.init:
        starts["emoji"] = arguments.init
        print(f"tokens that the emoji vocabulary lacks: {unknown(arguments.init, words):.1f}%\n")

    def config(lr: str, seed: int) -> Config:
        settings = [*FIXED, f"train.epochs={arguments.epochs}", f"train.lr={lr}"]
        settings += [f"train.seed={seed}", *arguments.settings]
        found = make_config(arguments.preset, arguments.variant, settings)
        return replace(found, train=replace(found.train, train_vocab=True))

    chosen: dict[tuple[str, str], dict[str, float]] = {}
    for start, init in starts.items():
        for lr in arguments.lr:
            for arm in ARMS:
                folder = run(f"tune-{start}-{lr}-{arm}", out / f"tune-{arm}.lance",
                             out / "tune.lance", config(lr, 0), init, out, words)  # fmt: skip
                metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))["test"]
                found = metrics.get("two_stage", metrics["prerank"])["r_mean"]
                chosen.setdefault((start, lr), {})[arm] = found
    start, lr = max(chosen, key=lambda key: float(np.mean(list(chosen[key].values()))))
    runs = []
    for seed in arguments.seeds:
        for arm in ARMS:
            name, made = f"{start}-{lr}-{arm}-seed{seed}", config(lr, seed)
            table, test = out / f"{arm}.lance", out / "test.lance"
            folder = run(name, table, test, made, starts[start], out, words)
            metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
            runs.append(ArmRun(arm, seed, metrics, load_outcome(folder / OUTCOME)))
    found = summarise(runs, ARMS[0])
    chance = runs[0].metrics["test"]["chance"]["r_mean"]
    data = {
        "tuning": [{"start": s, "lr": r, **f} for (s, r), f in chosen.items()],
        "start": start, "lr": lr, "epochs": arguments.epochs, "chance_r_mean": chance,
        "arms": as_dict(found), "seconds": time.perf_counter() - began,
    }  # fmt: skip
    (out / "captions.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    tuning = [(s, r, *(f"{f[arm]:.1f}" for arm in ARMS)) for (s, r), f in chosen.items()]
    print("\n".join(table_lines(ReportTable("", "", ("start", "lr", *ARMS), tuple(tuning)))) + "\n")
    lines = [
        (arm.name, *(mean_spread(arm.values["test", name]) for name in FIGURES)) for arm in found
    ]
    gaps = found[1].differences
    lines.append(("human less machine", *(difference(gaps["test", name]) for name in FIGURES)))
    columns = ("captions", *FIGURES.values())
    print("\n".join(table_lines(ReportTable("", "", columns, tuple(lines)))))
    print(f"\n{len(arguments.seeds)} seeds, start {start}, lr {lr}; chance R@M {chance:.1f}")


if __name__ == "__main__":
    main()
