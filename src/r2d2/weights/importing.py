"""Import published weights into a model of ours, and account for every tensor of both.

`import_weights([roberta, clip], out)` is how the paper starts; `import_weights(checkpoint, out)` is
for a whole model. Tensors that no source gives are initialised from a seed and listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from r2d2.config import ModelConfig, TextConfig
from r2d2.data.augment import MEAN, STD
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.model.r2d2 import R2D2, TEMPERATURE_RANGE
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import LONGEST_WORD, Tokenizer
from r2d2.weights.files import TOKENIZER, VOCAB
from r2d2.weights.layout import CanonicalCheckpoint, ImportOptions, Layout, PartConfigs
from r2d2.weights.layouts import bare, layout_of, recognise
from r2d2.weights.report import ImportReport, SourceReport, TensorMapping, check_out
from r2d2.weights.rules import Rule
from r2d2.weights.source import RawCheckpoint, open_source
from r2d2.weights.vocab import read_tokenizer

REPORT = "import.json"


def import_weights(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    options: ImportOptions | None = None,
    *,
    kind: str | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Read published weights and write a folder that `r2d2.load` opens.

    Args:
        source: a folder, file or hub id, or several that each give other parts of the model.
        out: the folder to write; `import.json` there accounts for every tensor.
        options: what the sources leave open; None: the defaults.
        kind: one of `kinds()`, of a single source; None: told by the names of its tensors.
        overwrite: replace a folder at `out`.

    Raises:
        R2D2Error: nothing readable there, an unknown layout, parts that do not fit one another, a
            missing vocabulary, or a file that wants to run code.
    """
    out, options = Path(out), options or ImportOptions()
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    check_out(out, overwrite, [*sources, options.vocab])
    if not sources:
        raise R2D2Error("no source is given: name a folder, a file or a hub id")
    if kind is not None and len(sources) > 1:
        raise R2D2Error("--kind goes with a single source: leave it out, it is recognised")
    return assemble([open_source(where) for where in sources], options, kind).write(out)


