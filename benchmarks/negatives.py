"""What one half of a pair tells of its label, by how the wrong texts were drawn.

    python benchmarks/negatives.py

The embedded corpus, its pictures split by group as `r2d2 downstream make` does. `drawn`: each
picture's wrong text is drawn from all texts of its split; `nearest`: it is the most similar one,
however many pictures choose it; `dealt`: as the package does, every text once, by hash or near by
similarity. Similar are texts whose characters and bigrams are; a picture is taken for its own
text. Prints Markdown: the AUC of each baseline of `r2d2 data check` on what is held out, with its
interval.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from r2d2.checks.base import CheckOptions
from r2d2.checks.baselines import BaselineCheck
from r2d2.checks.features import grams
from r2d2.checks.run import check_table
from r2d2.data.emoji import build_emoji_table
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.make import make_set
from r2d2.table import PairsTable, write_table

BINS = 1024  # that n-grams are hashed into

SHOWN = ("text only", "text length only", "frequency only", "picture only")


def quiet(*_: object, **__: object) -> None:
    """No progress."""


class Similar:
    """Texts by their characters; pictures by their own texts."""

    def __init__(self, table: PairsTable) -> None:
        pairs = table.take(table.rows())
        self.text = {pair.image: pair.texts[0].text for pair in pairs}

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """(n, BINS)."""
        found = np.zeros((len(texts), BINS), np.float32)
        for row, text in enumerate(texts):
            np.add.at(found[row], np.array(grams(text)) % BINS, 1.0)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def encode_images(self, files: list[bytes]) -> np.ndarray:
        """(n, BINS)."""
        return self.encode_texts([self.text[file] for file in files])


def redrawn(table: PairsTable, out: Path, how: str, model: Similar) -> Path:
    """The set with other wrong texts."""
    pairs = table.take(table.rows())
    right = [pair for pair in pairs if pair.label == 1]
    rng = np.random.default_rng(0)
    rows = list(right)
    for split in sorted({pair.split for pair in right}):
        some = [pair for pair in right if pair.split == split]
        if how == "drawn":
            wrong = rng.integers(0, len(some) - 1, len(some))
            wrong += wrong >= np.arange(len(some))
        else:
            seen = model.encode_images([pair.image for pair in some])
            read = model.encode_texts([pair.texts[0].text for pair in some])
            scores = seen @ read.T
            np.fill_diagonal(scores, -np.inf)
            wrong = scores.argmax(1)
        rows += [
            replace(pair, texts=some[k].texts, label=0)
            for pair, k in zip(some, wrong.tolist(), strict=True)
        ]
    write_table(out, rows)
    return out


def main() -> None:
    """Build, check, print."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        emoji = build_emoji_table(home / "emoji.lance")
        model = Similar(emoji)
        sets = {}
        for kind in ("random", "hard"):
            config = make_downstream_config("icm", ["text.least=1", f"negatives.kind={kind}"])
            made = make_set(emoji, home / f"{kind}.lance", config, model=model)
            sets[f"dealt, {kind}"] = (home / f"{kind}.lance", made.hardness.other)
        base = PairsTable.open(home / "random.lance")
        for how in ("drawn", "nearest"):
            sets[how] = (redrawn(base, home / f"{how}.lance", how, model), float("nan"))
        lines += [
            "| wrong texts | cosine | " + " | ".join(SHOWN) + " |",
            "|---|---|" + "---|" * len(SHOWN),
        ]
        for name, (path, cosine) in sets.items():
            report = check_table(path, quiet, CheckOptions(), checks=(BaselineCheck,))
            told = {fact.name.removeprefix("baseline, "): fact for fact in report.facts}
            cells = [f"{told[n].value} {str(told[n].note).split(' on ')[0]}" for n in SHOWN]
            near = "–" if np.isnan(cosine) else f"{cosine:.3f}"
            lines.append(f"| {name} | {near} | " + " | ".join(cells) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
