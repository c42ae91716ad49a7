"""A trained model as people use it: pictures and sentences in, embeddings and scores out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from r2d2.arguments import listed, one_text, usable_device, usable_precision, whole_number
from r2d2.config import EvaluationConfig, to_dict
from r2d2.data.augment import normalize
from r2d2.data.preprocessing import Pixels, Preprocessing
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.fingerprint import fingerprint
from r2d2.images.decode import to_rgb
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.hf_towers import HfTowers
from r2d2.model.r2d2 import R2D2, Pairs
from r2d2.ranking.two_stage import two_stage_scores
from r2d2.tokenizer import Tokenizer
from r2d2.vectors import refuse_without_direction

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
CPU_STATES = 2048  # hidden states of a pass of a cross encoder: of some ten images, at base size

Use = Literal["match", "fine-tune", "export"]
Images = Iterable[Image.Image] | EncodedStates
Texts = Iterable[str] | EncodedStates
Score = Callable[[EncodedStates, EncodedStates, Pairs], Tensor]


@dataclass(frozen=True)
class RankedImage:
    """One result of `Pretrained.rank`."""

    index: int  # into the images given
    score: float  # weight * match + cosine, or the cosine alone without cross encoders
    cosine: float  # pre-ranking
    match: float | None  # (p_T + p_I) / 2; None where it was not re-ranked


Ranked = RankedImage  # the name in version 0.1


class Pretrained:
    """Model, tokenizer and the settings they were saved with.

    Pictures and texts come in anything that has an order: a list, a tuple, a generator.
    """

    def __init__(
        self,
        model: R2D2,
        tokenizer: Tokenizer,
        match_weight: float = 1.0,
        top_k: int = 32,
        batch_size: int = EvaluationConfig.batch_size,
        *,
        preprocessing: Preprocessing | None = None,
        name: str = "the model",
        kind: str = "r2d2",
        widths: tuple[int, ...] = (),
    ) -> None:
        """`preprocessing` None squeezes whole pictures to a square, as in our own training."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing or Preprocessing(model.config.vision.image_size)
        self.name = name  # for messages: what the user called it, or its folder
        self.kind = kind  # what it was read from: r2d2, hugging face or checkpoint
        self.widths = widths  # to which its embeddings may be cut (Matryoshka)
        self.match_weight = match_weight  # w of the two-stage score; official 1, ours chosen on val
        self.top_k = top_k  # candidates that the cross encoders rank again
        self.batch_size = batch_size  # items, or pairs, a forward pass

    @property
    def has_match(self) -> bool:
        """Whether there are cross encoders: False for PRD2."""
        return self.model.has_match

    @property
    def embed_dim(self) -> int:
        """Numbers of an embedding."""
        return self.model.config.embed_dim

    @property
    def fingerprint(self) -> str:
        """A hash of everything that its embeddings depend on; see `r2d2.fingerprint`."""
        return fingerprint(self.model, self.tokenizer, self.preprocessing)

    def why_not(self, use: Use) -> str | None:
        """The reason why the model cannot be used so, as a part of a sentence; None if it can."""
        if use == "match" and not self.has_match:
            return f"{self.name} has no cross encoders: give an R2D2 model"
        return None

    def to(self, target: str | int | torch.device | torch.dtype) -> Pretrained:
        """Move this model to a device ("cuda", "cpu"), or to a precision (torch.bfloat16).

        Raises:
            R2D2Error: there is no such device here, or no model computes in such numbers.
        """
        if isinstance(target, torch.dtype):
            self.model.to(usable_precision(target))
        else:
            self.model.to(usable_device(target))
        return self

    @torch.inference_mode()
    def encode_images(self, images: Iterable[Image.Image], dim: int | None = None) -> EncodedStates:
        """Encode pictures of any mode and size; see `EncodedStates` for the shapes.

        `dim` is how many numbers of an embedding are kept, set to unit length; None keeps all. See
        `widths`.

        Raises:
            R2D2Error: no list of pictures, an empty one, a picture that cannot be used, or one
                whose embedding is not finite or zero.
        """
        pictures = listed(images, "picture")
        if not pictures:
            raise R2D2Error("encode_images got an empty list: give at least one picture")
        sides = []
        for start in range(0, len(pictures), self.batch_size):
            chunk = enumerate(pictures[start : start + self.batch_size], start)
            sides.append(
                self.encode_pixels([self.prepare(p, name=f"picture {i}") for i, p in chunk])
            )
        side = EncodedStates.cat(sides)
        _refuse_without_direction(side, "images", "picture")
        return self._cut(side, dim)

    def prepare(self, picture: Image.Image, name: str = "picture") -> Pixels:
        """The pixels (S, S, 3) that the model sees of a picture of any mode and size."""
        return self.preprocessing(picture, name)

    def shrink(self, picture: Image.Image) -> Image.Image:
        """A smaller copy of a picture, of which the model sees the same."""
        return self.preprocessing.shrink(to_rgb(picture))

    def read(self, file: bytes, name: str = "image") -> Pixels:
        """The pixels of an encoded picture, in less time. BadImage if it cannot be used."""
        return self.preprocessing.read(file, name)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Sequence[Pixels]) -> EncodedStates:
        """Encode pixels of `prepare` or `read`, at least one; see `EncodedStates` for the shapes.

        An embedding may be NaN or zero where the weights are broken: an index marks such rows.

        Raises:
            R2D2Error: pixels of floating point that are not finite.
        """
        for number, picture in enumerate(pixels):
            if picture.dtype.kind == "f" and not np.isfinite(picture).all():
                raise R2D2Error(
                    f"the pixels of picture {number} are not finite: give what `prepare` makes"
                )
        device = self.model.towers.device
        sides = []
        patch = self.preprocessing.patch
        for start in range(0, len(pixels), self.batch_size):
            if patch is not None:
                towers = self.model.towers
                assert isinstance(towers, HfTowers)
                part = list(map(torch.from_numpy, pixels[start : start + self.batch_size]))
                sides.append(towers.encode_pictures(part, patch))
                continue
            stacked = torch.from_numpy(np.stack(pixels[start : start + self.batch_size]))
            sides.append(self.model.encode_images(normalize(stacked.to(device))))
        return EncodedStates.cat(sides)

    @torch.inference_mode()
    def encode_texts(self, texts: Iterable[str], dim: int | None = None) -> EncodedStates:
        """Encode sentences, cut at the text length; see `EncodedStates` for the shapes.

        `dim` is as of `encode_images`.

        Raises:
            R2D2Error: no list of texts, an empty one, something in it that is no text, or a text
                whose embedding is not finite or zero.
        """
        sentences = [one_text(t, f"text {i}") for i, t in enumerate(listed(texts, "text"))]
        if not sentences:
            raise R2D2Error("encode_texts got an empty list: give at least one text")
        device = self.model.towers.device
        sides = []
        for start in range(0, len(sentences), self.batch_size):
            ids, mask = self.tokenizer(sentences[start : start + self.batch_size])
            sides.append(self.model.encode_texts(ids.to(device), mask.to(device)))
        side = EncodedStates.cat(sides)
        _refuse_without_direction(side, "texts", "text")
        return self._cut(side, dim)

    def _cut(self, side: EncodedStates, dim: int | None) -> EncodedStates:
        """Keep the first `dim` numbers of each embedding. R2D2Error if there are fewer."""
        if dim is None:
            return side
        if whole_number(dim, "dim") > self.embed_dim:
            raise R2D2Error(
                f"dim is {dim}, and the embeddings of {self.name} have {self.embed_dim} numbers: "
                "give at most that"
            )
        return side.cut(dim)

    @torch.inference_mode()
    def match(self, images: Images, texts: Texts) -> Tensor:
        """How well image i and text i match, (n,) in [0, 1]; both raw, or encoded before.

        Raises:
            R2D2Error: unequal lengths, a model without cross encoders (PRD2), what another model
                encoded, no lists of pictures and texts, or scores that are no numbers.
        """
        if not self.has_match:
            raise R2D2Error("this model has no cross encoders (variant prd2): use the embeddings")
        images = images if isinstance(images, EncodedStates) else listed(images, "picture")
        texts = texts if isinstance(texts, EncodedStates) else listed(texts, "text")
        if len(images) != len(texts):
            raise R2D2Error(f"match pairs images with texts: got {len(images)} and {len(texts)}")
        image_side, text_side = self._image_side(images), self._text_side(texts)
        indices = torch.arange(len(image_side), device=image_side.embedding.device)
        p_text = self.match_text(image_side, text_side, (indices, indices))
        scores = (p_text + self.match_image(image_side, text_side, (indices, indices))) / 2
        if bad := (~scores.isfinite()).nonzero().flatten().tolist():
            raise R2D2Error(
                f"{len(bad)} of {len(scores)} match scores are no numbers, such as that of pair "
                f"{bad[0]}: the weights of the model are broken: give another"
            )
        return scores

    @torch.inference_mode()
    def match_text(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        """p_T[match], (m,), of pairs: indices (m,) into images, and (m,) into texts.

        Pairs of the same image should follow one another, so that its part is computed once.
        """
        return self._by_parts(self.model.match_text, images, texts, pairs, texts.states.shape[1])

    @torch.inference_mode()
    def match_image(self, images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        """p_I[match], (m,), of pairs, at several times the cost of `match_text`."""
        return self._by_parts(self.model.match_image, images, texts, pairs, images.states.shape[1])

    def check_pooling(self, count: int) -> None:
        """R2D2Error where a picture of this model has no `count` pooled states."""
        if not self.model.towers.poolable:
            raise R2D2Error(
                f"the patches of {self.name} cannot be compared with words, as an attention head "
                "makes its vectors: leave --pooled-states out"
            )
        patches = self.model.config.vision.patches
        if count < 1 or math.isqrt(count) ** 2 != count or count > patches:
            raise R2D2Error(
                f"--pooled-states {count}: a picture of {self.name} has {patches} patches, which "
                "are averaged over a square grid: give a square number of at most that, such as 4"
            )

    @torch.inference_mode()
    def pooled_states(self, images: EncodedStates, count: int) -> Tensor:
        """Vectors (n, N, d) of unit length of the parts of encoded images; N = `count`.

        Raises:
            R2D2Error: N is no square number, or more than the patches; see `check_pooling`.
        """
        self.check_pooling(count)
        return self.model.towers.pooled_states(images.to(self.model.log_temperature.dtype), count)

    @torch.inference_mode()
    def token_states(self, texts: EncodedStates) -> tuple[Tensor, Tensor]:
        """Vectors (n, L, d) of unit length of the tokens of encoded texts, and which are words."""
        return self.model.towers.token_states(texts.to(self.model.log_temperature.dtype))

    def _image_side(self, images: Images) -> EncodedStates:
        """Encoded here, or before by this model."""
        if not isinstance(images, EncodedStates):
            return self.encode_images(images)
        return self._own(images, "images", self.model.config.vision.width)

    def _text_side(self, texts: Texts) -> EncodedStates:
        """Encoded here, or before by this model."""
        if not isinstance(texts, EncodedStates):
            return self.encode_texts(texts)
        return self._own(texts, "texts", self.model.config.text.width)

    def _own(self, side: EncodedStates, name: str, width: int) -> EncodedStates:
        """The same on the model's device. R2D2Error if its shape is that of another model."""
        shape = (side.states.shape[-1], side.embedding.shape[-1])
        if shape != (width, self.model.config.embed_dim):
            raise R2D2Error(
                f"the {name} were encoded by another model: their states and embeddings have "
                f"{shape[0]} and {shape[1]} numbers, and this model's {width} and "
                f"{self.model.config.embed_dim}; encode them again"
            )
        return side.to(self.model.towers.device)

    def _by_parts(
        self, score: Score, images: EncodedStates, texts: EncodedStates, pairs: Pairs, length: int
    ) -> Tensor:
        """A score of pairs, computed in parts; `length` is how many states a query has."""
        size = self.batch_size
        if images.embedding.device.type == "cpu":  # there, what leaves the caches is slow
            size = min(size, max(1, CPU_STATES // length))
        dtype = self.model.log_temperature.dtype  # of the model now; what is encoded may be older
        scores = [torch.empty(0, device=images.embedding.device)]
        for start in range(0, len(pairs[0]), size):
            image, i = torch.unique(pairs[0][start : start + size], return_inverse=True)
            text, t = torch.unique(pairs[1][start : start + size], return_inverse=True)
            sides = (images[image].to(dtype), _trimmed(texts[text]).to(dtype))
            scores.append(score(*sides, (i, t)))
        return torch.cat(scores)

    @torch.inference_mode()
    def rank(self, query: str, images: Images, top_k: int | None = None) -> list[RankedImage]:
        """Images for a text, best first: ranked by cosine, the first `top_k` again by match.

        If the weight of the match score is 0, the order is by cosine alone.

        Raises:
            R2D2Error: no single text, no list of pictures, what another model encoded, or
                embeddings that are no numbers.
        """
        top_k = self.top_k if top_k is None else whole_number(top_k, "top_k")
        text = self.encode_texts([one_text(query, "query")])
        side = self._image_side(images)
        _refuse_without_direction(side, "images", "number")
        cosine = side.embedding.float() @ text.embedding[0].float()
        order = cosine.argsort(descending=True, stable=True)
        if not self.has_match or self.match_weight == 0:
            return [
                RankedImage(i, float(cosine[i]), float(cosine[i]), None) for i in order.tolist()
            ]
        first, rest = order[:top_k], order[top_k:]
        match = self.match(side[first], text[torch.zeros_like(first)])
        score = two_stage_scores(cosine[first], match, self.match_weight)
        again = score.argsort(descending=True, stable=True)
        best = [
            RankedImage(int(first[i]), float(score[i]), float(cosine[first[i]]), float(match[i]))
            for i in again.tolist()
        ]
        return best + [
            RankedImage(i, float(cosine[i]), float(cosine[i]), None) for i in rest.tolist()
        ]

    def save(self, path: str | Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write weights, tokenizer and settings into a folder, whole or not at all.

        `weights`: by name, where the model itself holds only its share of them.
        """
        with whole_folder(Path(path)) as work:
            self.save_files(work, weights)

    def save_files(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """The files of `save`, into a folder that is there."""
        config: dict[str, Any] = {
            "model": to_dict(self.model.config),
            "match_weight": self.match_weight,
            "top_k": self.top_k,
        }
        if self.widths:
            config["widths"] = list(self.widths)
        if not self.preprocessing.usual:
            config["preprocessing"] = self.preprocessing.to_dict()
        state = weights or self.model.state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, folder / WEIGHTS)
        self.tokenizer.save(folder / TOKENIZER)
        (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _refuse_without_direction(side: EncodedStates, unit: str, word: str) -> None:
    """R2D2Error that names each item as `word` and its number, where an embedding is no number."""
    names = [f"{word} {number}" for number in range(len(side))]
    refuse_without_direction(side.embedding.float().cpu().numpy(), unit, names)


def _trimmed(texts: EncodedStates) -> EncodedStates:
    """Texts without the positions that are padding in every one of them."""
    if texts.mask is None:
        return texts
    longest = int(
        (texts.mask * torch.arange(1, texts.mask.shape[1] + 1).to(texts.mask.device)).max()
    )
    return EncodedStates(texts.states[:, :longest], texts.mask[:, :longest], texts.embedding)
