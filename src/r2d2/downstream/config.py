"""What a downstream set is made by: the four tasks of the paper, and every limit a setting."""

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
    """Which text of an image is taken: by where it is from, and by how long it is."""

    sources: tuple[str, ...] = CAPTIONS
    least: int = 8  # characters of its text key; a caption below it is more like a query
    most: int = 200  # characters

    def __post_init__(self) -> None:
        check(self, "text", {"least": SIZE, "most": SIZE})
        if self.least > self.most:
            raise R2D2Error(f"text.least is {self.least}, above text.most, which is {self.most}")
        if not self.sources:
            raise R2D2Error("text.sources is empty: name one, such as text.sources=[caption]")


@dataclass(frozen=True)
class SplitShares:
    """Shares of the pictures; the rest is train. 8:1:1 as in the paper."""

    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        check(self, "split", {"val": SHARE, "test": SHARE})
        if self.val + self.test >= 1:
            raise R2D2Error("split.val and split.test leave nothing to train on: they must sum < 1")


@dataclass(frozen=True)
class SimilaritySettings:
    """What counts as the same picture, and as a text that may be true of it."""

    radius: int = 4  # bits in which 64-bit perceptual hashes of one picture may differ
    jaccard: float = 0.5  # of character bigrams, from which on two texts are near-same
    contained: bool = True  # a text within another is near-same: 猫 may be true of 一只猫

    def __post_init__(self) -> None:
        check(self, "same", {"radius": RADIUS, "jaccard": (0.05, 1)})


@dataclass(frozen=True)
class NegativeSettings:
    """How the text of a non-match is found."""

    kind: str = "random"  # random, or hard: near by the embedding of a model
    nearest: int = 50  # hard: texts an image that may become its wrong one
    pool: int = 20_000  # hard: pictures compared with each other; bounds the work
    ceiling: float | None = None  # hard: cosine above which a text is taken for a true one
    tries: int = 200  # exchanges before an image is left out for want of a wrong text

    def __post_init__(self) -> None:
        one_of("negatives.kind", self.kind, NEGATIVES)
        check(
            self,
            "negatives",
            {"nearest": SIZE, "pool": (2, 200_000), "ceiling": (-1, 1), "tries": SIZE},
        )


@dataclass(frozen=True)
class Exclusion:
    """What keeps the set apart from other tables; near-duplicate pictures always do."""

    texts: bool = True  # leave out a text that another table has


@dataclass(frozen=True)
class DownstreamConfig:
    """Everything a downstream set is made by."""

    task: str = "icm"
    seed: int = 0
    size: int | None = None  # pairs; None: all there are. The paper: 400,000 matching, else 200,000
    pick: str = "random"  # which, where there are more: by hash, or weight: by clicks, then CTR
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
        """Whether the set holds labelled matches and non-matches."""
        return self.task in MATCHING


CAPTION_TEXT: dict[str, Any] = {"sources": list(CAPTIONS), "least": 8, "most": 200}
# Queries recur by their nature: nearly all of them stand in any corpus of the same source.
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
    """A task's settings, then `settings` over them, each "group.name=value".

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
