"""The encoded images or texts of a corpus: embeddings in memory, hidden states on disk.

The cross encoders read the states of a few hundred items at a time. Those of all items would fill
the memory long before the embeddings do, so they are written to a temporary file as they are made
and read back by number. Positions after an item's last real token are not kept.
"""

from __future__ import annotations

import os
import tempfile
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates

Precision = Literal["float32", "float16"]


class StateStore:
    """n items of one modality, added in batches, read by number."""

    def __init__(self, *, states: bool, precision: Precision = "float32") -> None:
        self._embeddings: list[Tensor] = []
        self._joined: Tensor | None = None
        self._lengths: list[Tensor] = []
        self._masks: list[Tensor] = []  # of each batch's kept positions, flat
        self._length: Tensor | None = None
        self._start: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        self._mask: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._type = np.dtype(precision)
        self._width = 0
        self._file = tempfile.TemporaryFile(prefix="r2d2-states-") if states else None  # noqa: SIM115

    def add(self, side: EncodedStates) -> None:
        """Add a batch.

        Raises:
            R2D2Error: the disk is full.
        """
        self._embeddings.append(side.embedding.float())
        if self._file is None:
            return
        real = side.real().cpu()
        length = (real * torch.arange(1, real.shape[1] + 1)).amax(dim=1).clamp(min=1)
        kept = torch.arange(real.shape[1]) < length[:, None]
        self._width = side.states.shape[2]
        flat = side.states.detach().cpu().float()[kept].numpy().astype(self._type)
        try:
            self._file.write(flat.tobytes())
            self._file.flush()
        except OSError as error:
            raise R2D2Error(
                f"cannot write hidden states to {tempfile.gettempdir()} ({error.strerror}): free "
                "some space, or set TMPDIR to another folder"
            ) from error
        self._lengths.append(length)
        self._masks.append(real[kept])

    def done(self) -> None:
        """Close the store; no batch may be added after this."""
        self._joined = torch.cat(self._embeddings)
        self._embeddings = []
        if self._file is not None:
            self._length = torch.cat(self._lengths)
            self._start = np.concatenate([[0], np.cumsum(self._length.numpy())])
            self._mask = torch.cat(self._masks).numpy()
            self._lengths, self._masks = [], []

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def embedding(self) -> Tensor:
        """(n, d) float32, of unit length, on the model's device."""
        assert self._joined is not None
        return self._joined

    @property
    def length(self) -> Tensor:
        """(n,) int64, how many positions of each item are kept."""
        assert self._length is not None
        return self._length

    def take(self, index: Tensor) -> EncodedStates:
        """The items at (k,) positions, which may repeat, padded to the longest of them."""
        assert self._file is not None
        items, item_of = torch.unique(index.cpu(), return_inverse=True)
        lengths = self.length[items]
        longest = int(lengths.max())
        states = np.zeros((len(items), longest, self._width), dtype=self._type)
        mask = np.zeros((len(items), longest), dtype=bool)
        row = self._width * self._type.itemsize
        for number, (item, length) in enumerate(zip(items.tolist(), lengths.tolist(), strict=True)):
            start = int(self._start[item])
            os.preadv(self._file.fileno(), [states[number, :length].data], start * row)
            mask[number, :length] = self._mask[start : start + length]
        device = self.embedding.device
        real = torch.from_numpy(mask)
        return EncodedStates(
            torch.from_numpy(states).float().to(device),
            None if bool(real.all()) else real.to(device),
            self.embedding[items.to(device)],
        )[item_of.to(device)]
