"""Does ranking by clicks find better pairs? Two corpora of one log, equally large, side by side.

    python benchmarks/clicks.py --seeds 0 1 2 --epochs 10 --out runs/clicks

`examples/make_click_log.py` makes the log over the embedded corpus's training pictures: a third of
the pairs are right at `--wrong 2`, and raw CTR is noisy where impressions are few.

`ranked` keeps the best third by smoothed CTR, through `r2d2 corpus build`; `random` as many pairs
of the same log by chance, through the same build with ranking off. Each trains the same preset for
as many steps and with the same seeds; both are measured on the embedded corpus's own test splits.
Writes OUT/clicks.json and prints a Markdown table. What is there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from r2d2.config import make_config
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.data.emoji import build_emoji_table, emoji_pairs
from r2d2.evaluation.run import evaluate_run
from r2d2.table import PairsTable
from r2d2.training.pretrain import pretrain
from r2d2.training.run_folder import METRICS

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from make_click_log import log_rows, write_log

# Drawn pictures of 72 pixels on white: the photographs' limits would drop them, and variants of
# skin tone are near-duplicates. The comparison is about the ranking alone.
OFF = [
    "query.enabled=false",
    "text.enabled=false",
    "image.enabled=false",
    "dedup.exact=false",
    "dedup.radius=null",
]


def make_log(path: Path, wrong: int, seed: int) -> None:
    """The log of the training pictures."""
    pairs = [pair for pair in emoji_pairs() if pair.split == "train"]
    columns = ("image", "query", "impressions", "clicks", "right")
    write_log(path, log_rows(pairs, wrong, seed), columns)


def make_arms(out: Path, wrong: int, seed: int) -> dict[str, Path]:
    """Both corpora; `right` in their note says how pure they came out."""
    log = out / "log.parquet"
    if not log.exists():
        make_log(log, wrong, seed)
    ranked, chance = out / "ranked.lance", out / "random.lance"
    share = 1 / (1 + wrong)
    if not ranked.exists():
        settings = [*OFF, f"rank.top_share={share}", "rank.max_queries=10", "rank.min_clicks=0"]
        build_corpus([str(log)], ranked, make_corpus_config("zero", settings=settings))
    if not chance.exists():
        kept = sum(len(texts) for texts in read(ranked)[1])
        rows = pq.read_table(log)
        some = np.sort(np.random.default_rng(seed + 1).permutation(len(rows))[:kept])
        half = out / "random.parquet"
        pq.write_table(rows.take(some), half)
        settings = [*OFF, "rank.enabled=false"]
        build_corpus([str(half)], chance, make_corpus_config("zero", settings=settings))
    return {"ranked": ranked, "random": chance}


def read(path: Path) -> tuple[list[bytes], list[list[str]]]:
    """Images and texts of a table."""
    table = PairsTable.open(path)
    found = table.take(table.rows(), ["image", "texts"])
    return [pair.image for pair in found], [[t.text for t in pair.texts] for pair in found]


def purity(path: Path) -> dict:
    """How many pairs a corpus holds, and the share of right ones."""
    truth = {pair.image: {text.text for text in pair.texts} for pair in emoji_pairs()}
    images, texts = read(path)
    right = [
        text in truth[image] for image, some in zip(images, texts, strict=True) for text in some
    ]
    return {"images": len(images), "pairs": len(right), "right": sum(right) / len(right)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--wrong", type=int, default=2)
    parser.add_argument("--variant", default="r2d2")
    parser.add_argument("--out", type=Path, default=Path("runs/clicks"))
    arguments = parser.parse_args()
    out = arguments.out
    arms = make_arms(out, arguments.wrong, seed=0)
    truth = out / "emoji.lance"
    if not truth.exists():
        build_emoji_table(truth)
    rows = [{"arm": arm, **purity(path)} for arm, path in arms.items()]
    for seed in arguments.seeds:  # seeds outside: a sweep cut short compares what it has
        for row, (arm, path) in zip(rows, arms.items(), strict=True):
            folder = out / f"{arm}-seed{seed}"
            if not (folder / METRICS).exists():
                # Steps count, not epochs: one corpus may hold more images than the other.
                images = row["images"]
                epochs = max(1, round(arguments.epochs * rows[0]["images"] / images))
                settings = [
                    f"train.epochs={epochs}",
                    f"train.seed={seed}",
                    "train.weight_decay=0.05",  # of the preset when docs/corpus.md was measured
                ]
                pretrain(
                    path, folder, make_config("tiny", arguments.variant, settings), resume=True
                )
                evaluate_run(folder, truth, folder)
            metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
            for split in ("test", "test_novel", "test_full"):
                best = metrics[split].get("two_stage") or metrics[split]["prerank"]
                row.setdefault(split, []).append(best["r_mean"])
    (out / "clicks.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("| corpus | images | pairs | right pairs | R@M test | R@M test_novel | R@M test_full |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        figures = [
            f"{np.mean(row[split]):.1f} ({', '.join(f'{x:.1f}' for x in row[split])})"
            for split in ("test", "test_novel", "test_full")
        ]
        counts = f"{row['images']} | {row['pairs']} | {100 * row['right']:.1f}%"
        print(f"| {row['arm']} | {counts} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
