"""Write a set as tasks for Label Studio, which ask whether the text describes the picture.

Some questions are gold items, whose answers are known. Half of them are the rows of the set with
the most clicks, which are taken to match. The others combine a picture with a text that shares no
two consecutive characters with the picture's own texts, and are taken not to match. The answers are
in gold.csv, which annotators must not see. A question whose line is deleted there is no longer a
gold item.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from r2d2.corpus.report.sample import numbers
from r2d2.downstream.likeness import bigrams
from r2d2.downstream.sheets import read_sheet
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.images.decode import BadImage, decode_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.outputs import a_folder, check_outputs
from r2d2.progress import Update
from r2d2.settings import SHARE, SIZE, one_of, within
from r2d2.table import Pair, PairsTable
from r2d2.tokenizer import text_key

MATCH, NO_MATCH, UNSURE = "match", "no match", "unsure"
EMBED, FILES = "embed", "files"
SIDE = 512  # pixels: the longer side of an embedded picture
FILE_TASKS = 500  # tasks per file, which has about 25 MB with embedded pictures
CHUNK = 64  # how many pictures are in memory at a time
GOLD_COLUMNS = ("pair", "answer", "image_id", "text")
GOLD_ANSWERS = (MATCH, NO_MATCH)

CONFIG = """\
<View>
  <Header value="文字说的是这张图片吗？ Does the text describe the picture?"/>
  <Text name="text" value="$text"/>
  <Image name="image" value="$image" maxWidth="640px"/>
  <Choices name="answer" toName="image" choice="single" required="true" showInLine="true">
    <Choice value="匹配" alias="match" hotkey="1"/>
    <Choice value="不匹配" alias="no match" hotkey="2"/>
    <Choice value="不确定" alias="unsure" hotkey="3"/>
  </Choices>
