"""An exported folder run by ONNX Runtime, as the evaluation and the tests see a model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer as Engine
from torch import Tensor

from r2d2.data.images import to_rgb
from r2d2.errors import R2D2Error
from r2d2.model.side import Side


class OnnxModel:
    """Image, text and pair graphs of a folder; meets the evaluation's `DualEncoder`."""

    def __init__(self, folder: str | Path, *, int8: bool = False, threads: int = 1) -> None:
        """Open a folder that `r2d2 export onnx` wrote.

        Raises:
            R2D2Error: a package or a file is missing or damaged.
        """
        self.folder = Path(folder)
        try:
            text = (self.folder / "config.json").read_text(encoding="utf-8")
            self.config: dict[str, Any] = json.loads(text)
            files = self.config["int8_graphs" if int8 else "graphs"]
            self.tokenizer = Engine.from_file(str(self.folder / "tokenizer.json"))
            self._sessions = {name: _session(self.folder / f, threads) for name, f in files.items()}
        except R2D2Error:
            raise
        except Exception as error:  # both engines raise errors of their own
            raise R2D2Error(
                f"{folder} does not open as an exported model ({error}): export it again"
            ) from error

    @property
    def has_match(self) -> bool:
        """Whether there is a pair scorer."""
        return "match" in self._sessions

    def encode_images(self, images: Sequence[Image.Image]) -> Side:
        """Pictures of any size; those of one size go through together."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        pixels = [np.asarray(to_rgb(image)) for image in images]
        for place, one in enumerate(pixels):
            by_size[one.shape[:2]].append(place)
        found: dict[int, Side] = {}
        for places in by_size.values():
            given = {"image": np.stack([pixels[place] for place in places])}
            states, embedding = self.run("image", given)
            side = Side(torch.from_numpy(states), None, torch.from_numpy(embedding))
            found |= {place: side[i : i + 1] for i, place in enumerate(places)}
        return Side.cat([found[place] for place in range(len(images))])

    def encode_texts(self, texts: Sequence[str]) -> Side:
        """Sentences, cut at the model's longest."""
        found = self.tokenizer.encode_batch(list(texts))
        ids = np.array([one.ids for one in found], dtype=np.int64)
        mask = np.array([one.attention_mask for one in found], dtype=np.int64)
        states, real, embedding = self.run("text", {"ids": ids, "mask": mask})
        return Side(
            torch.from_numpy(states), torch.from_numpy(real).bool(), torch.from_numpy(embedding)
        )

    def match(self, images: Side, texts: Side) -> Tensor:
        """(n,) of image i with text i."""
        given = {
            "image_states": images.states.numpy(),
            "text_states": texts.states.numpy(),
            "text_mask": texts.real().long().numpy(),
        }
        return torch.from_numpy(self.run("match", given)[0])

    def run(self, graph: str, given: dict[str, Any]) -> list[Any]:
        """A graph's outputs as numpy arrays."""
        found: list[Any] = self._sessions[graph].run(None, given)
        return found


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise R2D2Error('onnxruntime is missing: pip install "zero-r2d2[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
