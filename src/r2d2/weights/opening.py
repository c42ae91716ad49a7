"""Open published weights as a model: Hugging Face's dual encoders and official checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from r2d2.data.preprocessing import Preprocessing
from r2d2.errors import R2D2Error
from r2d2.model.hf_towers import family_of, require_transformers
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import check_length
from r2d2.weights.files import CONFIG, VOCAB, read_json
from r2d2.weights.importing import assemble
from r2d2.weights.layout import ImportOptions
from r2d2.weights.layouts import bare, recognise
from r2d2.weights.report import SourceReport
from r2d2.weights.source import RawCheckpoint, open_source
from r2d2.weights.towers import ADAPTERS, TowerOptions, read_towers

log = logging.getLogger(__name__)


def check_config(config: Mapping[str, Any], source: object) -> None:
    """Refuse another kind of model by its config.json, before its weights are fetched or read.

    Raises:
        R2D2Error: its `model_type` is not read here, or `transformers` is missing.
    """
    if "model_type" not in config:
        return
    kind = config["model_type"]
    if not isinstance(kind, str) or kind not in ADAPTERS:
        raise R2D2Error(
            f"{source} has model_type {kind!r} in its config.json: "
            f"opened are {', '.join(ADAPTERS)}; a model may be made of an encoder of pictures and "
            "one of texts by `r2d2 weights towers --image --text`"
        )
    require_transformers()


def open_hugging_face(
    folder: Path, source: object, device: torch.device, text_length: int | None
) -> Pretrained:
    """A dual encoder of Hugging Face's classes, without cross encoders.

    Its pictures are resized as its preprocessor_config.json says.

    Raises:
        R2D2Error: another kind of model, missing files, tensors that do not fit, or a length that
            the text tower cannot take.
    """
    check_config(read_json(folder / CONFIG), source)
    return _dual_encoder(open_source(folder), source, device, text_length)


def open_checkpoint(
    path: Path, source: object, device: torch.device, text_length: int | None
) -> Pretrained:
    """An official R2D2, PRD2 or Chinese-CLIP checkpoint; a file, or a folder that holds one.

    Raises:
        R2D2Error: it wants to run code, is in no layout known here, holds a part of a model only,
            or has no vocabulary beside it.
    """
    read = open_source(path)
    layout = recognise(bare(read.tensors).values(), str(source))
    if layout.pickle is None and read.config.get("model_type") in ADAPTERS:
        check_config(read.config, source)
        return _dual_encoder(read, source, device, text_length)
    if read.tokenizer is None:
        raise R2D2Error(
            f"there is no {VOCAB} beside {source}, and the file has no vocabulary: put "
            f"RoBERTa-wwm-ext's {VOCAB} into {read.folder}, or name one by `r2d2 weights import "
            "--vocab`"
        )
    assembled = assemble([read], ImportOptions(max_length=text_length))
    parts = [name for name in assembled.fresh if not name.startswith("mlm_head")]
    if parts:
        raise R2D2Error(
            f"{source} ({layout.about}) is a part of a model: it lacks what makes {parts[0]} and "
            f"{len(parts) - 1} more; make a model of it by `r2d2 weights import`"
        )
    _tell_unused(source, assembled.sources[0])
    assembled.model.model.to(device)
    return assembled.model


def _dual_encoder(
    read: RawCheckpoint, source: object, device: torch.device, text_length: int | None
) -> Pretrained:
    adapter = ADAPTERS[str(read.config.get("model_type"))]
    family = family_of(adapter.family)
    length = text_length or family.usual_length
    assembled = read_towers(read, TowerOptions(cross_layers=0, max_length=length))
    model = assembled.model
    check_length(source, model.tokenizer.max_length, text_length)
    _tell_unused(source, assembled.sources[0])
    side = model.model.config.vision.image_size
    if family.flexible:
        patch = model.model.config.vision.patch_size
        counts = adapter.patch_counts
        preprocessing = Preprocessing.flexible(read.preprocessor, side, patch, counts)
    else:
        preprocessing = Preprocessing.of(read.preprocessor, side, crops=family.crops)
    model.model.to(device)
    return Pretrained(
        model.model, model.tokenizer, preprocessing=preprocessing, kind="hugging face"
    )


def _tell_unused(source: object, imported: SourceReport) -> None:
    """One line on tensors that are not used, if there are any."""
    unused = list(imported.unused.items())
    if unused:
        first = "; ".join(f"{name} ({why})" for name, why in unused[:3])
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        log.info("%s: %d tensors are not used: %s%s", source, len(unused), first, more)
