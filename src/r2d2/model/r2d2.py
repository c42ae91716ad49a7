"""R2D2 (arXiv 2205.03860): two towers for the pre-ranking, two cross encoders for the ranking.

T: text_to_image cross encoder, queries are T, keys and values are V.
I: image_to_text cross encoder, queries are W_x V, keys and values are T.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from r2d2.config import ModelConfig
from r2d2.model.attention import init_weights
from r2d2.model.bert import MLMHead
from r2d2.model.cross import CrossEncoder
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.linear import Linear
from r2d2.model.towers import make_towers

TEMPERATURE_RANGE = (0.001, 0.5)  # official code
Pairs = tuple[Tensor, Tensor]  # (m,) image indices, (m,) text indices


class R2D2(nn.Module):
    """The whole network; without cross layers it is PRD2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.towers = make_towers(config)
        # Learnt as its logarithm: steps of tau itself, of the size that weights need, are coarse
        # where tau is small, and drive it to its floor.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.logit_bias: nn.Parameter | None = None  # b, of the sigmoid contrast
        if config.logit_bias is not None:
            self.logit_bias = nn.Parameter(torch.tensor(float(config.logit_bias)))
        if config.cross_layers:
            width, image_width = config.text.width, config.vision.width
            shape = (config.cross_layers, width, config.text.heads)
            self.image_cross_projection = Linear(image_width, width)  # W_x
            self.text_to_image = CrossEncoder(*shape, image_width, config.dropout)
            self.image_to_text = CrossEncoder(*shape, width, config.dropout)
            self.match_head_text = Linear(width, 2)  # G_T; class 1 is match
            self.match_head_image = Linear(width, 2)  # G_I
            text = config.text
            self.mlm_head = MLMHead(width, text.vocab_size, text.activation, text.norm_eps)
            for name, part in self.named_children():
                if name != "towers":
                    part.apply(init_weights)
            for head in (self.match_head_text, self.match_head_image):
                nn.init.zeros_(head.weight)  # FGR starts at ln 2, at chance

    @property
    def temperature(self) -> Tensor:
        """The temperature tau, ()."""
        return self.log_temperature.exp()

    @property
    def contrast_parameters(self) -> dict[str, nn.Parameter]:
        """The scalars that only the contrast trains, by name."""
        known = {"log_temperature": self.log_temperature, "logit_bias": self.logit_bias}
        return {name: p for name, p in known.items() if p is not None}

    @property
    def has_match(self) -> bool:
        """Whether there are cross encoders for the second stage."""
        return self.config.cross_layers > 0

    @property
    def match_is_constant(self) -> bool:
        """Whether every pair has the same match score, as before the first step of training."""
        heads = (self.match_head_text, self.match_head_image)
        return not any(bool(head.weight.any()) for head in heads)

    def encode_images(self, pixels: Tensor, keep: Tensor | None = None) -> EncodedStates:
        """See `Towers.encode_images`."""
        return self.towers.encode_images(pixels, keep)

    def encode_texts(self, ids: Tensor, mask: Tensor) -> EncodedStates:
        """See `Towers.encode_texts`."""
        return self.towers.encode_texts(ids, mask)

    def embed_images(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """See `Towers.embed_images`."""
        return self.towers.embed_images(pixels, keep)

    def encode_selected(
        self, ids: Tensor, mask: Tensor, whole: Tensor
    ) -> tuple[EncodedStates, Tensor]:
        """See `Towers.encode_selected`."""
        return self.towers.encode_selected(ids, mask, whole)

    def cross_text(
        self,
        images: EncodedStates,
        texts: EncodedStates,
        pairs: Pairs | None = None,
        positions: Tensor | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Return h_T (m, K, d_t), the states of pairs at text positions (m, K), or at [CLS].

        `real` (m, K) bool: which positions are read, [CLS] among them; None: all.
        """
        swapped = None if pairs is None else (pairs[1], pairs[0])
        states: Tensor = self.text_to_image(
            texts.states, texts.mask, images.states, images.mask, swapped, positions, None, real
        )
        return states

    def cross_image(
        self, images: EncodedStates, texts: EncodedStates, pairs: Pairs | None = None
    ) -> Tensor:
        """Return h_I: the image-to-text states (m, d_t) of pairs at [CLS]."""
        queries = self.image_cross_projection(images.states)
        states: Tensor = self.image_to_text(queries, images.mask, texts.states, texts.mask, pairs)
        return states[:, 0]

    def match_logits(
        self, images: EncodedStates, texts: EncodedStates, pairs: Pairs | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits (m, 2) of p_T and p_I, class 1 is match; pairs None: image i, text i."""
        return (
            self.match_head_text(self.cross_text(images, texts, pairs)[:, 0]),
            self.match_head_image(self.cross_image(images, texts, pairs)),
        )

    def match(
        self, images: EncodedStates, texts: EncodedStates, pairs: Pairs | None = None
    ) -> Tensor:
        """Return (p_T[match] + p_I[match]) / 2 of pairs, (m,) in [0, 1]."""
        p_text, p_image = (_match(logits) for logits in self.match_logits(images, texts, pairs))
        return (p_text + p_image) / 2

    def match_text(
        self, images: EncodedStates, texts: EncodedStates, pairs: Pairs | None = None
    ) -> Tensor:
        """Return p_T[match] of pairs, (m,); it is cheaper than p_I, as texts have fewer states."""
        return _match(self.match_head_text(self.cross_text(images, texts, pairs)[:, 0]))

    def match_image(
        self, images: EncodedStates, texts: EncodedStates, pairs: Pairs | None = None
    ) -> Tensor:
        """Return p_I[match] of pairs, (m,)."""
        return _match(self.match_head_image(self.cross_image(images, texts, pairs)))

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep tau in its range; called after each optimiser step."""
        self.log_temperature.clamp_(*(math.log(bound) for bound in TEMPERATURE_RANGE))


def _match(logits: Tensor) -> Tensor:
    return logits.float().softmax(-1)[:, 1]
