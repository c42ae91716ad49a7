"""`r2d2 export onnx`: a folder from which a program in any language can search and match."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from r2d2.config import to_dict
from r2d2.deploy.graphs import MATCH, OPSET, build_graphs
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.hf_tokenizer import HfTokenizer
from r2d2.models import load_network
from r2d2.outputs import a_folder, check_outputs
from r2d2.pretrained import Pretrained

log = logging.getLogger(__name__)

README = "onnx_readme.md"
FORMAT = 1  # of the folder, in config.json
LARGEST = 2_000_000_000  # bytes that one ONNX file can hold; more goes into a file beside it


@dataclass(frozen=True)
class ExportedFolder:
    """A folder that was written, and its files."""

    folder: Path
    sizes: dict[str, int]  # bytes, by path in the folder

    def lines(self) -> list[str]:
        """A line of text for each file."""
        width = max(len(name) for name in self.sizes)
        return [f"{name:<{width}}  {size / 1e3:10,.1f} kB" for name, size in self.sizes.items()]


def export_onnx(
    source: str | Path,
    out: str | Path,
    *,
    int8: bool = False,
    dim: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportedFolder:
    """Write the graphs, tokenizer.json, config.json and README.md of a model into a folder.

    Args:
        source: as `r2d2.load` takes it.
        out: the folder.
        int8: the graphs also with weights of 8 bits, as *.int8.onnx.
        dim: numbers of an embedding; None: all. See `narrowed`.
        overwrite: replace an exported folder at `out`.
        progress: called with what is being done.

    Raises:
        R2D2Error: no model, `out` is taken, a package is missing, or a part cannot be exported.
    """
    out = Path(out)
    check_outputs([a_folder(out, is_exported)], inputs=[source], overwrite=overwrite)
    model = load_network(source, "export", "cpu", dim=dim)
    if differs := model.preprocessing.differs():
        raise R2D2Error(
            f"{source} {differs} in front of its image encoder, which the exported graph cannot: "
            "fine-tune it first, which teaches it pictures squeezed to a square, or use it as it is"
        )
    graphs = build_graphs(model.model, model.tokenizer, progress)
    with whole_folder(out) as work:
        for name, graph in graphs.items():
            save_graph(graph, work / f"{name}.onnx")
        names = {name: f"{name}.onnx" for name in graphs}
        config = _config(model, names)
        if int8:
            from r2d2.deploy.quantise import quantise

            config["int8_graphs"] = {name: f"{name}.int8.onnx" for name in graphs}
            for name in graphs:
                if progress is not None:
                    progress(f"{name}, int8")
                quantise(work / f"{name}.onnx", work / f"{name}.int8.onnx")
        (work / "tokenizer.json").write_text(tokenizer_json(model), encoding="utf-8")
        text = json.dumps(config, indent=1, ensure_ascii=False)
        (work / "config.json").write_text(text + "\n", encoding="utf-8")
        (work / "README.md").write_text(_readme(config), encoding="utf-8")
        sizes = file_sizes(work)
    return ExportedFolder(out, sizes)


def file_sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file, by its path in the folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def is_exported(folder: Path) -> bool:
    """Whether a folder holds what `export_onnx` writes."""
    return (folder / "image.onnx").is_file() and (folder / "config.json").is_file()


def save_graph(graph: Any, path: Path) -> None:
    """Write a graph; where it is too large for one file, its weights get a file of their own."""
    import onnx

    if graph.ByteSize() < LARGEST:
        onnx.save(graph, str(path))
    else:
        onnx.save(graph, str(path), save_as_external_data=True, location=f"{path.name}.data")


def _config(model: Pretrained, graphs: dict[str, str]) -> dict[str, Any]:
    """The settings that a program needs besides the graphs."""
    settings = model.model.config
    tokenizer = model.tokenizer
    return {
        "format": FORMAT,
        "opset": OPSET,
        "graphs": graphs,
        "image_size": settings.vision.image_size,
        "max_length": tokenizer.max_length,
        "pad_id": tokenizer.pad_id,
        "embedding_width": settings.embed_dim,
        "match_weight": model.match_weight if MATCH in graphs else 0.0,
        "top_k": model.top_k,
        "model": to_dict(settings),
    }


def tokenizer_json(model: Pretrained) -> str:
    """tokenizer.json that encodes as ours does when any program loads it.

    Ours reads "[MASK]" in a user's text as the six characters it is, by a switch that the file
    format does not keep. Without its list of special tokens the file does the same; the ids of
    [CLS] and [SEP] stand in its post-processor.
    """
    text: str = model.tokenizer._engine.to_str(pretty=True)
    if isinstance(model.tokenizer, HfTokenizer):
        return text
    data = json.loads(text)
    data["added_tokens"] = []
    return json.dumps(data, ensure_ascii=False, indent=1)


def _readme(config: dict[str, Any]) -> str:
    template = resources.files("r2d2.deploy").joinpath(README).read_text(encoding="utf-8")
    parts = template.split("<!-- match -->")
    if MATCH not in config["graphs"]:
        parts = parts[::2]  # the text between two marks is about the pair scorer
    text = "".join(parts)
    for name in ("image_size", "max_length", "pad_id", "embedding_width", "match_weight", "top_k"):
        text = text.replace("{" + name + "}", f"{config[name]:g}")
    return text
