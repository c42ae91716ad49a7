"""Encoders of one modality of Hugging Face's classes: any for pictures with any for texts.

An adapter each for what differs between them, as in model/families.py for dual encoders. Between
the two stand projections of our own, which are trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import VisionConfig
from r2d2.errors import R2D2Error
from r2d2.model.families import HALVES, Clip, Colours, PatchChoice

PLUS = "+"  # between the two model_types of a pair
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASS_TOKENS = 1


class ImageEncoderFamily:
    """DINOv2: a ViT with a class token, which resizes its position embeddings to the picture."""

    pixels: ClassVar[tuple[Colours, Colours]] = IMAGENET
    options: ClassVar[Mapping[str, Any]] = {}  # of its class
    settings: ClassVar[Mapping[str, Any]] = {}  # that take the place of its config.json's

    def first(self, config: Any) -> int:
        """States in front of the patches: the class token, and registers where there are any."""
        return CLASS_TOKENS + int(getattr(config, "num_register_tokens", 0))

    def shape(self, config: Any, side: int) -> VisionConfig:
        """Return the sizes of the tower for pictures of `side` pixels."""
        return VisionConfig(
            image_size=side,
            patch_size=int(config.patch_size),
            width=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
        )

    def state_norm(self, vision: nn.Module) -> nn.Module:
        """See `Clip.state_norm`: its states are normalised already."""
        return nn.Identity()

    def attach(self, vision: nn.Module, choice: PatchChoice) -> None:
        """See `Clip.attach`."""
        first = self.first(vision.config)
        vision.get_submodule("embeddings").register_forward_hook(
            lambda module, inputs, states: choice.keep(states, first)
        )

    def read(self, vision: nn.Module, pixels: Tensor, choice: PatchChoice) -> tuple[Tensor, Tensor]:
        """See `Clip.read_images`: the class token, normalised, is the pooled state."""
        states: Tensor = vision(pixel_values=pixels).last_hidden_state
        return states, states[:, 0]


class Vit(ImageEncoderFamily):
    """ViT, which resizes its position embeddings only if asked to."""

    pixels = HALVES
    options: ClassVar[Mapping[str, Any]] = {"add_pooling_layer": False}

    def read(self, vision: nn.Module, pixels: Tensor, choice: PatchChoice) -> tuple[Tensor, Tensor]:
        """See `ImageEncoderFamily.read`."""
        config: Any = vision.config
        resized = pixels.shape[-1] != config.image_size
        out = vision(pixel_values=pixels, interpolate_pos_encoding=resized)
        return out.last_hidden_state, out.last_hidden_state[:, 0]


class Dinov3(ImageEncoderFamily):
    """DINOv3's ViT: positions are angles by which each layer rotates queries and keys."""

    # Patches may be dropped, so that there is no whole map; and positions are not changed at
    # random.
    settings: ClassVar[Mapping[str, Any]] = {
        "reshape_hidden_states": False,
        "pos_embed_shift": None,
        "pos_embed_jitter": None,
        "pos_embed_rescale": None,
    }

    def attach(self, vision: nn.Module, choice: PatchChoice) -> None:
        """See `Clip.attach`; a patch that is dropped takes its angles with it."""
        super().attach(vision, choice)

        def angles(
            module: nn.Module, inputs: object, both: tuple[Tensor, Tensor]
        ) -> tuple[Tensor, Tensor]:
            if choice.index is None:
                return both
            cos, sin = (table[choice.index][:, None] for table in both)  # (n, 1, K, head)
            return cos, sin

        vision.get_submodule("rope_embeddings").register_forward_hook(angles)


class ConvNext(ImageEncoderFamily):
    """ConvNeXt: a map of states; its mean is put in front of them, like a class token."""

    def first(self, config: Any) -> int:
        """Return 1, because only the mean is in front of the patches."""
        return CLASS_TOKENS

    def shape(self, config: Any, side: int) -> VisionConfig:
        """See `ImageEncoderFamily.shape`; a "patch" is the square of pixels behind a state."""
        return VisionConfig(
            image_size=side,
            patch_size=int(config.patch_size) * 2 ** (len(config.hidden_sizes) - 1),
            width=config.hidden_sizes[-1],
            layers=len(config.depths),
            heads=1,
        )

    def state_norm(self, vision: nn.Module) -> nn.Module:
        """See `Clip.state_norm`."""
        return vision.get_submodule("layernorm")

    def attach(self, vision: nn.Module, choice: PatchChoice) -> None:
        """Do nothing, because a convolution cannot leave out parts of its input; see `read`."""

    def read(self, vision: nn.Module, pixels: Tensor, choice: PatchChoice) -> tuple[Tensor, Tensor]:
        """See `ImageEncoderFamily.read`; hidden squares get the mean colour, which is 0."""
        if choice.index is not None:
            shape = self.shape(vision.config, pixels.shape[-1])
            row = shape.image_size // shape.patch_size
            shown = pixels.new_zeros(len(pixels), row * row).scatter_(1, choice.index, 1.0)
            squares = shown.view(-1, 1, row, row)
            pixels = pixels * F.interpolate(squares, scale_factor=float(shape.patch_size))
        out = vision(pixel_values=pixels)
        states = torch.cat([out.pooler_output[:, None], out.last_hidden_state.flatten(2).mT], 1)
        if choice.index is not None:
            states = choice.keep(states, CLASS_TOKENS)
        return states, out.pooler_output


