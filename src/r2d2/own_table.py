"""The table that fine-tuning makes of a folder of pictures and a file of captions, in its run."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from r2d2.data.own import import_folder
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import PairsTable
from r2d2.training.run_folder import check_folder, saved_run

log = logging.getLogger(__name__)

TABLE = "pairs.lance"
CAPTIONS = "captions.json"  # which file of captions the table was made of
BATCH_ROWS = 64  # with their pictures in memory


def is_plain_folder(source: str) -> bool:
    """Whether it is a folder here that holds no table."""
    path = Path(source)
    return path.is_dir() and not (path / "_versions").is_dir()


def own_table(images: Path, captions: Path, out: Path, *, resume: bool = False) -> str:
    """The table of a folder and a file of captions, in the run's folder; made if it is not there.

    Raises:
        R2D2Error: see `import_folder`; or the folder holds another run, or a table that was not
            made here, or the run that is resumed was made of other captions or pictures.
    """
    path, note = out / TABLE, out / CAPTIONS
    wanted = {"captions": str(captions.absolute()), "hash": _content_hash(captions)}
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
    begun = resume and saved_run(out) is not None
    if path.exists() and noted is None and not begun:
        raise R2D2Error(
            f"{path} was not made by this command: give another --out, or fine-tune on it, without "
            "--captions"
        )
    if begun and noted is not None and noted["hash"] != wanted["hash"]:
        raise R2D2Error(
            f"{captions} has changed since {path} was made of it: give it as it was, or start anew "
            "in another --out"
        )
    if begun and path.exists():
        _refuse_changed_pictures(images, PairsTable.open(path))
    if not (resume and path.exists() and (begun or noted == wanted)):
        check_folder(out, resume=False)
        imported = import_folder(images, captions, path, overwrite=path.exists())
        write_text(note, json.dumps(wanted, ensure_ascii=False, indent=1))
        log.info(
            "%d rows, %d texts: %s", imported.rows, imported.texts,
            ", ".join(f"{name} {count}" for name, count in sorted(imported.splits.items())),
        )  # fmt: skip
        for line in [*imported.dropped.lines(), *imported.renamed.lines("kept")]:
            log.warning("%s", line)
    return str(path)


def _content_hash(file: Path) -> str:
    """Of the bytes of a file; empty where it cannot be read, which its reader tells."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return ""


def _refuse_changed_pictures(images: Path, table: PairsTable) -> None:
    """R2D2Error where a file is not what the table has of it; one that is gone is in the table."""
    changed = DroppedRows()
    for _, batch in table.scan(["image_id", "image"], BATCH_ROWS):
        for image_id, kept in zip(
            *(batch[name].to_pylist() for name in ("image_id", "image")), strict=True
        ):
            try:
                now = (images / image_id).read_bytes()
            except (OSError, ValueError):
                continue
            if now != kept:
                changed.add("changed", image_id)
    if changed:
        named = ", ".join(changed.examples["changed"])
        raise R2D2Error(
            f"{changed.total:,} of the pictures in {images} have changed since {table.path} was "
            f"made of them, such as {named}: put them back, or start anew in another --out"
        )
