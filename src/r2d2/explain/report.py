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
    """Return the scores, the noise, and for each entity where it is or that this is unknown."""
    match = "" if explanation.match is None else f"match {explanation.match:.3f}, "
    report = [f"{match}cosine {explanation.cosine:.3f}; {describe(explanation.method)}"]
    evidence = explanation.evidence
    if evidence.words:
        draws = f" in {explanation.draws} random draws of parts" if explanation.draws else ""
        report.append(
            f"noise {evidence.noise:.4f}: what 95% of {evidence.words} unrelated words "
            f"do not exceed{draws}"
        )
    report += [_of_entity(explanation, index) for index in range(len(explanation.entities))]
    if not any(explanation.known):
        report.append("nothing known: the panel marks no part of the picture")
    return [*report, *(f"note: {note.note}" for note in explanation.notes)]


def write_panel(out: Path, explanation: Explanation) -> None:
    """Write the panel as PNG; an interrupted write leaves no file."""
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
        f"{name}: most at the {_position(row, column, values.shape)} "
        f"({size}{shown.max():.1f} times the noise), "
        f"above the noise in {share:.0%} of the picture; {whole}"
    )


def _position(row: int, column: int, shape: tuple[int, ...]) -> str:
    """Return which third of the picture a patch is in, such as "upper left"."""
    up, across = ROWS[3 * row // shape[0]], COLUMNS[3 * column // shape[1]]
    return "centre" if (up, across) == ("middle", "centre") else f"{up} {across}"
