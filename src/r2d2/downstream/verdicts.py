"""Decide on each pair from the answers of all rounds, and find the pairs that lack answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from r2d2.corpus.funnel import EXAMPLES
from r2d2.downstream.answers import Annotation, AnnotationExport, QuestionRound
from r2d2.downstream.tasks import PairQuestion, question_pictures
from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, decode_image
from r2d2.progress import Update
from r2d2.table import PairsTable

UNFINISHED, DISPUTED, PICTURE = "unfinished", "disputed", "picture "


def decide(
    items: Sequence[PairQuestion],
    export: AnnotationExport,
    counted: Sequence[Annotation],
    agree: float,
    table: PairsTable,
    update: Update,
) -> dict[str, str]:
    """Decide on each pair of a set.

    A pair is unfinished until as many people have answered in each of its rounds as were to answer;
    a person who answers twice counts once. A disputed pair is also unfinished while a later round
    is incomplete and has no answer about it. A pair whose picture cannot be read was in no task, so
    no answer is expected.

    Args:
        items: the pairs.
        export: all answers and rounds.
        counted: the answers that count.
        agree: the most frequent answer must have more than this share of the answers.
        table: the set.
        update: is told the progress.

    Returns:
        The verdict by pair: an answer, `disputed`, `unfinished`, or `picture ...` with the reason
        why the picture cannot be read.
    """
    answers_of: dict[str, list[str]] = defaultdict(list)
    for answer in counted:
        answers_of[answer.pair].append(answer.answer)
    short = _short(items, export)
    decided = {}
    for item in items:
        rounds, words = export.rounds.get(item.pair, {}), answers_of.get(item.pair, [])
        if not words or any(len(r.people) < r.overlap for r in rounds.values()):
            decided[item.pair] = UNFINISHED
            continue
        (verdict, most), *_ = Counter(words).most_common()
        if most > agree * len(words):
            decided[item.pair] = verdict
        else:
            decided[item.pair] = UNFINISHED if short - _answered(rounds) else DISPUTED
    not_asked = [item for item in items if item.pair not in export.rounds]
    return decided | _unreadable(not_asked, table, update)


def all_finished(
    decided: Mapping[str, str], items: Sequence[PairQuestion], table: PairsTable
) -> None:
    """Raise R2D2Error where answers are still missing."""
    missing = [item.row for item in items if decided[item.pair] == UNFINISHED]
    if missing:
        raise R2D2Error(
            f"{table.path}: {len(missing):,} of {len(decided):,} pairs have fewer answers than "
            f"they were to get, such as that of {table.image_ids(missing[:1])[0]}: let people "
            "finish, or give --partial to take what is finished"
        )


def unreadable(
    decided: Mapping[str, str], items: Sequence[PairQuestion], table: PairsTable
) -> dict[str, tuple[str, ...]]:
    """Return the first image ids of the pairs whose picture cannot be read, by reason."""
    rows: dict[str, list[int]] = defaultdict(list)
    for item in items:
        if decided[item.pair].startswith(PICTURE):
            rows[decided[item.pair]].append(item.row)
    return {reason: tuple(table.image_ids(unread[:EXAMPLES])) for reason, unread in rows.items()}


def _answered(rounds: Mapping[int, QuestionRound]) -> set[int]:
    """Return the numbers of the rounds that have an answer."""
    return {number for number, question in rounds.items() if question.people}


def _short(items: Sequence[PairQuestion], export: AnnotationExport) -> set[int]:
    """Return the later rounds in which more pairs were asked about than have an answer."""
    counts: Counter[int] = Counter()
    for item in items:
        counts.update(_answered(export.rounds.get(item.pair, {})))
    return {number for number, size in export.sizes.items() if number > 1 and counts[number] < size}


def _unreadable(items: Sequence[PairQuestion], table: PairsTable, update: Update) -> dict[str, str]:
    """Return the verdict on those of the pairs whose picture cannot be read."""
    verdicts = {}
    stage = "reading the pictures of unasked pairs"
    for item, pair in question_pictures(table, items, stage, update):
        try:
            decode_image(pair.image, name=pair.image_id)
        except BadImage as error:
            verdicts[item.pair] = PICTURE + error.kind
    return verdicts
