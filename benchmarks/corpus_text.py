"""The text filter: rows a second of processor time, and what it drops of texts that people wrote.

    python benchmarks/corpus_text.py
    python benchmarks/corpus_text.py --captions ../shared/data/flickr8k-cn/train.parquet human

Without `--captions`: 200,000 captions of 20 characters, drawn by Zipf's law from the characters of
the emoji names, and a list of 20,000 words of two to four of them; without parts of speech, and
with. With a Parquet file and a column of texts: how many the preset `zero` drops, by rule, with
examples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.funnel import count_stage
from r2d2.corpus.texts.text_filter import TextFilter
from r2d2.data.emoji import emoji_pairs


def synthetic(rows: int, length: int, words: int, seed: int = 0) -> tuple[list[str], list[str]]:
    texts = [text.text for pair in emoji_pairs() for text in pair.texts]
    characters = sorted({c for text in texts for c in text if c >= "一"})
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(characters))
    shares = 1 / np.arange(1, len(characters) + 1)
    draw = rng.choice(order, size=(rows, length), p=shares / shares.sum())
    captions = ["".join(characters[i] for i in row) for row in draw]
    rare = order[len(order) // 2 :]  # a list that drops some captions, not most
    listed = {
        "".join(characters[i] for i in rng.choice(rare, size=rng.integers(2, 5)))
        for _ in range(2 * words)
    }
    return captions, sorted(listed)[:words]


def speed(arguments) -> None:
    captions, listed = synthetic(arguments.rows, arguments.length, arguments.words)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.txt"
        path.write_text("\n".join(listed), encoding="utf-8")
        lists = (*TextFilterConfig().word_lists, str(path))
        configs = {
            "zero": TextFilterConfig(word_lists=lists),
            "with words and nouns": TextFilterConfig(word_lists=lists, min_words=5, noun=True),
        }
        print(f"{len(captions):,} captions of {arguments.length} characters, {len(listed):,} words")
        for name, config in configs.items():
            judge = TextFilter(config)
            judge(captions[:1000])
            times = []
            for _ in range(arguments.rounds):
                start = time.process_time()
                _, rules = judge(captions)
                times.append(time.process_time() - start)
            kept = rules.count(None)
            print(f"{name}: {len(captions) / min(times):,.0f} rows/s, {kept:,} kept")


def drops(path: str, column: str) -> None:
    texts: list[str] = []
    for found in pq.read_table(path)[column].to_pylist():
        texts += found if isinstance(found, list) else [found]
    cleaned, rules = TextFilter(TextFilterConfig())(texts)
    count = count_stage("text filter", "texts", rules, cleaned)
    print(f"{path}, {column}: {count.seen:,} texts, {count.seen - count.kept} dropped")
    for rule, number in sorted(count.dropped.items(), key=lambda item: -item[1]):
        print(f"  {number} {rule}: {' | '.join(count.examples[rule])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captions", nargs=2, metavar=("FILE", "COLUMN"))
    arguments = parser.parse_args()
    if arguments.captions:
        drops(*arguments.captions)
    else:
        speed(arguments)


if __name__ == "__main__":
    main()