def initialised(config: ModelConfig, seed: int) -> R2D2:
    """Build a model with weights drawn from `seed`, without changing torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return R2D2(config)


@dataclasses.dataclass(frozen=True)
class AssembledModel:
    """A model made of published weights, in memory, and what became of each tensor."""

    model: Pretrained
    sources: tuple[SourceReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def fresh(self) -> tuple[str, ...]:
        """The names of our tensors that no source gave: they are initialised by the seed."""
        filled = {mapping.ours for source in self.sources for mapping in source.used}
        return tuple(name for name in self.model.model.state_dict() if name not in filled)

    def write(self, out: Path) -> ImportReport:
        """Save the model, and beside it the report on every tensor."""
        config = self.model.model.config
        report = ImportReport(out, config, self.sources, self.fresh, self.notes)
        self.model.save(out)
        write_text(out / REPORT, report.json())
        return report


def assemble(
    sources: Sequence[RawCheckpoint], options: ImportOptions, kind: str | None = None
) -> AssembledModel:
    """The model of opened sources; see `import_weights`, which writes it into a folder."""
    readings = [_SourceReader.of(source, kind, options) for source in sources]
    _refuse_twice(readings)
    config = _config(readings, options)
    tokenizer = _tokenizer(readings, options.vocab, config)
    if all(reading.parts.text is None for reading in readings):
        text = dataclasses.replace(config.text, vocab_size=tokenizer.vocab_size)
        config = dataclasses.replace(config, text=text)
    _check_vocabulary(tokenizer, config.text)
    model = initialised(config, options.seed)
    state = dict(model.state_dict())
    reports = tuple(reading.fill(state, config) for reading in readings)
    model.load_state_dict(state)
    top_k = max(reading.layout.top_k for reading in readings)
    return AssembledModel(
        Pretrained(model, tokenizer, top_k=top_k, kind="checkpoint"),
        reports,
        tuple(note for reading in readings for note in reading.notes(config, state)),
    )


@dataclasses.dataclass(frozen=True)
class _SourceReader:
    """A source with its layout."""

    source: RawCheckpoint
    layout: Layout
    checkpoint: CanonicalCheckpoint
    original: Mapping[str, str]  # canonical name: name in the file
    parts: PartConfigs

    @staticmethod
    def of(source: RawCheckpoint, kind: str | None, options: ImportOptions) -> _SourceReader:
        names = bare(source.tensors)
        layout = layout_of(kind) if kind else recognise(names.values(), source.name)
        original: dict[str, str] = {}
        for name, short in names.items():
            canonical = layout.canonical(short)
            if canonical in original:
                raise R2D2Error(
                    f"{source.name}: {name} and {original[canonical]} are the same tensor under "
                    "two names: keep one of them"
                )
            original[canonical] = name
        tensors = {canonical: source.tensors[name] for canonical, name in original.items()}
        checkpoint = CanonicalCheckpoint(source.name, tensors, source.config)
        return _SourceReader(
            source, layout, checkpoint, original, layout.parts(checkpoint, options)
        )

    def fill(self, state: dict[str, Tensor], config: ModelConfig) -> SourceReport:
        """Copy the source's tensors into `state`; those that are not used get a reason."""
        rules = self.layout.rules(config)
        used: list[TensorMapping] = []
        read: set[str] = set()
        for part in dict.fromkeys(rule.part for rule in rules):
            members = [rule for rule in rules if rule.part == part]
            if not self._whole(part, members) or not set(members[0].ours) <= state.keys():
                continue
            for rule in members:
                for name, tensor in zip(rule.ours, self._read(rule), strict=True):
                    self._check(rule, name, tensor, state[name])
                    state[name] = tensor
                    theirs = tuple(self.original[their] for their in rule.theirs)
                    used.append(TensorMapping(name, theirs, self._how(rule)))
                read.update(rule.theirs)
        unread = [name for name in self.checkpoint.tensors if name not in read]
        unused = {self.original[name]: self._reason(name, rules, state) for name in unread}
        return SourceReport(
            self.source.name, self.layout.name, tuple(used), unused | self.source.beside
        )

    def _whole(self, part: str, rules: Sequence[Rule]) -> bool:
        """Return whether a part is present; raise R2D2Error where only some of its tensors are."""
        names = [name for rule in rules for name in rule.theirs]
        missing = [name for name in names if name not in self.checkpoint.tensors]
        if missing and (part in self.layout.required or len(missing) < len(names)):
            raise R2D2Error(
                f"{self.source.name} lacks {missing[0]} and {len(missing) - 1} more of its "
                f"{part} weights: give the whole checkpoint"
            )
        return not missing

    def _read(self, rule: Rule) -> Sequence[Tensor]:
        tensors = [self.checkpoint.tensors[name] for name in rule.theirs]
        for name, tensor in zip(rule.theirs, tensors, strict=True):
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
                raise R2D2Error(
                    f"{self.source.name}: {self.original[name]} holds values that are no finite "
                    "numbers: fetch the checkpoint again"
                )
        try:
            read = rule.read([tensor.float() for tensor in tensors])
        except (RuntimeError, IndexError, ValueError) as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise R2D2Error(
                f"{self.source.name}: {' and '.join(rule.theirs)} of shape {shapes} do not make "
                f"{' and '.join(rule.ours)}: is the checkpoint whole?"
            ) from error
        # a copy: nothing of a file mapped into memory stays in the model
        return [tensor.clone(memory_format=torch.contiguous_format) for tensor in read]

    def _check(self, rule: Rule, name: str, tensor: Tensor, ours: Tensor) -> None:
        if tensor.shape != ours.shape:
            theirs = " and ".join(self.original[their] for their in rule.theirs)
            raise R2D2Error(
                f"{self.source.name}: {theirs} gives {tuple(tensor.shape)} where {name} is "
                f"{tuple(ours.shape)}: give settings or a config.json of the same size"
            )
        if name == "log_temperature" and not bool(tensor.isfinite()):
            raise R2D2Error(f"{self.source.name}: {rule.theirs[0]} is no temperature above 0")

    def _how(self, rule: Rule) -> str:
        kind = self.checkpoint.tensors[rule.theirs[0]].dtype
        stored = "" if kind == torch.float32 else f"stored as {str(kind).removeprefix('torch.')}"
        return ", ".join(word for word in (rule.how, stored) if word)

    def _reason(self, name: str, rules: Sequence[Rule], state: Mapping[str, Tensor]) -> str:
        twin = self.layout.copies.get(name)
        if twin is not None and twin in self.checkpoint.tensors:
            if torch.equal(self.checkpoint.tensors[name], self.checkpoint.tensors[twin]):
                return f"the same as {self.original[twin]}"
            return f"differs from {self.original[twin]}, which ours uses in both places"
        for rule in rules:
            if name in rule.theirs and not set(rule.ours) <= state.keys():
                return f"the model asked for has no {rule.ours[0]}"
        return self.layout.reason(name)

    def notes(self, config: ModelConfig, state: Mapping[str, Tensor]) -> list[str]:
        """Return further notes on a source for the user."""
        notes = []
        mean, std = (
            self.source.preprocessor.get(f"image_{statistic}") for statistic in ("mean", "std")
        )
        if self.parts.vision is not None and mean and std:
            expected = [*MEAN, *STD]
            stated = [*mean, *std]
            if len(stated) != 6 or any(
                abs(a - b) > 1e-3 for a, b in zip(stated, expected, strict=True)
            ):
                notes.append(
                    f"{self.source.name} normalised its pictures by mean {mean} and deviation "
                    f"{std}; ours are CLIP's: expect less of it until it is trained further"
                )
        if "temperature" in {rule.part for rule in self.layout.rules(config)}:
            tau = float(state["log_temperature"].exp())
            low, high = TEMPERATURE_RANGE
            if not low <= tau <= high:
                notes.append(f"tau is {tau:.4g}; training will bring it into [{low}, {high}]")
        return notes


