"""The settings of a downstream set, and their values for the four tasks of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.settings import COUNT, SHARE, SIZE, check, from_dict, merge, one_of, parse_setting

CAPTIONS = ("caption", "title", "content")
QUERIES = ("query",)
NEGATIVES = ("random", "hard")
RADIUS = (0, 16)  # bits
PICKS = ("random", "weight")


@dataclass(frozen=True)
class TextChoice:
    """Which text of a picture is taken, by its source and its length."""

    sources: tuple[str, ...] = CAPTIONS
    least: int = 8  # characters of its text key; a shorter caption is more like a query
    most: int = 200  # characters

    def __post_init__(self) -> None:
        check(self, "text", {"least": SIZE, "most": SIZE})
        if self.least > self.most:
            raise R2D2Error(f"text.least is {self.least}, above text.most, which is {self.most}")
        if not self.sources:
            raise R2D2Error("text.sources is empty: name one, such as text.sources=[caption]")


@dataclass(frozen=True)
class SplitShares:
    """The shares of the pictures in val and test; the rest is train. The paper has 8:1:1."""

    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        check(self, "split", {"val": SHARE, "test": SHARE})
        if self.val + self.test >= 1:
            raise R2D2Error("split.val and split.test leave nothing to train on: they must sum < 1")


@dataclass(frozen=True)
class SimilaritySettings:
    """Which pictures count as the same, and which texts as nearly the same."""

    radius: int = 4  # bits in which 64-bit perceptual hashes of one picture may differ
    # The least Jaccard index of the character bigrams of two texts that are nearly the same.
    jaccard: float = 0.5
    # Whether a text that is contained in another is nearly the same: 猫 may be true of 一只猫.
    contained: bool = True

    def __post_init__(self) -> None:
        check(self, "same", {"radius": RADIUS, "jaccard": (0.05, 1)})


@dataclass(frozen=True)
class NegativeSettings:
    """How the text of a non-match is chosen."""

    kind: str = "random"  # random, or hard: a text that is near by the embedding of a model
    nearest: int = 50  # hard: how many nearest texts may be chosen for a picture
    pool: int = 20_000  # hard: how many pictures are compared with each other; bounds the work
    ceiling: float | None = None  # hard: a text with a higher cosine is taken to be true
    tries: int = 200  # how often texts are exchanged before a picture is left out

    def __post_init__(self) -> None:
        one_of("negatives.kind", self.kind, NEGATIVES)
        check(
            self,
            "negatives",
            {"nearest": SIZE, "pool": (2, 200_000), "ceiling": (-1, 1), "tries": SIZE},
        )


@dataclass(frozen=True)
class Exclusion:
    """What the set must not share with other tables, besides near-duplicate pictures."""

    texts: bool = True  # whether a text that another table has is left out


@dataclass(frozen=True)
class DownstreamConfig:
    """All settings of a downstream set."""

    task: str = "icm"
    seed: int = 0
    size: int | None = None  # pairs; None: all. The paper has 400,000 for matching, else 200,000
    # Which pairs are taken where there are more: random, by a hash; or weight, by clicks, then CTR.
    pick: str = "random"
    text: TextChoice = field(default_factory=TextChoice)
    split: SplitShares = field(default_factory=SplitShares)
    same: SimilaritySettings = field(default_factory=SimilaritySettings)
    negatives: NegativeSettings = field(default_factory=NegativeSettings)
    exclude: Exclusion = field(default_factory=Exclusion)

    def __post_init__(self) -> None:
        one_of("pick", self.pick, PICKS)
        check(self, "set", {"size": SIZE, "seed": COUNT})

    @property
    def matching(self) -> bool:
        """Whether the set has labelled matches and non-matches."""
        return self.task in MATCHING


CAPTION_TEXT: dict[str, Any] = {"sources": list(CAPTIONS), "least": 8, "most": 200}
# The same queries are asked again and again: nearly all are in any corpus of the same source.
QUERY_TASK: dict[str, Any] = {
    "text": {"sources": list(QUERIES), "least": 2, "most": 16},
    "exclude": {"texts": False},
}
TASKS: dict[str, dict[str, Any]] = {
    "icm": {"text": CAPTION_TEXT, "pick": "weight"},
    "iqm": QUERY_TASK,
    "icr": {"text": CAPTION_TEXT, "pick": "weight"},
    "iqr": QUERY_TASK,
}
MATCHING = ("icm", "iqm")


def make_downstream_config(task: str, settings: Sequence[str] = ()) -> DownstreamConfig:
    """Return the settings of a task, changed by `settings`, each written as "group.name=value".

    Raises:
        R2D2Error: the task or a setting is unknown, or a value is of the wrong type or range.
    """
    one_of("--task", task, tuple(TASKS))
    data: dict[str, Any] = dict(TASKS[task])
    for setting in settings:
        data = merge(data, parse_setting(setting))
    if data.get("task", task) != task:
        raise R2D2Error(f"the task is {task}: --set task= cannot change it")
    return from_dict(DownstreamConfig, {**data, "task": task})
