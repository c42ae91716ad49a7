"""The output of `r2d2 explain`: lines of text, and the panel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from r2d2.explain.explanation import Explanation
from r2d2.explain.maps import describe
from r2d2.files import write_bytes

ROWS = ("upper", "middle", "lower")
COLUMNS = ("left", "centre", "right")


def lines(explanation: Explanation) -> list[str]:
    """The scores, the noise, and the place of each entity, or that nothing is known of it."""
    match = "" if explanation.match is None else f"match {explanation.match:.3f}, "
    told = [f"{match}cosine {explanation.cosine:.3f}; {describe(explanation.method)}"]
    evidence = explanation.evidence
    if evidence.words:
        draws = f" in {explanation.draws} random draws of parts" if explanation.draws else ""
        told.append(
            f"noise {evidence.noise:.4f}: what 95% of {evidence.words} unrelated words "
            f"do not exceed{draws}"
        )
    told += [_of_entity(explanation, index) for index in range(len(explanation.entities))]
    if not any(explanation.known):
        told.append("nothing known: the panel marks no part of the picture")
    return [*told, *(f"note: {note.note}" for note in explanation.notes)]


def write_panel(out: Path, explanation: Explanation) -> None:
    """Write the panel, whole or not at all."""
    file = io.BytesIO()
    explanation.draw().save(file, "PNG")
    write_bytes(out, file.getvalue())


def _of_entity(explanation: Explanation, index: int) -> str:
    name, values = explanation.entities[index].text, explanation.maps[index]
    level = f"better than {explanation.evidence.levels[index]:.0%} of unrelated words"
    if not explanation.evidence.readable[index]:
        return f"{name}: nothing known (the model cannot read it)"
    if not explanation.evidence.known(index):
        return f"{name}: nothing known" + (
            f" (matches {level})" if explanation.evidence.words else ""
        )
    shown = explanation.evidence.shown(index)
    if not shown.any():
        return f"{name}: matches {level}, but no part stands out of the noise"
    peak = np.unravel_index(int(values.argmax()), values.shape)
    row, column = int(peak[0]), int(peak[1])
    share = float((shown > 0).mean())
    size = f"{float(values.max()):+.3f}, " if explanation.method.dropping else ""
    whole = f"matches {level}"
    if not explanation.evidence.matches(index):
        whole = "the whole picture matches no more than unrelated words do"
    return (
        f"{name}: most at the {_place(row, column, values.shape)} ({size}{shown.max():.1f} times "
        f"the noise), above the noise in {share:.0%} of the picture; {whole}"
    )


def _place(row: int, column: int, shape: tuple[int, ...]) -> str:
    """The position in words, by thirds: upper left to lower right."""
    up, across = ROWS[3 * row // shape[0]], COLUMNS[3 * column // shape[1]]
    return "centre" if (up, across) == ("middle", "centre") else f"{up} {across}"