</View>
"""


@dataclass(frozen=True)
class PairQuestion:
    """A question whether a text describes a picture."""

    row: int  # the row of the set whose picture is shown
    text: str
    pair: str  # the id of the question


@dataclass(frozen=True)
class TaskSettings:
    """How the questions of a set are asked."""

    overlap: int = 3  # how many people answer each question
    gold: float = 0.05  # the number of gold items as a share of the questions
    pictures: str = EMBED  # EMBED: within the tasks; FILES: beside them, for local file serving
    # With FILES, the path of the folder below the document root; None: the folder's name.
    prefix: str | None = None
    only: Collection[str] | None = None  # the pairs to ask about; None: all
    round: int = 1  # the number of this round; the answers of all rounds count together
    seed: int = 0  # of the order of the questions and the choice of gold items

    def __post_init__(self) -> None:
        within("--overlap", self.overlap, SIZE)
        within("--gold", self.gold, SHARE)
        one_of("--pictures", self.pictures, (EMBED, FILES))


@dataclass(frozen=True)
class TaskExport:
    """The figures of a folder of tasks."""

    tasks: int
    files: int
    gold: int
    left_out: dict[str, int]  # the number of questions by reason
    examples: dict[str, list[str]]  # some image ids by reason


def pair_id(image_id: str, text: str) -> str:
    """Return the id of a picture with a text: 64 bits in hexadecimal."""
    return hashlib.blake2b(f"{image_id}\0{text}".encode(), digest_size=8).hexdigest()


def project_id(table: PairsTable) -> str:
    """Return an id that tells the answers about one set from those about another."""
    return hashlib.blake2b(table.fingerprint.encode(), digest_size=6).hexdigest()


def set_items(table: PairsTable) -> list[PairQuestion]:
    """Return a question for every row of a set."""
    rows = table.rows()
    questions = []
    for row, pair in zip(rows.tolist(), table.take(rows, ("image_id", "texts")), strict=True):
        if len(pair.texts) != 1:
            raise R2D2Error(
                f"{table.path}, row {row} has {len(pair.texts)} texts: annotate a set of one text "
                "a row, as `r2d2 downstream make` writes it"
            )
        text = pair.texts[0].text
        questions.append(PairQuestion(row, text, pair_id(pair.image_id, text)))
    if not questions:
        raise R2D2Error(f"{table.path} has no row: there is nothing to annotate")
    return questions


def question_pictures(
    table: PairsTable, items: Sequence[PairQuestion], stage: str, update: Update
) -> Iterator[tuple[PairQuestion, Pair]]:
    """Yield each question with its row of the set, of which only id and picture are read."""
    pairs = table.stream(
        [item.row for item in items], ("image_id", "image"), batch_rows=CHUNK, stage=stage,
        update=update,
    )  # fmt: skip
    return zip(items, pairs, strict=True)


def export_tasks(
    table: PairsTable,
    out: Path,
    settings: TaskSettings = TaskSettings(),
    *,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> TaskExport:
    """Write a folder with the tasks, the labelling config and the project for Label Studio's API.

    Args:
        table: the set.
        out: a folder that does not exist yet.
        settings: how the questions are asked.
        overwrite: whether tasks at `out` are replaced.
        update: is told the progress.

    Raises:
        R2D2Error: the folder exists, a row does not have exactly one text, or no picture can be
            read.
    """
    check_outputs([a_folder(out, is_tasks)], inputs=[table.path], overwrite=overwrite)
    whole_set, only = set_items(table), settings.only
    items = [item for item in whole_set if only is None or item.pair in only]
    known = _gold(table, whole_set, items, round(settings.gold * len(items)), settings.seed)
    extra = [item for item, answer in known if answer == NO_MATCH]
    questions = [*items, *extra]
    draws = numbers([item.pair for item in questions], settings.seed, "task")
    questions = [questions[n] for n in np.argsort(draws, kind="stable").tolist()]
    project = project_id(table)
    dropped = DroppedRows()
    served = f"/data/local-files/?d={settings.prefix or out.name}"
    tasks = files = 0
    unread: set[str] = set()
    with whole_folder(out) as work:
        held: list[dict[str, Any]] = []
        for item, pair in question_pictures(table, questions, "writing tasks", update):
            try:
                picture = decode_image(pair.image)
            except BadImage as error:
                dropped.add(f"picture {error.reason}", pair.image_id)
                unread.add(item.pair)
                continue
            tasks += 1
            held.append(
                {
                    "data": {
                        "project": project, "pair": item.pair, "round": settings.round,
                        "overlap": settings.overlap, "asked": len(items), "text": item.text,
                        "image": _address(
                            picture, work / f"picture-{item.pair}.jpg",
                            served if settings.pictures == FILES else None,
                        ),
                    }
                }
            )  # fmt: skip
            if len(held) == FILE_TASKS:
                files += _flush(work, files, held)
        if not tasks:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in dropped.counts.items())
            raise R2D2Error(
                f"{table.path} has nothing to ask about: not one picture can be read ({reasons})"
            )
        known = [(item, answer) for item, answer in known if item.pair not in unread]
        files += _flush(work, files, held) if held else 0
        (work / "config.xml").write_text(CONFIG, encoding="utf-8")
        body = {
            "title": f"{Path(table.path).name} {project}",
            "label_config": CONFIG,
            "maximum_annotations": settings.overlap,
            "show_skip_button": False,
        }
        _dump(work / "project.json", body)
        _write_gold(table, work / "gold.csv", known)
    return TaskExport(tasks, files, len(known), dict(dropped.counts), dropped.examples)


def is_tasks(folder: Path) -> bool:
    """Whether a folder was written by `export_tasks`."""
    return all((folder / name).is_file() for name in ("config.xml", "project.json", "gold.csv"))


def read_gold(path: Path) -> dict[str, str]:
    """Read the answers of a gold.csv by pair; raise R2D2Error where the file is not one."""
    columns, rows = read_sheet(path)
    if not {"pair", "answer"} <= set(columns):
        raise R2D2Error(
            f"{path} has columns {', '.join(columns) or 'none'}: give the gold.csv of the export"
        )
    answers = {row["pair"].strip(): row["answer"].strip() for _, row in rows if any(row.values())}
    wrong = [pair for pair, answer in answers.items() if not pair or answer not in GOLD_ANSWERS]
    if wrong:
        raise R2D2Error(
            f"{path} has a line for {wrong[0]!r} that answers neither '{MATCH}' nor '{NO_MATCH}': "
            "mend or strike it"
        )
    return answers


def _gold(
    table: PairsTable,
    whole_set: Sequence[PairQuestion],
    items: Sequence[PairQuestion],
    count: int,
    seed: int,
) -> list[tuple[PairQuestion, str]]:
    """Choose the gold items with their answers, half of them matches and half non-matches."""
    if not count:
        return []
    rows = [item.row for item in items]
    pairs = table.take(rows, ("image_id", "texts", "clicks", "label"))
    draws = numbers([item.pair for item in items], seed, "gold").tolist()
    order = sorted(
        range(len(items)),
        key=lambda n: (-(pairs[n].texts[0].clicks or pairs[n].clicks or 0), draws[n]),
    )
    matches = [n for n in order if pairs[n].label != 0][: count // 2]
    chosen = [(items[n], MATCH) for n in matches]
    picture_bigrams: dict[str, set[str]] = {}
    labels = table.labels([item.row for item in whole_set])
    ids = table.image_ids([item.row for item in whole_set])
    for item, image_id, label in zip(whole_set, ids, labels, strict=True):
        if label != 0:
            picture_bigrams.setdefault(image_id, set()).update(bigrams(text_key(item.text)))
    image_of = {item.row: image_id for item, image_id in zip(whole_set, ids, strict=True)}
    by_draw = sorted(range(len(items)), key=lambda n: draws[n])
    step = max(1, len(whole_set) // 3)
    for n in by_draw:
        if len(chosen) >= count:
            break
        item = items[n]
        image_id = image_of[item.row]
        for k in range(50):
            text = whole_set[(item.row + step + 7 * k) % len(whole_set)].text
            if not bigrams(text_key(text)) & picture_bigrams.get(image_id, set()):
                chosen.append((PairQuestion(item.row, text, pair_id(image_id, text)), NO_MATCH))
                break
    taken = {item.pair for item in items}
    fresh: dict[str, tuple[PairQuestion, str]] = {}
    for item, answer in chosen:
        if answer == MATCH or item.pair not in taken:
            fresh.setdefault(item.pair, (item, answer))
    return list(fresh.values())


def _address(picture: Image.Image, file: Path, served: str | None) -> str:
    """Return the address of a picture for Label Studio.

    Args:
        picture: is made smaller.
        file: the picture is written to it where files are served.
        served: the address of the file's folder; None: the address contains the picture itself.
    """
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=88)
    if served is None:
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    file.write_bytes(out.getvalue())
    return f"{served}/{file.name}"


def _flush(work: Path, number: int, held: list[dict[str, Any]]) -> int:
    _dump(work / f"tasks-{number:05d}.json", held)
    held.clear()
    return 1


def _write_gold(table: PairsTable, path: Path, known: Sequence[tuple[PairQuestion, str]]) -> None:
    ids = table.image_ids([item.row for item, _ in known])
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(GOLD_COLUMNS)
        for (item, answer), image_id in zip(known, ids, strict=True):
            writer.writerow((item.pair, answer, image_id, item.text))


def _dump(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
