"""What lies behind settings that name a file, a list, a function or a model.

All of it is opened before a build begins, so that what is wrong stops it at once; and a digest of
it tells whether a stage that was done is still good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from r2d2.corpus.config import CorpusConfig, FetchConfig, ImageConfig, TextConfig
from r2d2.corpus.fetching.host_lists import PrivateHosts, host_list
from r2d2.corpus.images.align import Model
from r2d2.corpus.images.harmful import harmful
from r2d2.corpus.texts.classifier import judge_digest
from r2d2.corpus.texts.text_filter import ready
from r2d2.corpus.texts.words import read_words
from r2d2.corpus.workspace import digest
from r2d2.errors import R2D2Error


@dataclass(frozen=True)
class Behind:
    """Digests, by the stages that depend on them."""

    query: str
    text: str
    fetch: str
    image: str
    meaning: str | None  # the model's, where a stage asks it
    align: str | None


def look_behind(config: CorpusConfig, model: Model | None, home: str) -> Behind:
    """Open everything that the settings name.

    Args:
        config: every stage's settings.
        model: for `dedup.meaning` and `align`.
        home: folder in which a classifier's module may lie.

    Raises:
        R2D2Error: a setting wants a model and there is none, or what one names does not serve.
    """
    align = (config.align.low, config.align.high)
    asked = {"dedup.meaning": config.dedup.meaning, "align.low": align[0], "align.high": align[1]}
    for name, value in asked.items():
        if value is not None and model is None:
            raise R2D2Error(f"{name} needs a model: give --model, or --set {name}=null")
    return Behind(
        _text(config.query, home),
        _text(config.text, home),
        _fetch(config.fetch),
        _image(config.image),
        _model(model) if config.dedup.meaning is not None else None,
        _model(model) if align != (None, None) else None,
    )


def _text(config: TextConfig, home: str) -> str:
    names = (*config.word_lists, *config.allow, *(("advertising",) if config.advertising else ()))
    found = digest(
        [
            [read_words(name)[1] for name in names],
            None if config.vocab is None else _file(config.vocab),
            None if config.classifier is None else judge_digest(config.classifier, home),
        ]
    )
    ready(config, found, home)
    return found


def _fetch(config: FetchConfig) -> str:
    private = PrivateHosts.read(config.allow_private)
    return digest([sorted(host_list(config.block)), sorted(private.hosts), private.networks])


def _image(config: ImageConfig) -> str:
    if not config.enabled or config.max_harmful is None:
        return ""
    harmful(Image.new("RGB", (64, 64)), config.harmful_model)
    return "" if config.harmful_model is None else _file(config.harmful_model)


def _model(model: Model | None) -> str | None:
    return None if model is None else model.fingerprint


def _file(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise R2D2Error(f"cannot read {path}: {error.strerror}; check the path") from error
