"""Check for texts that are missing, repeated, leaked, cut, or not in the vocabulary."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import EXAMPLES, TRAIN, CheckOptions, Chunk, Finding, FindingCounter, Severity
from r2d2.pair import Pair
from r2d2.tokenizer import UNK, key_hash, loose_text_key, text_key

LABEL_SHARE = 0.1  # with fewer distinct texts per row, texts are taken for labels, not captions
REPEATS = 0.05  # repeats among captions are reported above this share
SHOWN = 100_000  # the number of texts that are kept for examples
# Above this share of texts without a known word, recall says little about a model.
FOREIGN_SHARE = 0.1
SHORT = 40  # characters of a text in an example


class TextCheck:
    """Finds texts that are empty, repeated, or in `train` and another split."""

    def __init__(self, options: CheckOptions) -> None:
        self.bare, self.empty, self.twice = FindingCounter(), FindingCounter(), FindingCounter()
        self.rows: Counter[str] = Counter()
        self.total = 0
        self.matching = False  # whether this is a matching set, whose texts occur several times
        # Hashes of the texts of each split: `hashes` by the key that training compares, and `loose`
        # by the coarser key that leaks are searched with.
        self.hashes: dict[str, array[int]] = {}
        self.loose: dict[str, array[int]] = {}
        self.shown: dict[int, str] = {}

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for row, pair in zip(chunk.rows, chunk.pairs, strict=True):
            self.rows[pair.split] += 1
            self.matching |= pair.label == 0
            keys = [text_key(text.text) for text in pair.texts]
            self.total += len(keys)
            if not any(keys):
                self.bare.add(f"row {row} ({pair.image_id})")
            self._see_texts(row, pair, keys)

    def _see_texts(self, row: int, pair: Pair, keys: list[str]) -> None:
        hashes = self.hashes.setdefault(pair.split, array("q"))
        loose = self.loose.setdefault(pair.split, array("q"))
        of_row: set[int] = set()
        for text, key in zip(pair.texts, keys, strict=True):
            if not key:
                if any(keys):
                    self.empty.add(f"row {row} ({pair.image_id})")
                continue
            hashes.append(key_hash(key))
            loose.append(key_hash(loose_text_key(text.text)))
            if loose[-1] in of_row:
                self.twice.add(f"row {row}: {key[:SHORT]}")
            of_row.add(loose[-1])
            if len(self.shown) < SHOWN:
                self.shown[hashes[-1]] = self.shown[loose[-1]] = key

    def findings(self) -> list[Finding]:
        """See `Check`."""
        left_out = "they are left out; give them a text, or remove them"
        rows = sum(self.rows.values())
        # If all rows are left out, nothing is left to train on.
        severity: Severity = "stop" if self.bare.count == rows else "warn"
        findings = self.bare.finding("rows without a text", severity, rows, "rows", left_out)
        findings += self.empty.finding("empty texts", "note", self.total, "texts", left_out)
        findings += self.twice.finding(
            "texts that stand twice in their row", "note", self.total, "texts",
            "training draws such a text more often than others: leave one of the two out",
        )  # fmt: skip
        train, times = _distinct(self.hashes, TRAIN)
        labels = len(train) < LABEL_SHARE * self.rows[TRAIN]
        repeats = int(times.sum()) - len(train)
        most = tuple(
            f"{self._text(train[index])} ({times[index]:,} times)"
            for index in np.argsort(-times, kind="stable")[:EXAMPLES]
        )
        if repeats and labels:
            findings.append(
                Finding(
                    f"texts are labels: {len(train):,} distinct ones in split '{TRAIN}'", "warn",
                    repeats, int(times.sum()), "texts are repeats", most,
                    "training never takes equal texts as negatives of each other, but a batch can "
                    f"have only {len(train):,} different ones: set train.batch_size near that, or "
                    "train a classifier over the image embeddings; and measure accuracy over the "
                    "labels, because recall over pictures says little here",
                )
            )  # fmt: skip
        elif repeats > REPEATS * times.sum() and not self.matching:
            findings.append(
                Finding(
                    f"repeated texts: {len(train):,} distinct ones in split '{TRAIN}'", "note",
                    repeats, int(times.sum()), "texts are repeats", most,
                    "equal texts count as positives of each other, so nothing breaks; captions "
                    "that tell pictures apart would teach more",
                )
            )  # fmt: skip
        for split in sorted(self.hashes.keys() - {TRAIN}) if len(train) and not labels else ():
            texts, _ = _distinct(self.loose, split)
            shared = np.intersect1d(texts, _distinct(self.loose, TRAIN)[0], assume_unique=True)
            if len(shared):
                findings.append(
                    Finding(
                        f"texts of split '{split}' that '{TRAIN}' has too", "warn",
                        len(shared), len(texts), "distinct texts",
                        tuple(self._text(key) for key in shared[:EXAMPLES]),
                        f"figures on '{split}' come out too good: split by text as well, or read "
                        "them as figures for texts that were trained on",
                    )
                )  # fmt: skip
        return findings

    def _text(self, hashed: np.int64) -> str:
        return self.shown.get(int(hashed), "a text further down")


def _distinct(
    hashes: Mapping[str, array[int]], split: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct texts of a split, and how often each occurs in it."""
    keys = np.array(hashes.get(split, ()), dtype=np.int64)
    distinct, times = np.unique(keys, return_counts=True)
    return distinct, times