def _refuse_twice(readings: Sequence[_SourceReader]) -> None:
    for part in ("vision", "text"):
        givers = [r.source.name for r in readings if getattr(r.parts, part) is not None]
        if len(givers) > 1:
            raise R2D2Error(
                f"{givers[0]} and {givers[1]} both give the {part} encoder: give one of them"
            )


def _config(readings: Sequence[_SourceReader], options: ImportOptions) -> ModelConfig:
    """Sizes from the sources, the rest from `fresh`."""
    settings = {
        name: value
        for reading in readings
        for name, value in vars(reading.parts).items()
        if value is not None
    }
    if options.cross_layers is not None:
        settings["cross_layers"] = options.cross_layers
    if options.image_size is not None and "vision" not in settings:
        settings["vision"] = dataclasses.replace(
            options.fresh.vision, image_size=options.image_size
        )
    if options.max_length is not None and "text" not in settings:
        settings["text"] = dataclasses.replace(options.fresh.text, max_length=options.max_length)
    return dataclasses.replace(options.fresh, **settings)


def _tokenizer(
    readings: Sequence[_SourceReader], vocab: str | Path | None, config: ModelConfig
) -> Tokenizer:
    """Return the user's vocabulary, or else the text encoder's, or else that of any source."""
    ordered = sorted(readings, key=lambda reading: reading.parts.text is None)
    first = ordered[0]
    longest = LONGEST_WORD if first.parts.text is None else first.layout.longest_word
    if vocab is not None:
        path = Path(vocab)
        path = path / VOCAB if path.is_dir() else path
        return read_tokenizer(path, config.text.max_length, longest)
    for reading in ordered:
        if reading.source.tokenizer is not None and reading.layout.has_vocabulary:
            return read_tokenizer(reading.source.tokenizer, config.text.max_length, longest)
    raise R2D2Error(
        f"no vocabulary: there is no {VOCAB} or {TOKENIZER} beside {readings[0].source.name}; give "
        "--vocab with the text encoder's vocab.txt (for R2D2 and Chinese-CLIP RoBERTa-wwm-ext's)"
    )


def _check_vocabulary(tokenizer: Tokenizer, text: TextConfig) -> None:
    if tokenizer.vocab_size > text.vocab_size:
        raise R2D2Error(
            f"the vocabulary has {tokenizer.vocab_size} tokens and the text encoder "
            f"{text.vocab_size}: give the vocab.txt that it was trained with"
        )
