"""Join any image encoder and any text encoder into one model folder, with new heads.

As `VisionTextDualEncoder` of transformers does it: two encoders that were trained apart, and
projections that are not trained yet. R2D2 itself starts so, from CLIP's ViT and a RoBERTa.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from r2d2.config import HfTowersConfig
from r2d2.errors import R2D2Error, first_line
from r2d2.model.encoders import IMAGE_ENCODERS, PLUS, TEXT_ENCODERS, pair_of
from r2d2.model.hf_towers import build_config, quiet_loading
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import check_length
from r2d2.weights.importing import AssembledModel
from r2d2.weights.report import ImportReport, SourceReport, TensorMapping, check_out
from r2d2.weights.source import RawCheckpoint, open_source
from r2d2.weights.towers import TowerOptions, model_shape, read_text_settings

IMAGE_SIDE = 224  # pixels, where neither the processor nor the encoder names a size
NOT_READ = "no part of the encoder"


def import_pair(
    image: str | Path,
    text: str | Path,
    out: str | Path,
    options: TowerOptions | None = None,
    *,
    overwrite: bool = False,
) -> ImportReport:
    """Read two encoders of Hugging Face's classes and write one folder that `r2d2.load` opens.

    Args:
        image: a folder or hub id of an encoder of pictures; see `IMAGE_ENCODERS`.
        text: of an encoder of texts, with its tokenizer; see `TEXT_ENCODERS`.
        out: the folder to write; `import.json` there accounts for every tensor.
        options: what the encoders leave open; None: the defaults.
        overwrite: replace a folder at `out`.

    Raises:
        R2D2Error: another kind of encoder, missing files, tensors that do not fit, or sizes that
            an encoder cannot take.
    """
    out, options = Path(out), options or TowerOptions()
    check_out(out, overwrite, [image, text])
    sources, max_length = (open_source(image), open_source(text)), options.max_length
    roles = _roles(sources, options.embed_dim or options.fresh.embed_dim, options.image_size)
    both = build_config(roles)
    positions = pair_of(*roles.kind.split(PLUS)).text_positions(both)
    check_length(text, positions, max_length)
    tokenizer, roles = read_text_settings(
        sources[1], roles, both.text_config,
        min(max_length or options.fresh.text.max_length, positions),
        options.mask_token, need_mask=True,
    )  # fmt: skip
    config = model_shape(roles, both, tokenizer, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = R2D2(config)
        # After the rest: the library draws what a checkpoint lacks, which is then refused.
        imported = tuple(
            _fill(model.towers.get_submodule(side), side, source)
            for side, source in zip(("vision", "text"), sources, strict=True)
        )
    notes = (
        f"embeddings have {config.embed_dim} numbers, and their projections are not trained yet: "
        "pre-train before searching",
        f"pictures are squeezed to {config.vision.image_size} pixels, square; texts are cut at "
        f"{tokenizer.max_length} tokens",
    )
    return AssembledModel(Pretrained(model, tokenizer), imported, notes).write(out)


def _roles(
    sources: tuple[RawCheckpoint, RawCheckpoint], embed_dim: int, side: int | None
) -> HfTowersConfig:
    """Return the settings of the pair, without those that depend on the tokenizer."""
    kinds = [str(source.config.get("model_type")) for source in sources]
    for source, kind, known in zip(sources, kinds, (IMAGE_ENCODERS, TEXT_ENCODERS), strict=True):
        if kind not in known:
            raise R2D2Error(
                f"{source.name} is a model of type {kind!r}: taken here are {', '.join(known)}"
            )
    image, text = sources
    family = pair_of(kinds[0], kinds[1])
    mean, std = family.pixels
    content = {
        "vision_config": {k: v for k, v in image.config.items() if k != "auto_map"},
        "text_config": {k: v for k, v in text.config.items() if k != "auto_map"},
        "projection_dim": embed_dim,
        "image_side": side or _processed_side(image) or IMAGE_SIDE,
    }
    return HfTowersConfig(
        PLUS.join(kinds),
        json.dumps(content, sort_keys=True),
        image.colours("mean", mean), image.colours("std", std), 0, 0, 0, (),
    )  # fmt: skip


def _processed_side(read: RawCheckpoint) -> int | None:
    """Return the side in pixels of its processor's square, or else that of its config.json."""
    for size in (read.preprocessor.get("crop_size"), read.preprocessor.get("size")):
        if isinstance(size, Mapping):
            size = size.get("height", size.get("shortest_edge"))
        if size is not None:
            return int(size)  # `open_source` has checked it
    size = read.config.get("image_size")
    return size if isinstance(size, int) else None


def _fill(tower: nn.Module, side: str, read: RawCheckpoint) -> SourceReport:
    """Put a checkpoint into an initialised tower, under the names of whichever version wrote it.

    The library knows how its own classes were named over the years; it is given tensors that were
    read safely, and runs nothing.
    """
    theirs: Any = type(tower)
    own = set(tower.state_dict())
    with quiet_loading():  # `ImportReport` takes the place of the library's
        try:
            loaded, loading_info = theirs.from_pretrained(
                None, config=tower.config, state_dict=dict(read.tensors),
                output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32,
                **_options(tower),
            )  # fmt: skip
        except Exception as error:  # its checks raise errors of many kinds
            raise R2D2Error(
                f"{read.name} does not fit its config.json ({first_line(error)}): give the file "
                "that was saved with it"
            ) from error
    if wrong := sorted(loading_info["mismatched_keys"]):
        name, there, here = wrong[0]
        raise R2D2Error(
            f"{read.name}: {name} is {tuple(there)}, and {tuple(here)} by its config.json: give "
            "the config.json that was saved with it"
        )
    read.refuse_missing(sorted(loading_info["missing_keys"]))
    state = loaded.state_dict()
    read.refuse_not_finite(state)
    tower.load_state_dict(state)
    unused = dict.fromkeys(map(str, loading_info["unexpected_keys"]), NOT_READ) | read.beside
    taken = tuple(name for name in read.tensors if name not in unused)
    how = "by the names of the library's class"
    # Which of theirs made which of ours is the library's business: they are told together.
    used = tuple(
        TensorMapping(f"towers.{side}.{name}", taken if first else (), how if first else "")
        for first, name in ((n == 0, name) for n, name in enumerate(sorted(own)))
    )
    return SourceReport(read.name, f"encoder of {side}", used, unused)


def _options(tower: nn.Module) -> dict[str, Any]:
    """What the tower's class was made with."""
    has = "pooler" in dict(tower.named_children()) or not hasattr(tower, "pooler")
    return {} if has else {"add_pooling_layer": False}