class TextEncoderFamily:
    """BERT: read at [CLS], which is a token."""

    options: ClassVar[Mapping[str, Any]] = {"add_pooling_layer": False}
    offset = 0  # states in front of a text's tokens
    starts = True  # see `Clip.starts`
    bert_vocabulary = True
    masks_padding = True

    def positions(self, config: Any) -> int:
        """Return the number of tokens of the longest text."""
        return int(config.max_position_embeddings)

    def read(self, text: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Clip.read_texts`."""
        states: Tensor = text(input_ids=ids, attention_mask=mask).last_hidden_state
        return states, mask, states[:, 0]


class Roberta(TextEncoderFamily):
    """RoBERTa and XLM-R: positions are counted from behind the padding's id."""

    bert_vocabulary = False

    def positions(self, config: Any) -> int:
        """See `TextEncoderFamily.positions`."""
        return int(config.max_position_embeddings) - int(config.pad_token_id) - 1


class Qwen3(TextEncoderFamily):
    """Qwen3 Embedding: a causal decoder, read at its last token, put in front of the others."""

    options: ClassVar[Mapping[str, Any]] = {}
    offset = 1
    starts = False
    bert_vocabulary = False

    def read(self, text: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Clip.read_texts`."""
        states: Tensor = text(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = (mask.long().sum(1) - 1).clamp_min(0)
        pooled = states[torch.arange(len(ids), device=ids.device), last]
        return torch.cat([pooled[:, None], states], 1), F.pad(mask, (1, 0), value=True), pooled


IMAGE_ENCODERS: Mapping[str, ImageEncoderFamily] = {  # by model_type of config.json
    "convnext": ConvNext(),
    "convnextv2": ConvNext(),
    "dinov2": ImageEncoderFamily(),
    "dinov2_with_registers": ImageEncoderFamily(),
    "dinov3_vit": Dinov3(),
    "vit": Vit(),
}
TEXT_ENCODERS: Mapping[str, TextEncoderFamily] = {
    "bert": TextEncoderFamily(),
    "qwen3": Qwen3(),
    "roberta": Roberta(),
    "xlm-roberta": Roberta(),
}


class EncoderPair(Clip):
    """An encoder of pictures and one of texts, as a family of two towers."""

    text_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, kinds: tuple[str, str], image: ImageEncoderFamily, text: TextEncoderFamily
    ) -> None:
        self.kinds, self.image, self.text_encoder = kinds, image, text
        self.pixels = image.pixels
        self.text_offset = text.offset
        self.starts = text.starts
        self.bert_vocabulary = text.bert_vocabulary
        self.masks_padding = text.masks_padding

    def configuration(self, transformers: Any, data: Mapping[str, Any]) -> Any:
        """See `Clip.configuration`."""
        make = transformers.AutoConfig.for_model
        vision = _plain(data["vision_config"]) | dict(self.image.settings)
        parts = make(self.kinds[0], **vision), make(self.kinds[1], **_plain(data["text_config"]))
        return SimpleNamespace(
            vision_config=parts[0],
            text_config=parts[1],
            projection_dim=int(data["projection_dim"]),
            image_side=int(data["image_side"]),
        )

    def towers(self, transformers: Any, both: Any) -> tuple[nn.Module, nn.Module]:
        """See `Clip.towers`."""
        make = transformers.AutoModel.from_config
        vision: nn.Module = make(both.vision_config, **self.image.options)
        for name, parameter in vision.named_parameters():
            if name.endswith("mask_token"):  # for its pre-training; no loss here uses it
                parameter.requires_grad_(False)
        return vision, make(both.text_config, **self.text_encoder.options)

    def first_patch(self, vision_config: Any) -> int:
        """See `Clip.first_patch`."""
        return self.image.first(vision_config)

    def state_norm(self, vision: nn.Module) -> nn.Module:
        """See `Clip.state_norm`."""
        return self.image.state_norm(vision)

    def image_side(self, both: Any) -> int:
        """Return the side in pixels of the square in the settings."""
        return int(both.image_side)

    def vision_shape(self, both: Any) -> VisionConfig:
        """See `Clip.vision_shape`."""
        return self.image.shape(both.vision_config, both.image_side)

    def text_positions(self, both: Any) -> int:
        """See `Clip.text_positions`."""
        return self.text_encoder.positions(both.text_config)

    def projections(self, both: Any) -> tuple[nn.Module, nn.Module]:
        """See `Clip.projections`; initialised so that signals keep their scale at any width."""
        projections = []
        for width in (self.vision_shape(both).width, both.text_config.hidden_size):
            projection = nn.Linear(width, both.projection_dim, bias=False)
            nn.init.normal_(projection.weight, std=width**-0.5)
            projections.append(projection)
        return projections[0], projections[1]

    def attach(self, vision: nn.Module, choice: PatchChoice) -> None:
        """See `Clip.attach`."""
        self.image.attach(vision, choice)

    def read_images(
        self, vision: nn.Module, pixels: Tensor, choice: PatchChoice
    ) -> tuple[Tensor, Tensor]:
        """See `Clip.read_images`."""
        return self.image.read(vision, pixels, choice)

    def read_texts(
        self, text: nn.Module, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Clip.read_texts`."""
        return self.text_encoder.read(text, ids, mask)


def pair_of(image: str, text: str) -> EncoderPair:
    """Return the adapter of two model_types; raise R2D2Error where one of them is unknown."""
    for kind, known, unit in ((image, IMAGE_ENCODERS, "pictures"), (text, TEXT_ENCODERS, "texts")):
        if kind not in known:
            raise R2D2Error(
                f"an encoder of type {kind!r} is not known for {unit}: {', '.join(known)} are"
            )
    return EncoderPair((image, text), IMAGE_ENCODERS[image], TEXT_ENCODERS[text])


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the names of code that came with the weights."""
    return {name: x for name, x in config.items() if name not in ("auto_map", "model_type")}
