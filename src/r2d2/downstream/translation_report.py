"""Report how much people changed the machine's text, and how often the checker disagreed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r2d2.downstream.plain import finite
from r2d2.downstream.translations import TranslationJob
from r2d2.extras import require
from r2d2.files import write_text
from r2d2.page import template

EDGES = tuple(round(0.1 * n, 1) for n in range(11))  # the edges of the histogram of edit shares
SHOWN = 20  # how many of the most changed sentences are shown, and of the disputed ones


@dataclass(frozen=True)
class WordingChange:
    """How much sentences change from one wording to another."""

    sentences: int
    same: float  # the share of sentences that did not change
    distance: float  # the mean edit distance in characters
    share: float  # the mean edit distance divided by the length of the longer text
    histogram: tuple[int, ...]  # of these shares, with the edges EDGES

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> WordingChange:
        """Measure the change from the first text of each pair to the second."""
        if not pairs:
            return cls(0, math.nan, math.nan, math.nan, (0,) * (len(EDGES) - 1))
        distances = [_levenshtein().distance(a, b) for a, b in pairs]
        shares = [_edit_share(a, b) for a, b in pairs]
        counts = np.histogram(shares, EDGES)[0]
        return cls(
            len(pairs), sum(d == 0 for d in distances) / len(pairs), float(np.mean(distances)),
            float(np.mean(shares)), tuple(int(n) for n in counts),
        )  # fmt: skip


@dataclass(frozen=True)
class TranslationReview:
    """The figures of a translation job."""

    sentences: int
    translated: int
    checked: int
    translation: WordingChange  # from the machine's text to the translator's
    check: WordingChange  # from the translator's text to the checker's
    final: WordingChange  # from the machine's text to the checker's
    # By name: the change from the machine's text, and the share that checkers changed afterwards.
    translators: Mapping[str, tuple[WordingChange, float]]
    checkers: Mapping[str, WordingChange]
    furthest: tuple[tuple[str, str, str, str], ...]  # id, source, machine's text, last text
    disputed: tuple[tuple[str, str, str, str], ...]  # id, machine's, translator's, checker's text

    @property
    def disagreement(self) -> float:
        """The share of the checked sentences that the checker changed."""
        return 1 - self.check.same

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with null for NaN."""
        plain = {**asdict(self), "disagreement": self.disagreement, "edges": EDGES}
        return dict(finite(plain))


def review(job: TranslationJob) -> TranslationReview:
    """Measure the present state of a job."""
    machine = {sentence.id: sentence.machine for sentence in job.sentences.values()}
    first = {name: version.text for name, version in job.first.items()}
    second = {name: version.text for name, version in job.second.items()}

    def people(passes: Mapping[str, Any]) -> dict[str, list[str]]:
        names_of: dict[str, list[str]] = {}
        for name, version in passes.items():
            names_of.setdefault(version.by, []).append(name)
        return dict(sorted(names_of.items()))

    translators = {}
    for who, names in people(job.first).items():
        checked = [name for name in names if name in second]
        changed = sum(first[name] != second[name] for name in checked)
        translators[who] = (
            WordingChange.of([(machine[name], first[name]) for name in names]),
            changed / len(checked) if checked else math.nan,
        )
    last = {**first, **second}
    moved = sorted(last, key=lambda name: (-_edit_share(machine[name], last[name]), name))
    disputed = sorted(
        (name for name in second if second[name] != first[name]),
        key=lambda name: (-_edit_share(first[name], second[name]), name),
    )
    return TranslationReview(
        sentences=len(machine),
        translated=len(first),
        checked=len(second),
        translation=WordingChange.of([(machine[name], text) for name, text in first.items()]),
        check=WordingChange.of([(first[name], text) for name, text in second.items()]),
        final=WordingChange.of([(machine[name], text) for name, text in second.items()]),
        translators=translators,
        checkers={
            who: WordingChange.of([(first[name], second[name]) for name in names])
            for who, names in people(job.second).items()
        },
        furthest=tuple(
            (name, job.sentences[name].source, machine[name], last[name]) for name in moved[:SHOWN]
        ),
        disputed=tuple(
            (name, machine[name], first[name], second[name]) for name in disputed[:SHOWN]
        ),
    )


def write_review(folder: Path, figures: TranslationReview) -> Path:
    """Write report.html and report.json into a job's folder, and return the path of the first."""
    page = folder / "report.html"
    html = template("r2d2.downstream", "translations.html").render(
        title=folder.name, review=figures, edges=EDGES, isnan=math.isnan
    )
    text = json.dumps(figures.to_dict(), ensure_ascii=False, indent=1)
    write_text(page.with_suffix(".json"), text)
    write_text(page, html)
    return page


def _edit_share(a: str, b: str) -> float:
    """Return the edit distance divided by the length of the longer text, in [0, 1]."""
    return float(_levenshtein().normalized_distance(a, b))


def _levenshtein() -> Any:
    return require("translate", "rapidfuzz.distance.Levenshtein", "a translation report")
