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
    asked: dict[str, dict[int, QuestionRound]] = field(default_factory=dict)  # by pair, by round
    sizes: dict[int, int] = field(default_factory=dict)  # pairs that a round asked about, if known
    tasks: int = 0
    dropped: DroppedRows = field(default_factory=DroppedRows)  # answers of no use

    @property
    def last_round(self) -> int:
        """The number of the latest round that asked."""
        return max((number for rounds in self.asked.values() for number in rounds), default=1)


def read_answers(files: Sequence[Path], project: str) -> AnnotationExport:
    """The answers of one or more exports; a person's later answer replaces an earlier one.

    Args:
        files: Label Studio's exports in its format JSON.
        project: of the set.

    Raises:
        R2D2Error: a file is no such export, or is about another set.
    """
    export_data = AnnotationExport()
    last: dict[tuple[str, str], Annotation] = {}
    for file in files:
        tasks = _tasks(file)
        own_tasks = _of_project(file, tasks, project, export_data)
        for task in own_tasks:
            export_data.tasks += 1
            asked = _asked(task["data"], export_data)
            for answer in _answers(task, file, export_data):
                asked.people.add(answer.annotator)
                key = (answer.annotator, answer.pair)
                other = last.get(key)
                if other is not None:
                    export_data.dropped.add(
                        "answered again: the later one counts", f"{file}, {answer.pair}"
                    )
                    if other.created > answer.created:
                        continue
                last[key] = answer
    export_data.answers = [last[key] for key in sorted(last)]
    if not export_data.answers:
        told = (
            export_data.dropped.reasons() or f"{export_data.tasks:,} tasks that nobody has answered"
        )
        raise R2D2Error(f"{', '.join(map(str, files))}: not one answer ({told}): label some first")
    return export_data


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


def _asked(data: dict[str, Any], export: AnnotationExport) -> QuestionRound:
    """A question as its round asked it; tasks that name no round are of one, whoever wrote them."""
    number, size = _count(data.get("round")), data.get("asked")
    if size is not None:
        export.sizes[number] = max(_count(size), export.sizes.get(number, 0))
    asked = export.asked.setdefault(data["pair"], {}).setdefault(number, QuestionRound(1))
    asked.overlap = max(asked.overlap, _count(data.get("overlap")))
    return asked


def _count(value: Any) -> int:
    """A whole number from one on, as a task's data has it; 1 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 1


def _answers(task: dict[str, Any], file: Path, export: AnnotationExport) -> list[Annotation]:
    data = task["data"]
    annotated = []
    annotations = task.get("annotations")
    where = f"{file}, task {shown(task.get('id'))}"
    for one in annotations if isinstance(annotations, list) else []:
        if not isinstance(one, dict):
            export.dropped.add("an annotation that is no object", where)
            continue
        if one.get("was_cancelled"):
            export.dropped.add("skipped by the annotator", where)
            continue
        who = _name(one.get("completed_by"))
        if who is None:
            export.dropped.add("an annotation by nobody", where)
            continue
        chosen = _choices(one.get("result"))
        if len(chosen) != 1:
            export.dropped.add("no answer" if not chosen else "several answers at once", where)
            continue
        answer = MEANINGS.get(chosen[0])
        if answer is None:
            export.dropped.add("an answer that is not match, no match or unsure", where)
            continue
        seconds, number = one.get("lead_time"), task.get("id")
        annotated.append(
            Annotation(
                data["pair"], who, answer,
                _count(data.get("round")),
                _seconds(seconds), shown(one.get("updated_at") or one.get("created_at") or ""),
                number if isinstance(number, int) and abs(number) < 1 << 63 else None, file.name,
            )
        )  # fmt: skip
    return annotated


def _name(who: Any) -> str | None:
    """A person as Label Studio names one: a number, or a user with an address."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    if isinstance(who, bool) or is_missing(who):
        return None
    return shown(who, 500)


def _seconds(value: Any) -> float | None:
    """A time that can be one."""
    return float(value) if isinstance(value, float | int) and 0 <= value < 1e12 else None


def _choices(result: Any) -> list[str]:
    chosen: list[str] = []
    for part in result if isinstance(result, list) else []:
        value = part.get("value") if isinstance(part, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            chosen += [str(choice) for choice in choices]
    return chosen
