"""Zero-shot classification: an image belongs to the class whose prompts are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import load_pictures
from r2d2.evaluation.encode import encode_sentences, usable_batches
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.formats.classes import CLASS, listed_classes, row_classes
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import read_text, split_lines
from r2d2.inputs.yaml_text import read_yaml
from r2d2.ranking.metrics import rank_of_best
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash, text_key

PLACE = "{}"
TOP_AT = (1, 5)


def read_templates(path: Path | None = None) -> list[str]:
    """Read prompt templates: those of the package, a YAML list, or a text file with one a line.

    Raises:
        R2D2Error: the file cannot be read, or a template has no place for the name.
    """
    try:
        if path is None:
            text = resources.files("r2d2.evaluation").joinpath("prompts.yaml").read_text("utf-8")
            templates = yaml.safe_load(text)
        elif path.suffix in (".yaml", ".yml"):
            templates = read_yaml(path)
        else:
            lines = split_lines(read_text(path))
            templates = [line.strip() for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise R2D2Error(f"cannot read templates {path}: {error}") from error
    if not isinstance(templates, list) or not templates:
        raise R2D2Error(f"{path} holds no list of templates: give one a line")
    for template in templates:
        if not isinstance(template, str) or template.count(PLACE) != 1:
            raise R2D2Error(f"{path}: the template {template!r} must have one {{}} for the name")
    return templates


@dataclass(frozen=True)
class LabelledImages:
    """The images of a split that have a class."""

    rows: list[int]
    image_ids: list[str]
    label: list[int]  # into `classes`
    classes: list[str]  # of the whole table, so that every split has the same
    dropped: DroppedRows  # rows without a class


def read_classes(
    table: PairsTable, split: str, *, sample: int | None = None, seed: int = 0
) -> LabelledImages:
    """The class of each image: its first text whose source is `class`.

    The model chooses among all classes that the table or its metadata name. Names are compared as
    texts are (`text_key`).

    Raises:
        R2D2Error: no image of the split has one, or the table knows fewer than two classes.
    """
    names = listed_classes(table)
    of_row: dict[int, str] = {}
    for row, name in row_classes(table):
        of_row[row] = text_key(name)
        names.setdefault(text_key(name), name)
    if not of_row:
        raise R2D2Error(
            f"{table.path} has no texts of source '{CLASS}': import a folder per class, or give "
            "the class names that source"
        )
    if len(names) < 2:
        raise R2D2Error(f"{table.path} knows one class only: classification needs two")
    keys = sorted(names, key=lambda key: names[key])
    number = {key: i for i, key in enumerate(keys)}
    rows = table.rows(split).tolist()
    kept = [row for row in rows if row in of_row]
    if not kept:
        raise R2D2Error(f"{table.path}: no image of split '{split}' has a class")
    if sample is not None:
        kept = sorted(sorted(kept, key=lambda row: key_hash(f"{seed}/{row}"))[:sample])
    dropped = DroppedRows()
    for name in table.image_ids([row for row in rows if row not in of_row]):
        dropped.add("no class", name)
    return LabelledImages(
        kept,
        table.image_ids(kept),
        [number[of_row[row]] for row in kept],
        [names[key] for key in keys],
        dropped,
    )


@torch.no_grad()
def class_embeddings(
    model: DualEncoder,
    classes: Sequence[str],
    templates: Sequence[str],
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """(classes, d) of unit length: the mean of the unit-length embeddings of all templates."""
    prompts = [template.replace(PLACE, name) for name in classes for template in templates]
    encoded = encode_sentences(model, prompts, batch_size, states=False).embedding
    return F.normalize(encoded.view(len(classes), len(templates), -1).mean(dim=1), dim=-1)


@dataclass(frozen=True)
class ClassRanks:
    """The rank of the right class of n images."""

    image_ids: list[str]
    label: Tensor  # (n,)
    rank: Tensor  # (n,) of the right class, from 1; ties count against the model
    guess: Tensor  # (n,) the nearest class, a wrong one where it ties with the right one
    dropped: DroppedRows


@torch.no_grad()
def classify(
    model: DualEncoder,
    table: PairsTable,
    labelled: LabelledImages,
    prototypes: Tensor,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> ClassRanks:
    """Rank the classes for each image, by cosine.

    Raises:
        R2D2Error: not one image can be used.
    """
    dropped = DroppedRows()
    dropped.update(labelled.dropped)
    good: list[int] = []
    ranks: list[Tensor] = []
    guesses: list[Tensor] = []
    load = partial(load_pictures, table, labelled.rows)
    told = None if progress is None else partial(progress, "images")
    for positions, encoded in usable_batches(
        model, labelled.image_ids, load, batch_size, dropped, told
    ):
        good += positions
        embedding = encoded.embedding.double()
        label = torch.tensor([labelled.label[i] for i in positions], device=embedding.device)
        scores = (embedding @ prototypes.double().T).float()
        right = F.one_hot(label, len(prototypes)).bool()
        ranks.append(rank_of_best(scores, right).cpu())
        wrong = scores.masked_fill(right, -torch.inf)
        own = scores.gather(1, label[:, None])[:, 0]
        nearest = torch.where(own > wrong.amax(dim=1), label, wrong.argmax(dim=1))
        guesses.append(nearest.cpu())
    if not good:
        raise R2D2Error(f"{table.path}: no picture can be used: check the table's images")
    ids = [labelled.image_ids[i] for i in good]
    labels = torch.tensor([labelled.label[i] for i in good])
    return ClassRanks(ids, labels, torch.cat(ranks), torch.cat(guesses), dropped)
