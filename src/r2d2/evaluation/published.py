"""Published results, from published.yaml: every figure with its source, split and protocol."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from r2d2.errors import R2D2Error
from r2d2.inputs.yaml_text import read_yaml
from r2d2.ranking.metrics import RECALLS

SETTINGS = ("zero-shot", "fine-tuned", "ablation")
FIGURES = (*RECALLS, "r_mean", "auc", "mean", "r1_gain", "top1")
ARXIV = re.compile(r"\d{4}\.\d{5}")


@dataclass(frozen=True)
class PublishedSource:
    """The paper or page that figures come from."""

    title: str
    arxiv: str | None
    url: str

    @property
    def name(self) -> str:
        """As it is cited."""
        return f"arXiv {self.arxiv}" if self.arxiv else self.title


@dataclass(frozen=True)
class SplitSize:
    """How many images and texts a split has as it was published."""

    images: int
    texts: int
    rounded: bool = False  # whether the source gives rounded numbers

    def is_that_of(self, images: int, texts: int) -> bool:
        """Whether these are the sizes of the whole split, up to rounding."""
        slack = ROUNDED if self.rounded else 0.0
        pairs = ((self.images, images), (self.texts, texts))
        return all(abs(own - other) <= slack * own for own, other in pairs)


@dataclass(frozen=True)
class PublishedRow:
    """One model's figures on one split of one set, in %."""

    model: str
    set: str
    split: str
    setting: str  # zero-shot, fine-tuned or ablation
    protocol: str
    source: PublishedSource
    where: str  # the table or section of the source
    figures: Mapping[str, float]


MIXED = "mixed"  # the split of a figure over several sets
ROUNDED = 0.05  # of a number that is given rounded


@dataclass(frozen=True)
class PublishedResults:
    """The whole file."""

    rows: tuple[PublishedRow, ...]
    sets: Mapping[str, Mapping[str, Any]]  # name, task, perhaps t2i_only, splits, rounded
    protocols: Mapping[str, Mapping[str, Any]]  # about, and whether our runs are comparable
    missing: Mapping[str, str]  # sets whose published table was not available

    @property
    def of_runs(self) -> tuple[str, ...]:
        """The sets that a run may be on: not those that a paper averages over several."""
        mixed = {row.set for row in self.rows if row.split == MIXED}
        return tuple(key for key in self.sets if key not in mixed)

    def name(self, key: str) -> str:
        """A set's name as people write it."""
        return str(self.sets[key]["name"]) if key in self.sets else key

    def size(self, key: str, split: str) -> SplitSize | None:
        """The size of a split as published; None: it is not known here."""
        entry = self.sets.get(key, {})
        counts = entry.get("splits", {}).get(split)
        if counts is None:
            return None
        images, texts = counts
        return SplitSize(images, texts, bool(entry.get("rounded", False)))

    def t2i_only(self, key: str) -> bool:
        """Whether only texts are queries."""
        return bool(self.sets.get(key, {}).get("t2i_only", False))


@functools.cache
def published() -> PublishedResults:
    """The file that comes with the package."""
    text = resources.files("r2d2.evaluation").joinpath("published.yaml").read_text("utf-8")
    return parse(yaml.safe_load(text), "published.yaml")


def read_published(path: Path) -> PublishedResults:
    """A file of one's own, in the same layout.

    Raises:
        R2D2Error: it cannot be read, or a row lacks something or contradicts itself.
    """
    return parse(read_yaml(path), str(path))


def parse(content: Any, name: str) -> PublishedResults:
    """Check a file's content.

    Raises:
        R2D2Error: names the row and what is wrong with it.
    """
    if not isinstance(content, dict):
        raise R2D2Error(f"{name} must hold sources, protocols, sets and results")
    sources = {key: _source(key, entry, name) for key, entry in content["sources"].items()}
    sets, protocols = content["sets"], content["protocols"]
    for key, entry in sets.items():
        for split, counts in entry.get("splits", {}).items():
            whole = isinstance(counts, list) and all(type(n) is int and n > 0 for n in counts)
            if not whole or len(counts) != 2:
                raise R2D2Error(
                    f"{name}: set {key}, split {split} is {counts!r}: give [images, texts]"
                )
    for key, protocol in protocols.items():
        if not isinstance(protocol.get("ours"), bool) or not protocol.get("about"):
            raise R2D2Error(f"{name}: protocol {key} needs `ours` and `about`")
    rows: list[PublishedRow] = []
    seen: set[tuple[str, ...]] = set()
    for number, entry in enumerate(content["results"], 1):
        row_name = f"{name}, result {number} ({entry.get('model', 'no model')})"
        known = {
            "set": sets, "protocol": protocols, "source": sources, "setting": SETTINGS,
        }  # fmt: skip
        for field, values in known.items():
            if entry.get(field) not in values:
                raise R2D2Error(
                    f"{row_name}: {field} {entry.get(field)!r} is none of {list(values)}"
                )
        for field in ("model", "split", "where"):
            if not isinstance(entry.get(field), str) or not entry[field]:
                raise R2D2Error(f"{row_name}: {field} is missing")
        figures = entry.get("figures")
        if not isinstance(figures, dict) or not figures:
            raise R2D2Error(f"{row_name}: it has no figures")
        _check_figures(figures, row_name, bool(sets[entry["set"]].get("t2i_only")))
        row = PublishedRow(
            entry["model"], entry["set"], entry["split"], entry["setting"], entry["protocol"],
            sources[entry["source"]], entry["where"], figures,
        )  # fmt: skip
        identity = (row.model, row.set, row.split, row.setting, row.protocol)
        if identity in seen:
            raise R2D2Error(
                f"{row_name}: the same model, set, split, setting and protocol come twice"
            )
        seen.add(identity)
        rows.append(row)
    return PublishedResults(tuple(rows), sets, protocols, content.get("missing", {}))


def _source(key: str, entry: Mapping[str, Any], name: str) -> PublishedSource:
    arxiv, url = entry.get("arxiv"), entry.get("url")
    if arxiv is not None and not ARXIV.fullmatch(str(arxiv)):
        raise R2D2Error(f"{name}: source {key}: {arxiv!r} is no arXiv id; write it in quotes")
    if arxiv is None and not str(url or "").startswith("https://"):
        raise R2D2Error(f"{name}: source {key} needs an arXiv id or an https address")
    return PublishedSource(str(entry["title"]), arxiv, str(url or f"https://arxiv.org/abs/{arxiv}"))


def _check_figures(figures: Mapping[str, Any], row_name: str, t2i_only: bool) -> None:
    for name, value in figures.items():
        if name not in FIGURES:
            raise R2D2Error(f"{row_name}: figure {name!r} is none of {', '.join(FIGURES)}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
            raise R2D2Error(f"{row_name}: {name} is {value!r}, not a number from 0 to 100")
    for direction in ("i2t", "t2i"):
        steps = [figures[n] for n in RECALLS if n.startswith(direction) and n in figures]
        if steps != sorted(steps):
            raise R2D2Error(f"{row_name}: {direction} falls from R@1 to R@10: {steps}")
    parts = [n for n in RECALLS if not t2i_only or n.startswith("t2i")]
    if t2i_only and any(n.startswith("i2t") for n in figures):
        raise R2D2Error(f"{row_name}: a set of one direction has no image to text")
    if "r_mean" in figures and all(n in figures for n in parts):
        mean = sum(figures[n] for n in parts) / len(parts)
        if abs(mean - figures["r_mean"]) > 0.1 + 1e-9:  # each was rounded
            raise R2D2Error(f"{row_name}: r_mean is {figures['r_mean']}, the mean is {mean:.2f}")
