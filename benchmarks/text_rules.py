"""Error rates of the text rules on sentences that are judged by hand.

    python benchmarks/text_rules.py
    python benchmarks/text_rules.py --show development

Each row of `tests/corpus/sentences/*.tsv` is a sentence that the preset `zero` must keep or must
drop, with the rule that it must hit, or that it resembles and must not hit. Half of the sentences
that were written before the rules are in `measuring.tsv`, those that were written after them in
`unseen.tsv`; the rules were made with a view of `development.tsv` alone. Those of `outside.tsv` are
by someone who had not seen the rules; a few rules were widened afterwards. `--show` lists the
errors of one file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.texts.text_filter import TextFilter

SENTENCES = Path(__file__).parents[1] / "tests/corpus/sentences"
FILES = ("development", "measuring", "unseen", "outside")


@dataclass(frozen=True)
class Sentence:
    """A text, whether it is to be kept, and the rule that it hits or resembles ("-": none)."""

    keep: bool
    rule: str
    text: str


@dataclass(frozen=True)
class ErrorRates:
    """Errors of the text filter on the sentences of one file."""

    good: int
    bad: int
    dropped: list[tuple[Sentence, str]]  # good sentences, and the rule that dropped each
    missed: list[Sentence]  # bad sentences that were kept
    mistaken: list[tuple[Sentence, str]]  # bad sentences that another rule dropped


def read_sentences(path: Path) -> list[Sentence]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(row["verdict"] == "keep", row["rule"], row["text"]) for row in rows]


def measure(sentences: Sequence[Sentence], text_filter: TextFilter) -> ErrorRates:
    rules = text_filter([sentence.text for sentence in sentences])[1]
    pairs = list(zip(sentences, rules, strict=True))
    good = sum(sentence.keep for sentence in sentences)
    return ErrorRates(
        good,
        len(sentences) - good,
        [(s, rule) for s, rule in pairs if s.keep and rule is not None],
        [s for s, rule in pairs if not s.keep and rule is None],
        [(s, rule) for s, rule in pairs if not s.keep and rule not in (None, s.rule)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--show", choices=FILES, help="list the errors of this file")
    arguments = parser.parse_args()
    text_filter = TextFilter(TextFilterConfig())
    for name in FILES:
        rates = measure(read_sentences(SENTENCES / f"{name}.tsv"), text_filter)
        missed, dropped = len(rates.missed), len(rates.dropped)
        print(
            f"{name}: {missed} of {rates.bad} bad sentences missed ({missed / rates.bad:.1%}), "
            f"{dropped} of {rates.good} good ones dropped ({dropped / rates.good:.1%}), "
            f"{len(rates.mistaken)} bad ones dropped by another rule"
        )
        if name == arguments.show:
            for s in rates.missed:
                print(f"  missed, {s.rule}: {s.text}")
            for s, rule in rates.dropped:
                print(f"  dropped by {rule}: {s.text}")
            for s, rule in rates.mistaken:
                print(f"  dropped by {rule}, not by {s.rule}: {s.text}")


if __name__ == "__main__":
    main()
