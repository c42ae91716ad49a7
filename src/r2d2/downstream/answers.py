"""Read annotators' answers from Label Studio's JSON exports, and count those of no use."""

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
    round: int  # the number of the round in which it was given
    seconds: float | None
    created: str
    task: int | None
    file: str


@dataclass
class QuestionRound:
    """One question in one round."""

    overlap: int  # how many people were to answer it
    people: set[str] = field(default_factory=set)  # the people who answered it


@dataclass
class AnnotationExport:
    """The answers of one or more exports."""

    answers: list[Annotation] = field(default_factory=list)  # the last of each person and pair
    # The question about each pair in each round, by the pair and the number of the round.
    rounds: dict[str, dict[int, QuestionRound]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)  # how many pairs a round asked, if known
    tasks: int = 0
    dropped: DroppedRows = field(default_factory=DroppedRows)  # answers that cannot be used

    @property
    def last_round(self) -> int:
        """The number of the latest round."""
        return max((number for rounds in self.rounds.values() for number in rounds), default=1)


def read_answers(files: Sequence[Path], project: str) -> AnnotationExport:
    """Read the answers of one or more exports; a later answer of a person replaces an earlier one.

    Args:
        files: exports of Label Studio in its format JSON.
        project: the id of the set's project.

    Raises:
        R2D2Error: a file is not such an export, or belongs to another set.
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
    """Return the tasks of this set; raise R2D2Error where the file has only other tasks."""
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
    """Return the question of a task in its round; a task that names no round is of the first."""
    number, size = _count(data.get("round")), data.get("asked")
    if size is not None:
        export.sizes[number] = max(_count(size), export.sizes.get(number, 0))
    rounds = export.rounds.setdefault(data["pair"], {})
    question = rounds.setdefault(number, QuestionRound(1))
    question.overlap = max(question.overlap, _count(data.get("overlap")))
    return question


def _count(value: Any) -> int:
    """Return a whole number of at least 1 from a task's data; any other value counts as 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1


def _answers(task: dict[str, Any], file: Path, export: AnnotationExport) -> list[Annotation]:
    """Return the answers to a task; annotations without a usable answer are counted as dropped."""
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
    """An annotation has no usable answer; the message is the reason."""


def _answer(task: dict[str, Any], annotation: Any, file: Path) -> Annotation:
    """Return the answer of an annotation; raise BadAnnotationError where it has none."""
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
    """Return the name of a person, whom Label Studio gives as a number or as a user object."""
    if isinstance(user, dict):
        user = user.get("email") or user.get("username") or user.get("id")
    return None if isinstance(user, bool) or is_missing(user) else shown(user, 500)


def _seconds(value: Any) -> float | None:
    """Return a plausible number of seconds; None for any other value."""
    return float(value) if isinstance(value, float | int) and 0 <= value < 1e12 else None


def _choices(result: Any) -> list[str]:
    """Return all choices in the result of an annotation."""
    all_choices: list[str] = []
    for part in result if isinstance(result, list) else []:
        value = part.get("value") if isinstance(part, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            all_choices += [str(choice) for choice in choices]
    return all_choices
