"""Annotators' answers from Label Studio's JSON exports; what cannot be used is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r2d2.downstream.tasks import MATCH, NO_MATCH, UNSURE
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import read_json
from r2d2.inputs.values import is_missing, shown

MEANINGS = {
    MATCH: MATCH, "匹配": MATCH, NO_MATCH: NO_MATCH, "不匹配": NO_MATCH, UNSURE: UNSURE,
    "不确定": UNSURE,
}  # fmt: skip
MOST_BYTES = 2 << 30  # of an export


@dataclass(frozen=True)
class Annotation:
    """One person's answer to one question."""

    pair: str
    annotator: str
    answer: str  # match, no match or unsure
    round: int  # in which it was given
    seconds: float | None
    created: str
    task: int | None
    file: str


@dataclass
class QuestionRound:
    """One question in one round: how many people were to answer it, and who did."""

    overlap: int  # people who were to answer it
    people: set[str] = field(default_factory=set)  # who answered it


@dataclass
class AnnotationExport:
    """The answers of one or more exports."""

    answers: list[Annotation] = field(default_factory=list)  # the last of each person and pair
    rounds: dict[str, dict[int, QuestionRound]] = field(default_factory=dict)  # by pair, by number
    sizes: dict[int, int] = field(default_factory=dict)  # pairs that a round asked about, if known
    tasks: int = 0
    dropped: DroppedRows = field(default_factory=DroppedRows)  # answers of no use

    @property
    def last_round(self) -> int:
        """The number of the latest round that asked."""
        return max((number for rounds in self.rounds.values() for number in rounds), default=1)


def read_answers(files: Sequence[Path], project: str) -> AnnotationExport:
    """The answers of one or more exports; a person's later answer replaces an earlier one.

    Args:
        files: Label Studio's exports in its format JSON.
        project: of the set.

    Raises:
        R2D2Error: a file is no such export, or is about another set.
    """
    export = AnnotationExport()
    latest: dict[tuple[str, str], Annotation] = {}
    for file in files:
        for task in _of_project(file, _tasks(file), project, export):
            export.tasks += 1
            question = _question(task["data"], export)
            for answer in _answers(task, file, export):
                question.people.add(answer.annotator)
                key = (answer.annotator, answer.pair)
                earlier = latest.get(key)
                if earlier is not None:
                    export.dropped.add(
                        "answered again: the later one counts", f"{file}, {answer.pair}"
                    )
                    if earlier.created > answer.created:
                        continue
                latest[key] = answer
    export.answers = [latest[key] for key in sorted(latest)]
    if not export.answers:
        why = export.dropped.reasons() or f"{export.tasks:,} tasks that nobody has answered"
        raise R2D2Error(f"{', '.join(map(str, files))}: not one answer ({why}): label some first")
    return export


def _tasks(file: Path) -> list[Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise R2D2Error(f"{file} has more than {MOST_BYTES >> 30} GB: export it in parts")
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
    data = read_json(file, "export it again, in the format JSON")
    if not isinstance(data, list):
        raise R2D2Error(f"{file} is no list of tasks: export in Label Studio's format JSON")
    if data and not any(isinstance(task, dict) and "annotations" in task for task in data):
        raise R2D2Error(
            f"{file} has tasks without `annotations`: export in the format JSON, not JSON-MIN"
        )
    return data


def _of_project(
    file: Path, tasks: list[Any], project: str, export: AnnotationExport
) -> list[dict[str, Any]]:
    """The tasks of this set; R2D2Error where there are others only."""
    own_tasks, other = [], Counter[str]()
    for task in tasks:
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("pair"), str):
            other["a task that is none of ours"] += 1
        elif data.get("project") != project:
            other["a task of another set"] += 1
        else:
            own_tasks.append(task)
    if tasks and not own_tasks:
        why = ", ".join(f"{reason}: {n:,}" for reason, n in other.items())
        raise R2D2Error(
            f"{file} is about another set ({why}; this one is {project}): give the set that the "
            "tasks were exported of"
        )
    for reason, count in other.items():
        export.dropped.add(reason, str(file), count)
    return own_tasks


def _question(data: dict[str, Any], export: AnnotationExport) -> QuestionRound:
    """A question in its round; tasks that name no round belong to the first."""
    number, size = _count(data.get("round")), data.get("asked")
    if size is not None:
        export.sizes[number] = max(_count(size), export.sizes.get(number, 0))
    rounds = export.rounds.setdefault(data["pair"], {})
    question = rounds.setdefault(number, QuestionRound(1))
    question.overlap = max(question.overlap, _count(data.get("overlap")))
    return question


def _count(value: Any) -> int:
    """A whole number of at least 1 from a task's data; 1 where the value is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1


def _answers(task: dict[str, Any], file: Path, export: AnnotationExport) -> list[Annotation]:
    """The answers to a task; annotations that are none are counted as left out."""
    answers = []
    annotations = task.get("annotations")
    where = f"{file}, task {shown(task.get('id'))}"
    for annotation in annotations if isinstance(annotations, list) else []:
        try:
            answers.append(_answer(task, annotation, file))
        except BadAnnotationError as error:
            export.dropped.add(str(error), where)
    return answers


class BadAnnotationError(Exception):
    """An annotation that is no answer; the message is the reason."""


def _answer(task: dict[str, Any], annotation: Any, file: Path) -> Annotation:
    """The answer that an annotation gives. BadAnnotationError where it gives none."""
    if not isinstance(annotation, dict):
        raise BadAnnotationError("an annotation that is no object")
    if annotation.get("was_cancelled"):
        raise BadAnnotationError("skipped by the annotator")
    annotator = _name(annotation.get("completed_by"))
    if annotator is None:
        raise BadAnnotationError("an annotation by nobody")
    choices = _choices(annotation.get("result"))
    if len(choices) != 1:
        raise BadAnnotationError("no answer" if not choices else "several answers at once")
    if choices[0] not in MEANINGS:
        raise BadAnnotationError("an answer that is not match, no match or unsure")
    number = task.get("id")
    return Annotation(
        task["data"]["pair"], annotator, MEANINGS[choices[0]],
        _count(task["data"].get("round")), _seconds(annotation.get("lead_time")),
        shown(annotation.get("updated_at") or annotation.get("created_at") or ""),
        number if isinstance(number, int) and abs(number) < 1 << 63 else None, file.name,
    )  # fmt: skip


def _name(user: Any) -> str | None:
    """A person as Label Studio names one: by a number, or as a user with an address."""
    if isinstance(user, dict):
        user = user.get("email") or user.get("username") or user.get("id")
    return None if isinstance(user, bool) or is_missing(user) else shown(user, 500)


def _seconds(value: Any) -> float | None:
    """A number of seconds that is possible; None for any other value."""
    return float(value) if isinstance(value, float | int) and 0 <= value < 1e12 else None


def _choices(result: Any) -> list[str]:
    """All choices in the result of an annotation."""
    every: list[str] = []
    for part in result if isinstance(result, list) else []:
        value = part.get("value") if isinstance(part, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            every += [str(choice) for choice in choices]
    return every
