"""The stages of a build as data: what each reads and writes, and what decides its result.

A stage reads products of the stages before it: the folder of the last one that wrote the product.
Whether it must run again is derived from its settings, from the contents of the files that these
name, and from the stages whose products it reads. No stage lists that by hand.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from r2d2.corpus.fetching.host_lists import PrivateHosts, host_list
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.rows import IMAGES, PAIRS, part_count
from r2d2.corpus.runner import Runner, Work, map_jobs
from r2d2.corpus.texts.classifier import judge_digest
from r2d2.corpus.texts.words import read_words
from r2d2.errors import R2D2Error
from r2d2.progress import Update

# Products. PAIRS and IMAGES are parts of those names; further ones:
SUMS = "sums"  # the pairs and images of the whole log, before any is dropped
RATES = "rates"  # the prior of the log, and the least rate that ranked
MERGE = "merge"  # which images are one
TABLE = "table"


@dataclass(frozen=True)
class StageContext:
    """What a stage works with, beside its settings; nothing of it changes the result."""

    runner: Runner
    memory_bytes: int  # of all workers together, or of each worker of a cluster
    home: str  # folder in which a function of the user's own may lie
    root: Path  # the build's working folder
    update: Update
    overwrite: bool = False  # a table that is there
    keep_dropped: bool = False  # keep the rows that the stages drop; see `DroppedFile`
    retry_failed: bool | Collection[str] = False  # failures to fetch again
    build_key: str = ""  # of all stages together
    key: str = ""  # of this stage: changes with its settings and what they name
    folders: Mapping[str, Path] = field(default_factory=dict)  # of each product that it reads
    out: Path = Path()  # its own folder

    def each_part(self, work: Work[StageCount], what: str, **folders: Path) -> StageCount:
        """Do `work` on every part, and add up its counts.

        A job holds the folder of each product read, `out`, and the number of the `part`.

        Args:
            work: see `map_jobs`.
            what: said of the progress.
            folders: other folders than those of the products.
        """
        read = {name: str(path) for name, path in {**self.folders, **folders}.items()}
        jobs = [{**read, "out": str(self.out), "part": str(n)} for n in range(self.parts)]
        return add_counts(map_jobs(work, jobs, self.runner, what, self.update))

    @property
    def process_bytes(self) -> int:
        """The memory of all workers together."""
        return self.memory_bytes * (self.runner.workers if self.runner.cluster else 1)

    @property
    def parts(self) -> int:
        """How many parts there are, the same for all stages."""
        kind = PAIRS if PAIRS in self.folders else IMAGES
        return part_count(self.folders[kind], kind)


def _always(settings: Any, context: StageContext) -> bool:
    return True


def _nothing(settings: Any, context: StageContext) -> None:
    pass


@dataclass(frozen=True)
class Stage:
    """One step of a build.

    All functions take the settings and a `StageContext`. Everything that decides the result is in
    `settings`, for the key is derived from that.
    """

    name: str  # of its folder; one that stages of one's own may follow
    reads: tuple[str, ...]  # products; of each the last stage before this that wrote it
    writes: tuple[str, ...]
    settings: Any  # dataclasses, functions, a model, plain data, or a tuple of these
    run: Callable[[Any, StageContext], Sequence[StageCount]]
    check: Callable[[Any, StageContext], None] = _nothing  # R2D2Error before any work begins
    needed: Callable[[Any, StageContext], bool] = _always  # asked when all that it reads is there
    stands: Callable[[Any, StageContext], bool] = _always  # whether what it made before is there
    after: str = ""  # of a stage of one's own: the stage that it follows


def add_stages(stages: Sequence[Stage], own: Sequence[Stage]) -> list[Stage]:
    """The stages of a build, with further ones in their places; several at one keep their order.

    Raises:
        R2D2Error: a further stage has the name of another, follows none, or reads what none wrote.
    """
    together = list(stages)
    for stage in own:
        names = [other.name for other in together]
        if not stage.name.isidentifier():
            raise R2D2Error(f"a stage has the name {stage.name!r}: give letters, digits and _")
        if stage.name in names:
            raise R2D2Error(f"two stages have the name {stage.name}: give one of them another")
        if stage.after not in names:
            raise R2D2Error(
                f"stage {stage.name} follows {stage.after or 'no stage'!r}: let it follow one of "
                f"{', '.join(names)}"
            )
        place = names.index(stage.after) + 1
        while place < len(together) and together[place].after == stage.after:
            place += 1
        together.insert(place, stage)
    written: set[str] = set()
    for stage in together:
        if missing := [name for name in stage.reads if name not in written]:
            raise R2D2Error(
                f"stage {stage.name} reads {', '.join(missing)}, which no stage before it writes; "
                f"written are {', '.join(sorted(written))}"
            )
        written.update(stage.writes)
    return together


def settings_key(settings: Any, home: str) -> str:
    """A hash of settings and of what lies behind the files, lists and functions that they name.

    Args:
        settings: dataclasses, functions, objects with a `fingerprint`, and plain data.
        home: folder in which a function's module may lie.

    Raises:
        R2D2Error: what a setting names cannot be read.
    """
    return digest(_plain(settings, home))


def digest(data: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any, home: str) -> Any:
    """Settings as plain data, with digests in the place of what is named or is code."""
    if hasattr(value, "fingerprint"):
        return ["model", value.fingerprint]
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        held = _plain([*cells, value.__defaults__, value.__kwdefaults__], home)
        return [value.__module__, value.__qualname__, _code(value), held]
    if isinstance(value, type):
        return [value.__module__, value.__qualname__, _code(value)]
    if is_dataclass(value):
        named = {}
        for one in fields(value):
            held = getattr(value, one.name)
            named[one.name] = _plain(held, home)
            if "names" in one.metadata and held:
                reader = _READERS[one.metadata["names"]]
                named[f"{one.name} holds"] = reader(one.name if held is True else held, home)
        return [_plain(type(value), home), named]
    if isinstance(value, Mapping):
        return {str(name): _plain(held, home) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(held, home) for held in value]
    return value


def _code(value: Any) -> str:
    """A digest of the file where a function or class of the user's own stands.

    A function that was defined in a notebook has no file: it is identified by its own code.
    """
    if value.__module__.startswith("r2d2."):
        return ""
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    if file is not None and Path(file).is_file():
        return _file(file, "")
    functions = [one for one in [value, *vars(value).values()] if isinstance(one, FunctionType)]
    return digest([[one.__code__.co_code.hex(), one.__code__.co_consts] for one in functions])


def _file(path: str, home: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise R2D2Error(f"cannot read {path}: {error.strerror}; check the path") from error


def _words(names: str | Sequence[str], home: str) -> list[list[str]]:
    return [read_words(name)[1] for name in ([names] if isinstance(names, str) else names)]


def _private(entries: Sequence[str], home: str) -> list[list[str]]:
    private = PrivateHosts.read(entries)
    return [sorted(private.hosts), [str(network) for network in private.networks]]


# How what a setting names is read; the metadata of the fields in `config.py` say which it is.
_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "file": _file,
    "word lists": _words,
    "function": judge_digest,
    "hosts": lambda entries, home: sorted(host_list(entries)),
    "private hosts": _private,
}


def with_keys(stages: Sequence[Stage], context: StageContext) -> list[StageContext]:
    """The context of each stage before its folder is known: with its key and the build's."""
    keys = [settings_key(stage.settings, context.home) for stage in stages]
    return [dataclasses.replace(context, key=key, build_key=digest(keys)) for key in keys]
