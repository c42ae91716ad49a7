"""An exported folder run by ONNX Runtime, as everything but training sees a model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer as Engine
from torch import Tensor

from r2d2.data.preprocessing import Preprocessing
from r2d2.errors import R2D2Error
from r2d2.images.decode import to_rgb
from r2d2.model.encoded_states import EncodedStates
from r2d2.onnx_models.folder import (
    Bytes,
    GraphEncoders,
    GraphTokenizer,
    Ints,
    folder_fingerprint,
    one_of_graphs,
    open_session,
)


class OnnxModel(GraphEncoders):
    """Image, text and pair graphs that `r2d2 export onnx` wrote."""

    def __init__(self, folder: str | Path, *, int8: bool = False, threads: int = 1) -> None:
        """Open a folder that `r2d2 export onnx` wrote.

        Raises:
            R2D2Error: a package or a file is missing or damaged.
        """
        super().__init__(Path(folder))
        try:
            text = (self.folder / "config.json").read_text(encoding="utf-8")
            self.config: dict[str, Any] = json.loads(text)
            files = self.config["int8_graphs" if int8 else "graphs"]
            tokenizer = self.folder / "tokenizer.json"
            longest = int(self.config["max_length"])
            self.tokenizer = GraphTokenizer(Engine.from_file(str(tokenizer)), longest)
            self._graphs = {name: one_of_graphs(self.folder, f) for name, f in files.items()}
            self._sessions = {name: open_session(f, threads) for name, f in self._graphs.items()}
            self.has_match = "match" in self._sessions
            self.match_weight = float(self.config["match_weight"])
            self.top_k = int(self.config["top_k"])
            self.embed_dim = int(self.config["embedding_width"])
            self.preprocessing = Preprocessing(int(self.config["image_size"]))
        except R2D2Error:
            raise
        except Exception as error:  # both engines raise errors of their own
            raise R2D2Error(
                f"{folder} does not open as an exported model ({error}): export it again"
            ) from error

    @property
    def fingerprint(self) -> str:
        """Of the graphs that encode, and of the tokenizer."""
        encoders = [self._graphs["image"], self._graphs["text"]]
        return folder_fingerprint([*encoders, self.folder / "tokenizer.json"])

    def encode_pixel_batch(self, pixels: Bytes) -> EncodedStates:
        """Encode pixels (n, H, W, 3) of any size, which the graph resizes."""
        states, embedding = self.run("image", {"image": pixels})
        return EncodedStates(torch.from_numpy(states), None, torch.from_numpy(embedding))

    def encode_images(self, images: Iterable[Image.Image]) -> EncodedStates:
        """Encode pictures of any size; those of one size go through together."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        pixels = [np.asarray(to_rgb(image)) for image in images]
        for number, picture in enumerate(pixels):
            by_size[picture.shape[:2]].append(number)
        encoded: dict[int, EncodedStates] = {}
        for numbers in by_size.values():
            states = self.encode_pixels([pixels[number] for number in numbers])
            encoded |= {number: states[i : i + 1] for i, number in enumerate(numbers)}
        return EncodedStates.cat([encoded[number] for number in range(len(pixels))])

    def encode_token_batch(self, ids: Ints, mask: Ints) -> EncodedStates:
        """Encode ids (n, L) under mask (n, L)."""
        states, real, embedding = self.run("text", {"ids": ids, "mask": mask})
        return EncodedStates(
            torch.from_numpy(states), torch.from_numpy(real).bool(), torch.from_numpy(embedding)
        )

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """(n,) of image i with text i."""
        if not self.has_match:
            raise R2D2Error(str(self.why_not("match")))
        arrays = {
            "image_states": images.states.numpy(),
            "text_states": texts.states.numpy(),
            "text_mask": texts.real().long().numpy(),
        }
        return torch.from_numpy(self.run("match", arrays)[0])

    def run(self, graph: str, inputs: dict[str, Any]) -> list[Any]:
        """A graph's outputs as numpy arrays."""
        outputs: list[Any] = self._sessions[graph].run(None, inputs)
        return outputs
