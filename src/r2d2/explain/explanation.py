"""Explain a match by a map over the picture for each entity, and by the words of each patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.explain.attention import FRONT, image_to_text
from r2d2.explain.dropping import DRAWS
from r2d2.explain.entities import Span, entities, positions_of, shorten, spans_of, words
from r2d2.explain.evidence import Evidence, weigh
from r2d2.explain.maps import Map, MapMethod, as_array, choose, pad_to_picture, upsample
from r2d2.explain.panel import PanelContent, draw_panel
from r2d2.explain.unrelated import LEAST, unreadable
from r2d2.images.decode import to_rgb
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import ImageTextModel
from r2d2.notes import Note, unread_notes
from r2d2.pretrained import Pretrained
from r2d2.readable import cut_notes, unread_end

WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Explanation:
    """The explanation of one picture and one text."""

    picture: Image.Image  # RGB, upright
    text: str
    entities: tuple[Span, ...]  # k, at least one
    evidence: Evidence  # the maps (k, P_h, P_w) of the entities, and the noise of unrelated words
    # The number of random draws, each a forward pass of the image encoder; 0 where the maps are
    # attention.
    draws: int
    words: tuple[Span, ...]  # w: the entities; where maps are attention, all words of the text
    patches: Map  # (P_h, P_w, w), 0 or more: how much each patch belongs to each word
    cosine: float  # of the two embeddings
    match: float | None  # (p_T + p_I) / 2; None without cross encoders
    method: MapMethod  # how the maps were made
    notes: tuple[Note, ...] = ()

    @property
    def maps(self) -> Map:
        """The effect of each part on the match, or its attention: (k, P_h, P_w), 0 or more."""
        return self.evidence.maps

    @property
    def known(self) -> tuple[bool, ...]:
        """Whether the map of each entity has anything to show; see `Evidence.known`."""
        return tuple(self.evidence.known(index) for index in range(len(self.entities)))

    def over_picture(self, index: int) -> Map:
        """Return the map of entity `index` at the size of the picture: (H, W).

        The values are multiples of the noise, and 0 where the map is within the noise.
        """
        values = upsample(self.evidence.strength(index), self.picture.size)
        return np.where(values > 1, values, 0).astype(np.float32)

    @property
    def parts_differ(self) -> bool:
        """Whether two patches belong to different words; if not, the panel omits words by part."""
        if not self.words:
            return False
        best = self.patches.argmax(-1)[self.patches.max(-1) > 0]
        return len(np.unique(best)) > 1

    def words_at(self, row: int, column: int) -> list[tuple[str, float]]:
        """Return the words that a patch belongs to, each with its share, the largest share first.

        The shares add up to 1. The list is empty where nothing in the patch is above the noise.

        Raises:
            R2D2Error: the picture has no such patch.
        """
        rows, columns = self.patches.shape[:2]
        if not (0 <= row < rows and 0 <= column < columns):
            raise R2D2Error(
                f"there is no patch ({row}, {column}): the picture has {rows}x{columns}"
            )
        values = self.patches[row, column]
        total = float(values.sum())
        order = np.argsort(-values, kind="stable")
        return [(self.words[i].text, float(values[i]) / total) for i in order if values[i] > 0]

    def draw(self) -> Image.Image:
        """Draw a panel: the picture, then a copy of it for each entity with its map over it."""
        return draw_panel(
            PanelContent(
                self.picture,
                self.text,
                tuple(span.text for span in self.entities),
                self.evidence,
                self.draws,
                self.cosine,
                self.match,
                tuple(word.text for word in self.words) if self.parts_differ else (),
                self.patches,
            )
        )


class NoNounError(R2D2Error):
    """The text has no noun. A program that catches this can explain the whole text instead."""

    code: str = "no_noun"


@torch.inference_mode()
def explain(
    model: ImageTextModel,
    picture: Image.Image,
    text: str,
    *,
    weighted: bool | None = None,
    alone: bool | None = None,
    layer: int | None = None,
    dropping: bool | None = None,
    only: Sequence[str] | None = None,
) -> Explanation:
    """Show which parts of a picture the entities of a text are in, and the words of each part.

    What is best for the arguments that are None is told in docs/explain.md.

    Args:
        model: any model; it needs cross encoders where the maps are attention.
        picture: of any mode and size.
        text: Chinese. What lies past the model's longest text is not read, and a note says so.
        weighted: whether attention is weighted by the gradient of the match score.
        alone: True: each entity is read as a text by itself; False: within the whole text.
        layer: of the cross encoders, from 1.
        dropping: whether the maps are the effects of dropping parts of the picture instead of
            attention; None: True unless one of the three above is given.
        only: words of the text to take as entities instead of its nouns.

    Raises:
        NoNounError: the text has no noun.
        R2D2Error: the model has no cross encoders or no such layer, no entity is within what the
            model reads, or the text or the picture is too large.
    """
    cross_layers = model.model.config.cross_layers if isinstance(model, Pretrained) else 0
    method = choose(cross_layers, layer, weighted, alone, dropping)
    spans, notes = _entities(model, text, only)
    rgb = to_rgb(picture, name="the picture")
    images, texts = model.encode_images([rgb]), model.encode_texts([text])
    region = model.preprocessing.region(rgb.size)
    evidence = weigh(model, rgb, images, text, spans, method).over(region)
    notes += _unreadable(model, spans)
    if not evidence.words:
        notes.append(
            Note(
                f"the model can read fewer than {LEAST} everyday words, so the noise cannot be "
                "told and nothing is shown",
                "noise_unknown",
            )
        )
    if region != WHOLE:
        notes.append(Note("the model sees the middle of the picture only", "middle_only"))
    if method.dropping or not isinstance(model, Pretrained):
        seen = spans
        patches = np.stack([evidence.shown(index) for index in range(len(spans))], axis=-1)
    else:
        seen, attention = _patches(model, images, texts, text, method.layer)
        patches = np.moveaxis(pad_to_picture(np.moveaxis(attention, -1, 0), region), 0, -1)
    return Explanation(
        rgb,
        text,
        tuple(spans),
        evidence,
        DRAWS if method.dropping else 0,
        tuple(seen),
        patches,
        float((images.embedding * texts.embedding).sum()),
        float(model.match(images, texts)) if model.has_match else None,
        method,
        tuple(notes),
    )


def _entities(
    model: ImageTextModel, text: str, only: Sequence[str] | None
) -> tuple[list[Span], list[Note]]:
    """Return the entities within what the model reads, and notes on the others."""
    spans = entities(text) if only is None else spans_of(text, only)
    if not spans:
        raise NoNounError(
            f"there is no noun in '{shorten(text)}': name a thing, as in 一只狗在草地上追飞盘, "
            "or say which words to explain"
        )
    offsets = model.tokenizer.offsets(text)
    shown = [span for span in spans if positions_of(span, offsets)]
    if not shown:
        raise R2D2Error(
            f"no entity is within the {model.tokenizer.room} tokens that the model reads of a "
            "text: give a shorter text"
        )
    lost = "、".join(span.text for span in spans if span not in shown)
    return shown, cut_notes(unread_end(text, model.tokenizer), model.tokenizer, about=lost)


def _unreadable(model: ImageTextModel, spans: Sequence[Span]) -> list[Note]:
    """Return notes on the parts of the entities that the model cannot read."""
    unknown, english = (
        dict.fromkeys(name for names in part for name in names)
        for part in zip(*(unreadable(model, span.text) for span in spans), strict=True)
    )
    return unread_notes(unknown, english)


def _patches(
    model: Pretrained, images: EncodedStates, texts: EncodedStates, text: str, layer: int
) -> tuple[list[Span], Map]:
    """Return the words that the model reads, and how much each patch attends to them.

    The second is (P_h, P_w, w).
    """
    with torch.inference_mode(False):
        weights = image_to_text(model.model, images, texts, gradient=False)
    attention = as_array(weights.plain[layer - 1, 0])[FRONT:]  # (P, S); layer 0 reads the last one
    shift, offsets = model.model.towers.text_offset, model.tokenizer.offsets(text)
    side = math.isqrt(len(attention))
    seen = [span for span in words(text) if positions_of(span, offsets)]
    columns = [attention[:, [shift + p for p in positions_of(s, offsets)]].sum(1) for s in seen]
    return seen, np.stack(columns, axis=-1).reshape(side, side, -1)
