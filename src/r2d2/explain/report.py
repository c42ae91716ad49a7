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
    """The scores, and a line for each entity: where it looks, and what looks at it."""
    said = [f"match {found.match:.3f}, cosine {found.cosine:.3f}; {describe(found.way)}"]
    for span, values in zip(found.entities, found.maps, strict=True):
        place = np.unravel_index(int(values.argmax()), values.shape)
        row, column = int(place[0]), int(place[1])
        share = float(values.max() / (values.sum() or 1))
        looked = "、".join(word for word, _ in found.words_at(row, column)[:3])
        said.append(
            f"{span.text}: most at the {_place(row, column, values.shape)} ({share:.0%} of its "
            f"map in one patch); that patch looks at {looked or 'no word'}"
        )
    return [*said, *(f"note: {note}" for note in found.notes)]


def write_panel(out: Path, found: Explanation) -> None:
    """Write the panel, whole or not at all."""
    file = io.BytesIO()
    found.draw().save(file, "PNG")
    write_bytes(out, file.getvalue())


def _place(row: int, column: int, shape: tuple[int, ...]) -> str:
    """Upper left to lower right, by thirds."""
    up, across = ROWS[3 * row // shape[0]], COLUMNS[3 * column // shape[1]]
    return "centre" if (up, across) == ("middle", "centre") else f"{up} {across}"
