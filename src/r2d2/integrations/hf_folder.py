"""`r2d2 export hf`: a folder that sentence-transformers and transformers open without this package.

    DIR/                  SentenceTransformer(DIR); AutoModel too where one class holds both towers
    DIR/cross-encoder/    CrossEncoder(DIR/cross-encoder, trust_remote_code=True); r2d2.load

All modules of DIR are the library's own, where its classes can hold the towers. Cross encoders over
a picture and a text are no class of theirs: cross-encoder/ names one of this package, which must be
installed, and so does DIR for other towers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from r2d2.deploy.export import ExportedFolder, file_sizes
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.files import whole_folder
from r2d2.integrations import hf_model
from r2d2.integrations.card import Card, read_record, write_cards
from r2d2.integrations.hf_processor import reads_padding, write_image_processor, write_tokenizer
from r2d2.model.hf_towers import quiet_loading, require_transformers
from r2d2.models import load_network
from r2d2.outputs import a_folder, check_outputs
from r2d2.pretrained import Pretrained

ABOUT, MODULES = "config_sentence_transformers.json", "modules.json"
CROSS_ENCODER = "cross-encoder"  # the folder inside of it
LEAST = "6.0"  # of sentence-transformers: pictures, and a route for each kind of input
REQUIREMENTS = {"sentence-transformers": f">={LEAST}", "transformers": ">=5.0"}
EXACT = 1e-5  # by which an embedding may differ from ours

_BASE = "sentence_transformers.base.modules"
_TYPES = {
    "Transformer": f"{_BASE}.transformer.Transformer",
    "Router": f"{_BASE}.router.Router",
    "Dense": f"{_BASE}.dense.Dense",
    "Normalize": f"{_BASE}.normalize.Normalize",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "TowersEncoder": "r2d2.integrations.sentence_transformers.TowersEncoder",
    "PairScorer": "r2d2.integrations.sentence_transformers.PairScorer",
}
_PROBES = ("窗台上的橘猫", "ａｂｃ [MASK] 一杯龙井茶，配两块点心。" * 8, "")


@dataclass(frozen=True)
class _Stage:
    """A module of a pipeline, in a folder of its own."""

    folder: str
    kind: str  # of `_TYPES`


def export_hf(
    source: str | Path,
    out: str | Path,
    card: Card = Card(),
    *,
    dim: int | None = None,
    overwrite: bool = False,
) -> ExportedFolder:
    """Write a model for sentence-transformers, and for transformers where one class holds it.

    What was written is opened by the library, and compared with this model, before it is kept.

    Args:
        source: as `r2d2.load` takes it.
        out: the folder.
        card: what its README.md says beside what the model's folder tells.
        dim: numbers of an embedding; None: all. See `narrowed`.
        overwrite: replace a folder at `out` that this wrote.

    Raises:
        R2D2Error: no model, `out` is taken, a package is missing, or the library would compute
            something else.
    """
    out = Path(out)
    check_outputs([a_folder(out, is_hf_folder)], inputs=[source], overwrite=overwrite)
    use = "a folder for sentence-transformers"
    library = require("st", "sentence_transformers", use, LEAST)
    require_transformers()
    card.check()
    model = load_network(source, "export", "cpu", dim=dim)
    record = read_record(source, model, card)
    with whole_folder(out) as work:
        own_classes = True
        if hf_model.dual_class(model) is not None:
            _write_one(model, work)
        elif hf_model.splits(model):
            _write_two(model, work)
        else:
            own_classes = False
            model.save_files(work)
            _write_modules(work, [_Stage("", "TowersEncoder")])
        _write_json(
            work / ABOUT, {"model_type": "SentenceTransformer", "requirements": REQUIREMENTS}
        )
        if model.has_match:
            _write_cross_encoder(model, work / CROSS_ENCODER)
        _compare(library, model, work, trust=not own_classes)
        write_cards(work, model, record, trust=not own_classes)
        sizes = file_sizes(work)
    return ExportedFolder(out, sizes)


def is_hf_folder(folder: Path) -> bool:
    """Whether a folder holds what `export_hf` writes."""
    return all((folder / name).is_file() for name in (ABOUT, MODULES, "README.md"))


def _write_one(model: Pretrained, work: Path) -> None:
    """One model of transformers for both kinds of input."""
    hf_model.write_dual(model, work)
    write_tokenizer(model, work)
    write_image_processor(model, work)
    outputs = {
        kind: {"method": f"get_{kind}_features", "method_output_name": "pooler_output"}
        for kind in ("text", "image")
    }
    _write_transformer(model, work, outputs, "sentence_embedding")
    normalize = _Stage("1_Normalize", "Normalize")
    _write_json(work / normalize.folder / "config.json", {})
    _write_modules(work, [_Stage("", "Transformer"), normalize])


def _write_two(model: Pretrained, work: Path) -> None:
    """A model for each kind of input, each with its projection, behind a router."""
    text, image = (
        _Stage("text_0_Transformer", "Transformer"),
        _Stage("image_0_Transformer", "Transformer"),
    )
    for stage in (text, image):
        (work / stage.folder).mkdir()
    write_tokenizer(model, work / text.folder)
    write_image_processor(model, work / image.folder)
    heads = {
        "text": hf_model.write_text_tower(model, work / text.folder),
        "image": hf_model.write_image_tower(model, work / image.folder),
    }
    routes: dict[str, list[_Stage]] = {}
    for kind, first in (("text", text), ("image", image)):
        routes[kind] = [first, *_write_head(kind, heads[kind], work)]
        pooled = heads[kind].pooled
        output = "pooler_output" if pooled else "last_hidden_state"
        outputs = {kind: {"method": "forward", "method_output_name": output}}
        name = "sentence_embedding" if pooled else "token_embeddings"
        _write_transformer(model, work / first.folder, outputs, name)
    _write_json(work / "router_config.json", {
        "types": {stage.folder: _TYPES[stage.kind] for route in routes.values() for stage in route},
        "structure": {kind: [stage.folder for stage in route] for kind, route in routes.items()},
        "parameters": {
            "default_route": "text", "allow_empty_key": True,
            "route_mappings": {f"(None, '{kind}')": kind for kind in routes},
        },
    })  # fmt: skip
    _write_modules(work, [_Stage("", "Router")])


def _write_head(kind: str, head: hf_model.Projection, work: Path) -> list[_Stage]:
    """What follows a tower: its pooling, its projection, unit length."""
    width, d = head.weight.shape[1], head.weight.shape[0]
    stages = []
    if not head.pooled:
        stages.append(_Stage(f"{kind}_1_Pooling", "Pooling"))
        settings = {"embedding_dimension": width, "pooling_mode": "cls", "include_prompt": True}
        _write_json(work / stages[-1].folder / "config.json", settings)
    dense = _Stage(f"{kind}_2_Dense", "Dense")
    _write_json(work / dense.folder / "config.json", {
        "in_features": width, "out_features": d, "bias": head.bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
    })  # fmt: skip
    tensors = {"linear.weight": head.weight.contiguous()}
    if head.bias is not None:
        tensors["linear.bias"] = head.bias.contiguous()
    save_file(tensors, work / dense.folder / "model.safetensors", metadata={"format": "pt"})
    normalize = _Stage(f"{kind}_3_Normalize", "Normalize")
    _write_json(work / normalize.folder / "config.json", {})
    return [*stages, dense, normalize]


def _write_transformer(model: Pretrained, folder: Path, outputs: dict[str, Any], name: str) -> None:
    """How the library calls a model of transformers."""
    settings: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": outputs,
        "module_output_name": name,
    }
    if "text" in outputs and reads_padding(model):
        settings["processing_kwargs"] = {"text": {"padding": "max_length"}}
    if list(outputs) == ["text"]:  # a BERT's pooler is not read, and not there
        settings["model_kwargs"] = {"add_pooling_layer": False}
    _write_json(folder / "sentence_bert_config.json", settings)


def _write_modules(folder: Path, stages: Sequence[_Stage]) -> None:
    _write_json(folder / MODULES, [
        {"idx": n, "name": str(n), "path": stage.folder, "type": _TYPES[stage.kind]}
        for n, stage in enumerate(stages)
    ])  # fmt: skip


def _write_cross_encoder(model: Pretrained, folder: Path) -> None:
    folder.mkdir()
    model.save_files(folder)
    _write_modules(folder, [_Stage("", "PairScorer")])
    _write_json(folder / ABOUT, {
        "model_type": "CrossEncoder", "requirements": REQUIREMENTS,
        "activation_fn": "torch.nn.modules.linear.Identity",
    })  # fmt: skip


def _compare(library: Any, model: Pretrained, folder: Path, *, trust: bool) -> None:
    """R2D2Error where the library gives other embeddings than this model."""
    with quiet_loading("sentence_transformers"):
        opened = library.SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, trust_remote_code=trust
        )
    shapes = ((90, 60), (31, 40), (64, 64))
    noise = np.random.default_rng(0)
    pictures = [
        Image.fromarray(noise.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes
    ]
    for kind, items, ours in (
        ("texts", list(_PROBES), model.encode_texts(_PROBES)),
        ("pictures", pictures, model.encode_images(pictures)),
    ):
        theirs = opened.encode(items, convert_to_tensor=True, show_progress_bar=False)
        apart = float((theirs.float() - ours.embedding.float()).abs().max())
        if not apart <= EXACT:
            raise R2D2Error(
                f"sentence-transformers gives other embeddings of {kind} than {model.name} "
                f"(by {apart:.2g}), so nothing is written: try other versions of "
                "sentence-transformers and transformers"
            )


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
