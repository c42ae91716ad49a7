"""What `r2d2 explain` says and writes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from r2d2.explain.explanation import Explanation
from r2d2.explain.maps import describe
from r2d2.files import write_bytes

ROWS = ("upper", "middle", "lower")
COLUMNS = ("left", "centre", "right")


def lines(found: Explanation) -> list[str]:
    """The scores, what the noise is, and for each entity where it is, or that nothing is known."""
    match = "" if found.match is None else f"match {found.match:.3f}, "
    said = [f"{match}cosine {found.cosine:.3f}; {describe(found.way)}"]
    evidence = found.evidence
    if evidence.words:
        draws = f" in {found.draws} random draws of parts" if found.draws else ""
        said.append(
            f"noise {evidence.noise:.4f}: what 95% of {evidence.words} unrelated words "
            f"do not exceed{draws}"
        )
    said += [_of_entity(found, index) for index in range(len(found.entities))]
    if not any(found.known):
        said.append("nothing known: the panel marks no part of the picture")
    return [*said, *(f"note: {note.note}" for note in found.notes)]


def write_panel(out: Path, found: Explanation) -> None:
    """Write the panel, whole or not at all."""
    file = io.BytesIO()
    found.draw().save(file, "PNG")
    write_bytes(out, file.getvalue())


def _of_entity(found: Explanation, index: int) -> str:
    name, values = found.entities[index].text, found.maps[index]
    level = f"better than {found.evidence.levels[index]:.0%} of unrelated words"
    if not found.evidence.readable[index]:
        return f"{name}: nothing known (the model cannot read it)"
    if not found.evidence.known(index):
        return f"{name}: nothing known" + (f" (matches {level})" if found.evidence.words else "")
    shown = found.evidence.shown(index)
    if not shown.any():
        return f"{name}: matches {level}, but no part stands out of the noise"
    place = np.unravel_index(int(values.argmax()), values.shape)
    row, column = int(place[0]), int(place[1])
    share = float((shown > 0).mean())
    size = f"{float(values.max()):+.3f}, " if found.way.dropping else ""
    whole = f"matches {level}"
    if not found.evidence.matches(index):
        whole = "the whole picture matches no more than unrelated words do"
    return (
        f"{name}: most at the {_place(row, column, values.shape)} ({size}{shown.max():.1f} times "
        f"the noise), above the noise in {share:.0%} of the picture; {whole}"
    )


def _place(row: int, column: int, shape: tuple[int, ...]) -> str:
    """Upper left to lower right, by thirds."""
    up, across = ROWS[3 * row // shape[0]], COLUMNS[3 * column // shape[1]]
    return "centre" if (up, across) == ("middle", "centre") else f"{up} {across}"
