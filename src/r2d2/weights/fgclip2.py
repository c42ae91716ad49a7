"""Read a checkpoint of FG-CLIP 2 as a SigLIP 2, and report the tensors that do not fit in.

Its picture tower is SigLIP 2's of flexible resolution. Its text tower is SigLIP 2's with one set of
places for short texts and another, longer one for long texts: of that the first `keep_len` come
from `position_embedding_ori` and the others from `position_embedding_res`; and with a linear head
for either. So it is read for one of the two lengths. A third head, of texts on boxes, and one that
gives each patch an embedding are for what happens within a picture (arXiv 2510.10921).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.weights.report import SourceReport, TensorMapping
from r2d2.weights.source import RawCheckpoint

FAMILY = "siglip2"  # of its towers
SHORT, KEPT, LONG = 64, 20, 196  # places, where its config.json does not say
# Patches of a picture, by the number that it has by itself: so its evaluation asks its processor
PATCHES = (128, 256, 576, 784, 1024)
PLACES = "text_model.embeddings.position_embedding"
HEAD = "text_model.head"
LONG_HEAD = "longtext_head"
OF_LONG = "for long texts: see --max-length"
OF_SHORT = "for short texts"
REASONS = {  # beginning of a name
    "boxtext_head.": "for texts on boxes",
    "dense_feature_head.": "for embeddings of patches",
    "logit_scale_": "of its training losses",
}


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """A checkpoint in SigLIP 2's layout."""

    source: RawCheckpoint
    renamed: Mapping[str, tuple[str, ...]]  # SigLIP 2's name: those it was made of
    unused: Mapping[str, str]  # name: the reason

    def account(self, imported: SourceReport) -> SourceReport:
        """The import told by the names of the checkpoint itself."""
        used = tuple(
            TensorMapping(
                mapping.ours,
                tuple(
                    theirs for name in mapping.theirs for theirs in self.renamed.get(name, (name,))
                ),
                mapping.how,
            )
            for mapping in imported.used
        )
        return dataclasses.replace(imported, used=used, unused={**imported.unused, **self.unused})


def as_siglip2(read: RawCheckpoint, max_length: int | None) -> ConvertedCheckpoint:
    """The checkpoint for short texts, or with `max_length` the length of its long ones for those.

    Raises:
        R2D2Error: another length, or tensors of the long texts that are missing or do not fit.
    """
    text = dict(read.config.get("text_config") or {})
    short = int(text.get("max_position_embeddings", SHORT))
    kept, longest = int(text.pop("keep_len", KEPT)), int(text.pop("longtext_len", LONG))
    if max_length not in (None, short, longest):
        raise R2D2Error(
            f"{read.name} reads texts of {short} places, or of {longest}: give one of the two, "
            f"not {max_length}, or leave the length out for {short}"
        )
    long = max_length == longest and longest != short
    tensors: dict[str, Tensor] = dict(read.tensors)
    unused, renamed = {}, {}
    parts = {end: f"{PLACES}_{end}.weight" for end in ("ori", "res")}
    heads = {end: f"{LONG_HEAD}.{end}" for end in ("weight", "bias")}
    if long:
        absent = [name for name in (*parts.values(), *heads.values()) if name not in tensors]
        if absent:
            raise R2D2Error(f"{read.name} lacks {absent[0]}: give the whole checkpoint")
        first, rest = (tensors.pop(name) for name in parts.values())
        if len(first) != longest or first.shape != rest.shape:
            raise R2D2Error(
                f"{read.name}: its places for long texts have shapes {tuple(first.shape)} and "
                f"{tuple(rest.shape)}, not {longest} rows: config.json is another model's"
            )
        for name in (f"{PLACES}.weight", *(f"{HEAD}.{end}" for end in heads)):
            if name in tensors:
                unused[name] = OF_SHORT
        tensors[f"{PLACES}.weight"] = torch.cat([first[:kept], rest[kept:]])
        renamed[f"{PLACES}.weight"] = tuple(parts.values())
        for end, name in heads.items():
            tensors[f"{HEAD}.{end}"] = tensors.pop(name)
            renamed[f"{HEAD}.{end}"] = (name,)
        text["max_position_embeddings"] = longest
    for name in list(tensors):
        reason = OF_LONG if name in (*parts.values(), *heads.values()) else None
        reason = reason or next((r for start, r in REASONS.items() if name.startswith(start)), None)
        if reason is not None:
            unused[name] = reason
            del tensors[name]
    vision = dict(read.config.get("vision_config") or {})
    config = {
        "model_type": FAMILY,
        "text_config": text | {"model_type": "siglip2_text_model"},
        "vision_config": vision | {"model_type": "siglip2_vision_model"},
    }
    return ConvertedCheckpoint(
        dataclasses.replace(read, tensors=tensors, config=config), renamed, unused
    )
