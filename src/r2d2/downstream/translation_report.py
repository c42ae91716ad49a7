"""How much people changed the machine's text, and how often the checker disagreed."""

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

EDGES = tuple(round(0.1 * n, 1) for n in range(11))  # of the histogram of edit shares
SHOWN = 20  # sentences that moved furthest, and as many that the second person changed


@dataclass(frozen=True)
class WordingChange:
    """From one wording to another, over some sentences."""

    sentences: int
    same: float  # share that did not change at all
    distance: float  # mean, in characters
    share: float  # mean, by the longer text's characters
    histogram: tuple[int, ...]  # of the shares, by EDGES

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> WordingChange:
        """Of texts before and after."""
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
    check: WordingChange  # from the translator's to the checker's: where they differ, they disagree
    final: WordingChange  # from the machine's to the last word
    # by name: from the machine's; share changed
    translators: Mapping[str, tuple[WordingChange, float]]
    checkers: Mapping[str, WordingChange]
    furthest: tuple[tuple[str, str, str, str], ...]  # id, source, machine, last word
    disputed: tuple[tuple[str, str, str, str], ...]  # id, machine, translator, checker

    @property
    def disagreement(self) -> float:
        """Share of the checked sentences that the second person changed."""
        return 1 - self.check.same

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN is null."""
        plain = {**asdict(self), "disagreement": self.disagreement, "edges": EDGES}
        return dict(finite(plain))


def review(job: TranslationJob) -> TranslationReview:
    """Measure a job as it stands."""
    machine = {one.id: one.machine for one in job.sentences.values()}
    first = {name: said.text for name, said in job.first.items()}
    second = {name: said.text for name, said in job.second.items()}

    def people(passes: Mapping[str, Any]) -> dict[str, list[str]]:
        names_of: dict[str, list[str]] = {}
        for name, said in passes.items():
            names_of.setdefault(said.by, []).append(name)
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
    """Write report.html and report.json into a job's folder; gives the first."""
    page = folder / "report.html"
    html = template("r2d2.downstream", "translations.html").render(
        title=folder.name, review=figures, edges=EDGES, isnan=math.isnan
    )
    text = json.dumps(figures.to_dict(), ensure_ascii=False, indent=1)
    write_text(page.with_suffix(".json"), text)
    write_text(page, html)
    return page


def _edit_share(a: str, b: str) -> float:
    """The edit distance by the longer text's characters, in [0, 1]."""
    return float(_levenshtein().normalized_distance(a, b))


def _levenshtein() -> Any:
    return require("translate", "rapidfuzz.distance.Levenshtein", "a translation report")
