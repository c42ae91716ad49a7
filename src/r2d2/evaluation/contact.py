"""The contact sheet: randomly drawn queries with their first five pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.evaluation.evaluate import Results
from r2d2.evaluation.task_metrics import Ranking
from r2d2.files import write_text
from r2d2.page import thumbnail
from r2d2.tokenizer import key_hash

SAMPLE, MISSES = 12, 8  # rows of each group
PICTURES = 5  # of a row


@dataclass(frozen=True)
class ContactPicture:
    """One picture of a row."""

    picture: Image.Image
    caption: str  # the first text of the image
    right: bool


@dataclass(frozen=True)
class ContactRow:
    """One query."""

    text: str
    rank: int  # of the right image
    shown: list[ContactPicture]  # the first five, best first
    answer: ContactPicture | None  # the right image, where it is not among them


@dataclass(frozen=True)
class ContactGroup:
    """Rows that were drawn by the same rule."""

    title: str
    chosen: str  # the rule, in words
    rows: list[ContactRow]


def contact_groups(
    results: Results, task: str | None = None, sample: int = SAMPLE, misses: int = MISSES
) -> list[ContactGroup]:
    """A random sample of a task's text queries, then a sample of those that failed.

    Args:
        results: of `evaluate`.
        task: whose rankings; None: test_full, or else the first there is.
        sample: queries drawn whatever their result.
        misses: further queries whose right image is not first.

    Returns:
        Groups that are not empty. The draw is by a hash of the text, so it is always the same.
    """
    if task is None:
        task = (
            "test_full" if "test_full" in results.rankings else next(iter(results.rankings), None)
        )
    if task is None:
        return []
    ranked = results.rankings[task]["t2i"]
    texts = [results.data.texts[query] for query in ranked.queries.tolist()]
    drawn = sorted(range(len(texts)), key=lambda row: key_hash(texts[row]))
    fair = drawn[:sample]
    wrong = [row for row in drawn[sample:] if ranked.ranks[row] > 1]
    right = int((ranked.ranks[fair] == 1).sum())
    groups = [
        ContactGroup(
            "Random sample",
            f"Drawn from the {len(drawn)} text queries of {task} by a hash of the text, whatever "
            f"the result: the right picture is first in {right} of {len(fair)}.",
            _rows(results, ranked, fair),
        ),
        ContactGroup(
            "Errors",
            f"{min(misses, len(wrong))} of the {len(wrong)} other queries whose right picture is "
            "not first, drawn in the same way.",
            _rows(results, ranked, wrong[:misses]),
        ),
    ]
    return [group for group in groups if group.rows]


def _rows(results: Results, ranked: Ranking, chosen: list[int]) -> list[ContactRow]:
    data = results.data
    first_text: dict[int, str] = {}
    for number, text in enumerate(data.texts):
        for image in data.owners(number):
            first_text.setdefault(image, text)

    def show(images: list[int], right: list[bool]) -> list[ContactPicture]:
        return [
            ContactPicture(picture, first_text.get(image, ""), is_right)
            for picture, image, is_right in zip(data.load(images), images, right, strict=True)
            if isinstance(picture, Image.Image)
        ]

    rows = []
    for row in chosen:
        query = int(ranked.queries[row])
        right: list[bool] = ranked.right[row, :PICTURES].tolist()
        answer = [] if any(right) else show([data.text_image[query]], [True])
        shown = show(ranked.top[row, :PICTURES].tolist(), right)
        rank = int(ranked.ranks[row])
        rows.append(ContactRow(data.texts[query], rank, shown, answer[0] if answer else None))
    return rows


def write_examples(path: Path, groups: Sequence[ContactGroup]) -> None:
    """The sheet as JSON, with small pictures inside the file, for reports of several runs."""

    def plain(value: object) -> Any:
        return thumbnail(value) if isinstance(value, Image.Image) else vars(value)

    write_text(path, json.dumps(list(groups), ensure_ascii=False, default=plain))
