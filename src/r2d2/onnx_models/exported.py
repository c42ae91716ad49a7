"""An exported folder run by ONNX Runtime, as everything but training sees a model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer as Engine
from torch import Tensor

from r2d2.data.images import to_rgb
from r2d2.data.preprocessing import Pixels, Preprocessing
from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates
from r2d2.onnx_models.folder import (
    GraphTokenizer,
    folder_fingerprint,
    one_of_graphs,
    open_session,
    why_graphs_cannot,
)
from r2d2.pretrained import Use


class OnnxModel:
    """Image, text and pair graphs of a folder; see `r2d2.models.ImageTextModel`."""

    kind = "onnx"

    def __init__(
        self,
        folder: str | Path,
        *,
        int8: bool = False,
        threads: int = 1,
        batch_size: int = 256,
    ) -> None:
        """Open a folder that `r2d2 export onnx` wrote.

        Raises:
            R2D2Error: a package or a file is missing or damaged.
        """
        self.folder, self.name, self.batch_size = Path(folder), Path(folder).name, batch_size
        try:
            text = (self.folder / "config.json").read_text(encoding="utf-8")
            self.config: dict[str, Any] = json.loads(text)
            files = self.config["int8_graphs" if int8 else "graphs"]
            tokenizer = self.folder / "tokenizer.json"
            longest = int(self.config["max_length"])
            self.tokenizer = GraphTokenizer(Engine.from_file(str(tokenizer)), longest)
            self._graphs = {name: one_of_graphs(self.folder, f) for name, f in files.items()}
            self._sessions = {name: open_session(f, threads) for name, f in self._graphs.items()}
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
    def has_match(self) -> bool:
        """Whether there is a pair scorer."""
        return "match" in self._sessions

    @property
    def fingerprint(self) -> str:
        """Of the graphs that encode, and of the tokenizer."""
        encoders = [self._graphs["image"], self._graphs["text"]]
        return folder_fingerprint([*encoders, self.folder / "tokenizer.json"])

    def why_not(self, use: Use) -> str | None:
        """Why it cannot be used so; None: it can."""
        return why_graphs_cannot(self.folder, use, self.has_match)

    def prepare(self, picture: Image.Image, name: str = "picture") -> Pixels:
        """A picture as small as the image encoder makes it anyway."""
        return self.preprocessing(to_rgb(picture, name=name))

    def shrink(self, picture: Image.Image) -> Image.Image:
        """A picture as small as may be while the model sees the same."""
        return self.preprocessing.shrink(to_rgb(picture))

    def read(self, file: bytes, name: str = "image") -> Pixels:
        """The same of an encoded picture. BadImage where it cannot be used."""
        return self.preprocessing.read(file, name)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> EncodedStates:
        """What `prepare` or `read` gave, at least one."""
        sides = []
        for start in range(0, len(pixels), self.batch_size):
            given = {"image": np.stack(pixels[start : start + self.batch_size])}
            states, embedding = self.run("image", given)
            sides.append(EncodedStates(torch.from_numpy(states), None, torch.from_numpy(embedding)))
        return EncodedStates.cat(sides)

    def encode_images(self, images: Iterable[Image.Image]) -> EncodedStates:
        """Pictures of any size, resized by the graph; those of one size go through together."""
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        pixels = [np.asarray(to_rgb(image)) for image in images]
        for place, one in enumerate(pixels):
            by_size[one.shape[:2]].append(place)
        found: dict[int, EncodedStates] = {}
        for places in by_size.values():
            side = self.encode_pixels([pixels[place] for place in places])
            found |= {place: side[i : i + 1] for i, place in enumerate(places)}
        return EncodedStates.cat([found[place] for place in range(len(pixels))])

    def encode_texts(self, texts: Iterable[str]) -> EncodedStates:
        """Sentences, cut at the model's longest."""
        sentences = list(texts)
        size = self.batch_size
        parts = [sentences[start : start + size] for start in range(0, len(sentences), size)]
        return EncodedStates.cat([self._encode_texts(part) for part in parts])

    def _encode_texts(self, texts: Sequence[str]) -> EncodedStates:
        found = self.tokenizer.encodings(texts)
        ids = np.array([one.ids for one in found], dtype=np.int64)
        mask = np.array([one.attention_mask for one in found], dtype=np.int64)
        states, real, embedding = self.run("text", {"ids": ids, "mask": mask})
        return EncodedStates(
            torch.from_numpy(states), torch.from_numpy(real).bool(), torch.from_numpy(embedding)
        )

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """(n,) of image i with text i."""
        if not self.has_match:
            raise R2D2Error(str(self.why_not("match")))
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