class TokenCheck:
    """Finds texts that are cut, and characters that the vocabulary lacks."""

    def __init__(self, options: CheckOptions) -> None:
        self.tokenizer, self.length = options.tokenizer, options.max_length
        self.cut, self.unknown, self.foreign = (FindingCounter() for _ in range(3))
        self.total = 0
        self.characters: Counter[str] = Counter()

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        if self.tokenizer is None:
            return
        texts = list(chunk.texts())
        for (row, text), tokens in zip(
            texts, self.tokenizer.uncut([text for _, text in texts]), strict=True
        ):
            self.total += 1
            length = len(tokens) + 2  # [CLS] and [SEP]
            if length > self.length:
                self.cut.add(f"row {row}, {length} tokens: {text[:SHORT]}…")
            if text_key(text) and not _has_word(tokens):
                self.foreign.add(f"row {row}: {text[:SHORT].strip()}")
            if UNK in tokens:
                # A word may be unknown because of a single character, so each is tokenised alone.
                characters = sorted(set(text))
                pieces = zip(characters, self.tokenizer.uncut(characters), strict=True)
                self.characters.update(char for char, piece in pieces if UNK in piece)
                self.unknown.add(f"row {row}: {text[:SHORT]}")

    def findings(self) -> list[Finding]:
        """See `Check`."""
        findings = self.cut.finding(
            f"texts cut at {self.length} tokens", "warn", self.total, "texts",
            "their end is never read: shorten them, cut them into several texts, or raise "
            "model.text.max_length (`r2d2 weights import --max-length` for published weights)",
        )  # fmt: skip
        many = self.foreign.count > FOREIGN_SHARE * self.total
        findings += self.foreign.finding(
            "texts with no known word at all", "stop" if many else "warn", self.total, "texts",
            "the model cannot tell them apart, so their recall is at chance level: give the right "
            "vocabulary by --vocab or --model, or leave them out",
        )  # fmt: skip
        if self.unknown.count:
            most = " ".join(char for char, _ in self.characters.most_common(12))
            findings += [
                Finding(
                    "texts with characters that the vocabulary lacks", "warn",
                    self.unknown.count, self.total, "texts",
                    (f"characters {most}", *self.unknown.examples[:2]),
                    "each of them becomes [UNK]: give the right vocabulary by --vocab, or replace "
                    "the characters (emoji by words, traditional by simplified)",
                )
            ]  # fmt: skip
        return findings


def _has_word(tokens: Sequence[str]) -> bool:
    """Return whether any token is known and has a letter or a digit."""
    return any(token != UNK and any(char.isalnum() for char in token) for token in tokens)
