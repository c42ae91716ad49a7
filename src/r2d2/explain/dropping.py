"""What the match of a picture and a text loses when a part of the picture is not looked at.

Patches are left out before the transformer, as in training (`objectives.image_keep`), so nothing
unusual, such as a grey square, is put in their place. What falls is the cosine of the embeddings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from r2d2.data.augment import normalize
from r2d2.pretrained import Pretrained

SHARE = 4  # a window's side is this part of the picture's: one patch of many changes little


@torch.inference_mode()
def falls(model: Pretrained, picture: Image.Image, texts: Tensor) -> npt.NDArray[np.float32]:
    """How far each text's cosine falls without a patch: (q, P_h, P_w), 0 where it does not.

    A patch gets the mean over the square windows that it is in.

    Args:
        model: any.
        picture: of any mode and size.
        texts: embeddings (q, d).
    """
    vision, network = model.model.config.vision, model.model
    side = vision.image_size // vision.patch_size
    kept, inside = windows(side)
    pixels = torch.from_numpy(model.prepare(picture))[None]
    pixels = normalize(pixels.to(network.towers.device))
    whole = network.encode_images(pixels).embedding  # (1, d)
    found = []
    for part in torch.split(kept.to(pixels.device), model.batch_size):
        found.append(network.encode_images(pixels.expand(len(part), -1, -1, -1), part).embedding)
    fallen = texts @ (whole - torch.cat(found)).T  # (q, W)
    spread = fallen.float().cpu() @ inside / inside.sum(0)  # (q, P)
    values: npt.NDArray[np.float32] = spread.clamp_min(0).numpy().astype(np.float32)
    return values.reshape(-1, side, side)


def windows(side: int) -> tuple[Tensor, Tensor]:
    """What is left without each of W windows of a grid: (W, K) patches; and (W, P), 1 inside."""
    length = max(1, side // SHARE)
    places = torch.arange(side * side).view(side, side)
    inside = torch.zeros((side - length + 1) ** 2, side * side)
    for number, corner in enumerate(places[: side - length + 1, : side - length + 1].flatten()):
        row, column = divmod(int(corner), side)
        inside[number, places[row : row + length, column : column + length].flatten()] = 1
    kept = torch.stack([(one == 0).nonzero()[:, 0] for one in inside])
    return kept, inside
