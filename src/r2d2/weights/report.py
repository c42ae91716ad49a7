"""What an import or export did with every tensor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from r2d2.config import ModelConfig
from r2d2.errors import R2D2Error


def check_out(out: Path, overwrite: bool, sources: Iterable[Path] = ()) -> None:
    """Refuse a place for the result that would cost the user something.

    Raises:
        R2D2Error: something is there and `overwrite` is off, or it is no folder of ours, or it is
            where the sources are read from.
    """
    if not out.exists():
        return
    if not overwrite:
        raise R2D2Error(f"{out} is there already: give another --out, or --overwrite")
    if any(out.resolve() == source.resolve() for source in sources):
        raise R2D2Error(f"{out} is what is read from: give another --out")
    if not out.is_dir() or any(inside.is_dir() for inside in out.iterdir()):
        raise R2D2Error(f"{out} was not written by this command: give another --out")


@dataclass(frozen=True)
class Used:
    """A tensor of ours and what it was made of."""

    ours: str
    theirs: tuple[str, ...]
    how: str  # what was done on the way; empty: nothing


@dataclass(frozen=True)
class Imported:
    """One source of an import."""

    source: str
    kind: str
    used: tuple[Used, ...]
    unused: Mapping[str, str]  # their name: the reason

    def lines(self) -> list[str]:
        """What to tell the user."""
        theirs = {name for used in self.used for name in used.theirs}
        lines = [f"{self.source} ({self.kind}): {len(theirs)} tensors used"]
        by_reason: dict[str, list[str]] = {}
        for name, why in self.unused.items():
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  not used: {names[0]}{more}: {why}")
        return lines


@dataclass(frozen=True)
class ImportReport:
    """An import: each tensor of each source, each tensor of ours."""

    out: Path
    config: ModelConfig
    sources: tuple[Imported, ...]
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
            told = ", ".join(f"{part} ({count})" for part, count in parts.items())
            lines.append(f"initialised afresh, to be trained: {told}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def json(self) -> str:
        """All of it."""
        content = dataclasses.asdict(self)
        content["out"] = str(self.out)
        return json.dumps(content, indent=1, ensure_ascii=False)


@dataclass(frozen=True)
class ExportReport:
    """An export: each tensor of ours."""

    out: Path
    kind: str
    files: tuple[str, ...]
    written: tuple[Used, ...]
    left_out: Mapping[str, str]  # ours: the reason
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What to tell the user."""
        theirs = sum(len(used.theirs) for used in self.written)
        lines = [f"{self.out} ({self.kind}): {theirs} tensors in {', '.join(self.files)}"]
        by_reason: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  left out: {names[0]}{more}: {why}")
        return [*lines, *(f"note: {note}" for note in self.notes)]
