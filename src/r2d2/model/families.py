"""Families of Hugging Face's dual encoders: an adapter each for what differs between them.

What comes after the towers reads position 0 of the states as the summary of an item. Where a
family has no such position, the pooled state is put in front of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from r2d2.config import VisionConfig

Colours = tuple[float, float, float]


class PatchChoice(Protocol):
    """The patches that FgD's student is shown in the pass that runs."""

    index: Tensor | None  # (n, K) int64; None: all patches

    def keep(self, states: Tensor, first: int) -> Tensor:
        """States (n, first + P, d) without those of the patches that are not shown."""


CLIP_PIXELS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Clip:
    """OpenAI's CLIP: a causal text tower, read at its end token; both sides projected."""

    config, text, vision = "CLIPConfig", "CLIPTextModel", "CLIPVisionModel"
    text_options: ClassVar[Mapping[str, Any]] = {}
    pixels: tuple[Colours, Colours] = CLIP_PIXELS  # mean and deviation of its processor
    crops: bool = True  # its processor resizes the shorter edge, and cuts the middle out
    class_tokens = 1  # states of a picture in front of its patches
    text_offset = 1  # states in front of a text's tokens
    bert_vocabulary = False  # vocab.txt of a BERT; else tokenizer.json of any kind
    lower_case = False  # texts were put into lower case for training
    every_place = False  # a text is padded to all places, and read at the last
    masks_padding = False  # its text tower masks padding; causal ones need not, SigLIP's reads it
    usual_length: int | None = None  # tokens at which its own code cuts texts; None: all places
    longest_word = 100  # letters of a word that its tokenizer takes apart, where that is BERT's
    sigmoid = False  # trained by a sigmoid loss, so that tau means something else
    flexible = False  # its own processor keeps the aspect of a picture
    starts = True  # the first token of a text marks its beginning, and is no word
    poolable = True  # a picture's vector is projected from one state, so patches can be too

    def configuration(self, transformers: Any, data: Mapping[str, Any]) -> Any:
        """Return `text_config` and `vision_config` of a config.json, the settings of the towers."""
        return getattr(transformers, self.config).from_dict(dict(data))

    def towers(self, transformers: Any, both: Any) -> tuple[nn.Module, nn.Module]:
        """Build the image tower and the text tower."""
        vision = getattr(transformers, self.vision)(both.vision_config)
        return vision, getattr(transformers, self.text)(both.text_config, **self.text_options)

    def vision_shape(self, both: Any) -> VisionConfig:
        """Return what the rest of the model must know about the image tower."""
        vision = both.vision_config
        return VisionConfig(
            image_size=self.image_side(both),
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
        )

    def text_positions(self, both: Any) -> int:
        """Return the number of tokens of the longest text."""
        return int(both.text_config.max_position_embeddings)

    def attach(self, vision: nn.Module, choice: PatchChoice) -> None:
        """Let the tower drop the patches that are not shown, behind its patch embedding."""
        vision.get_submodule("embeddings").register_forward_hook(
            lambda module, inputs, states: choice.keep(states, self.class_tokens)
        )

    def first_patch(self, vision_config: Any) -> int:
        """Return the number of states in front of the patches of a picture."""
        return self.class_tokens

    def state_norm(self, vision: nn.Module) -> nn.Module:
        """Return the layer between a state and the projection."""
        return vision.get_submodule("post_layernorm")

    def image_side(self, both: Any) -> int:
        """Return the side in pixels of the square that the image tower reads."""
        return int(both.vision_config.image_size)

    def embed_dim(self, both: Any) -> int:
        """Return the width of an embedding."""
        return int(both.projection_dim)

    def projections(self, both: Any) -> tuple[nn.Module, nn.Module]:
        """Return the projections of the pooled picture and of the pooled text."""
        width = self.embed_dim(both)
        return (
            nn.Linear(both.vision_config.hidden_size, width, bias=False),
            nn.Linear(both.text_config.hidden_size, width, bias=False),
        )

    def read_images(
        self, vision: nn.Module, pixels: Tensor, choice: PatchChoice
    ) -> tuple[Tensor, Tensor]:
        """Return the states (n, 1+P, d_v) and the pooled states (n, d_v).

        `choice` is asked here only by a family in which `attach` cannot reach the patches.
        """
        out = vision(pixel_values=pixels)
        return out.last_hidden_state, out.pooler_output

    def read_texts(
        self, text: nn.Module, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states (n, 1+L, d_t), their mask, and the input of the projection (n, d_t)."""
        out = text(input_ids=ids, attention_mask=mask)
        states = torch.cat([out.pooler_output[:, None], out.last_hidden_state], dim=1)
        return states, F.pad(mask, (1, 0), value=True), out.pooler_output


class ChineseClip(Clip):
    """Chinese-CLIP: a BERT in the place of CLIP's text tower, read at [CLS]."""

    config, text, vision = "ChineseCLIPConfig", "ChineseCLIPTextModel", "ChineseCLIPVisionModel"
    text_options: ClassVar[Mapping[str, Any]] = {"add_pooling_layer": False}
    crops = False
    text_offset = 0
    bert_vocabulary = True
    masks_padding = True
    usual_length = 52
    longest_word = 200

    def read_texts(
        self, text: nn.Module, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Clip.read_texts`; [CLS] is a token, so L states."""
        states = text(input_ids=ids, attention_mask=mask).last_hidden_state
        return states, mask, states[:, 0]


class Siglip(Clip):
    """SigLIP: pictures pooled by a head, texts read at their last place; no projections."""

    config, text, vision = "SiglipConfig", "SiglipTextModel", "SiglipVisionModel"
    pixels = HALVES
    crops = False
    class_tokens = 0
    lower_case = True
    every_place = True
    sigmoid = True
    poolable = False  # an attention head makes the vector of a picture

    def embed_dim(self, both: Any) -> int:
        """Return the width of the towers, which the heads have, too."""
        return int(both.text_config.projection_size)

    def projections(self, both: Any) -> tuple[nn.Module, nn.Module]:
        """Return no projections, because the heads are in the towers."""
        return nn.Identity(), nn.Identity()

    def read_images(
        self, vision: nn.Module, pixels: Tensor, choice: PatchChoice
    ) -> tuple[Tensor, Tensor]:
        """See `Clip.read_images`."""
        out = vision(pixel_values=pixels)
        return torch.cat([out.pooler_output[:, None], out.last_hidden_state], 1), out.pooler_output

    def read_texts(
        self, text: nn.Module, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Clip.read_texts`; padding is attended to as well, because it was in training."""
        out = text(input_ids=ids)
        states = torch.cat([out.last_hidden_state[:, -1:], out.last_hidden_state], dim=1)
        return states, F.pad(mask, (1, 0), value=True), out.pooler_output


class Siglip2(Siglip):
    """SigLIP 2 of flexible resolution, on squares of all the places that it learned."""

    config, text, vision = "Siglip2Config", "Siglip2TextModel", "Siglip2VisionModel"
    flexible = True

    def image_side(self, both: Any) -> int:
        """Return the square of all positions."""
        vision = both.vision_config
        return int(vision.patch_size * round(vision.num_patches**0.5))

    def read_images(
        self, vision: nn.Module, pixels: Tensor, choice: PatchChoice
    ) -> tuple[Tensor, Tensor]:
        """See `Clip.read_images`.

        Its own forward makes places and a mask for each picture in a loop, which cannot be
        exported; here the places are those that it learned, and nothing is masked.
        """
        tower: Any = vision
        n, patch = pixels.shape[0], tower.config.patch_size
        side = pixels.shape[-1] // patch
        cut = pixels.view(n, 3, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1)
        states = tower.embeddings.patch_embedding(cut.reshape(n, side * side, -1))
        states = choice.keep(states + tower.embeddings.position_embedding.weight, 0)
        states = tower.encoder(inputs_embeds=states).last_hidden_state
        states = tower.post_layernorm(states)
        pooled = tower.head(states)
        return torch.cat([pooled[:, None], states], dim=1), pooled

    def read_patches(
        self, vision: nn.Module, patches: Tensor, real: Tensor, grids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `read_images`, of pictures of any aspect; its places are resized to each.

        Args:
            vision: the tower.
            patches: (n, P, pixels) normalised, padded to the longest.
            real: (n, P) bool, False where a patch is padding.
            grids: (n, 2) int64, rows and columns of patches.
        """
        out = vision(pixel_values=patches, pixel_attention_mask=real.long(), spatial_shapes=grids)
        return torch.cat([out.pooler_output[:, None], out.last_hidden_state], 1), out.pooler_output


FAMILIES: Mapping[str, Clip] = {  # by model_type of config.json
    "chinese_clip": ChineseClip(),
    "clip": Clip(),
    "siglip": Siglip(),
    "siglip2": Siglip2(),
}
