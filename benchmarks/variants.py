"""Variants side by side on the embedded corpus: same data, order and epochs, several seeds.

    python benchmarks/variants.py --variants r2d2 prd2 --seeds 0 1 2 --epochs 20

Each run is a folder under --out and is not repeated when it is there; an interrupted one goes on.
Writes OUT/variants.json and prints a Markdown table: mean (spread: largest less smallest).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from r2d2.config import make_config
from r2d2.data.emoji import build_emoji_table
from r2d2.evaluation.run import evaluate_run
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import METRICS

COLUMNS = (
    ("test R@M", "test", "r_mean"),
    ("test R@1", "test", "r_1"),
    ("test_novel R@M", "test_novel", "r_mean"),
    ("test_novel R@10", "test_novel", "r_10"),
    ("test_full R@M", "test_full", "r_mean"),
)


def run(variant: str, seed: int, epochs: int, out: Path, preset: str) -> dict:
    """One run's metrics.json."""
    folder = out / f"{variant}-seed{seed}"
    if not (folder / METRICS).exists():
        table = out / "pairs.lance"
        if not table.exists():
            build_emoji_table(table)
        config = make_config(preset, variant, [f"train.epochs={epochs}", f"train.seed={seed}"])
        pretrain(table, folder, config, resume=True)
        evaluate_run(folder, table, folder)
    return json.loads((folder / METRICS).read_text(encoding="utf-8"))


def figure(metrics: dict, split: str, name: str, stage: str) -> float:
    """One recall in %; r_1 and r_10 are the mean of both directions."""
    recalls = metrics[split].get(stage) or metrics[split]["prerank"]
    if name == "r_mean":
        return recalls[name]
    return (recalls[f"i2t_{name.replace('_', '')}"] + recalls[f"t2i_{name.replace('_', '')}"]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variants", nargs="+", default=["r2d2", "prd2"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("runs/variants"))
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:  # seeds outside: a sweep cut short compares what it has
        for variant in arguments.variants:
            metrics = run(variant, seed, arguments.epochs, arguments.out, arguments.preset)
            for stage in ("prerank", "two_stage"):
                if stage in metrics["test"]:
                    figures = {c: figure(metrics, s, n, stage) for c, s, n in COLUMNS}
                    seconds = metrics["train"]["seconds"]
                    rows.append(
                        {"variant": variant, "stage": stage, "seed": seed, "s": seconds} | figures
                    )
    (arguments.out / "variants.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    names = [column for column, _, _ in COLUMNS]
    print(f"| variant | stage | seeds | {' | '.join(names)} | training, s |")
    print("|---" * (len(names) + 4) + "|")
    for variant in arguments.variants:
        for stage in ("prerank", "two_stage"):
            found = [r for r in rows if r["variant"] == variant and r["stage"] == stage]
            if found:
                cells = []
                for name in [*names, "s"]:
                    values = [row[name] for row in found]
                    spread = max(values) - min(values)
                    cells.append(f"{sum(values) / len(values):.1f} ({spread:.1f})")
                print(f"| {variant} | {stage} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
