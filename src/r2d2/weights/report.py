"""Report what an import or export did with every tensor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from r2d2.config import ModelConfig
from r2d2.outputs import a_folder, check_outputs

WEIGHTS = ("model.safetensors", "model.pth", "clip.pt")
ENDINGS = (".json", ".pt", ".pth", ".safetensors", ".txt")


def is_weights(folder: Path) -> bool:
    """Whether a folder holds nothing but a model's files, as the commands here write them."""
    inside = list(folder.iterdir())
    return any((folder / name).is_file() for name in WEIGHTS) and all(
        file.is_file() and file.suffix in ENDINGS for file in inside
    )


def check_out(out: Path, overwrite: bool, sources: Iterable[str | Path | None] = ()) -> None:
    """Refuse a place for the result that would cost the user something; R2D2Error."""
    check_outputs([a_folder(out, is_weights)], inputs=sources, overwrite=overwrite)


@dataclass(frozen=True)
class TensorMapping:
    """A tensor of ours, and the tensors that it was made of."""

    ours: str
    theirs: tuple[str, ...]
    how: str  # what was done on the way; empty: nothing


@dataclass(frozen=True)
class SourceReport:
    """One source of an import."""

    source: str
    kind: str
    used: tuple[TensorMapping, ...]
    unused: Mapping[str, str]  # their name: the reason

    def lines(self) -> list[str]:
        """What to tell the user."""
        theirs = {name for used in self.used for name in used.theirs}
        lines = [f"{self.source} ({self.kind}): {len(theirs)} tensors used"]
        return lines + _reason_lines("not used", self.unused)


@dataclass(frozen=True)
class ImportReport:
    """An import: each tensor of each source, each tensor of ours."""

    out: Path
    config: ModelConfig
    sources: tuple[SourceReport, ...]
    fresh: tuple[str, ...]  # ours that no source gave: initialised, seeded
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What to tell the user, a few lines a source; `import.json` has it tensor by tensor."""
        lines = [line for source in self.sources for line in source.lines()]
        parts: dict[str, int] = {}
        for name in self.fresh:
            stem = name.split(".")[0 if not name.startswith("towers.") else 1]
            parts[stem] = parts.get(stem, 0) + 1
        if parts:
            counts = ", ".join(f"{part} ({count})" for part, count in parts.items())
            lines.append(f"initialised afresh, to be trained: {counts}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def json(self) -> str:
        """Return the whole report as JSON."""
        content = dataclasses.asdict(self)
        content["out"] = str(self.out)
        return json.dumps(content, indent=1, ensure_ascii=False)


@dataclass(frozen=True)
class ExportReport:
    """An export: each tensor of ours."""

    out: Path
    kind: str
    files: tuple[str, ...]
    written: tuple[TensorMapping, ...]
    left_out: Mapping[str, str]  # ours: the reason
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What to tell the user."""
        theirs = sum(len(used.theirs) for used in self.written)
        lines = [f"{self.out} ({self.kind}): {theirs} tensors in {', '.join(self.files)}"]
        lines += _reason_lines("left out", self.left_out)
        return [*lines, *(f"note: {note}" for note in self.notes)]


def _reason_lines(state: str, reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the first tensor that it holds for and the number of others."""
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        by_reason.setdefault(why, []).append(name)
    lines = []
    for why, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  {state}: {names[0]}{more}: {why}")
    return lines
