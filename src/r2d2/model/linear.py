"""The linear map of all layers."""

from __future__ import annotations

from torch import Tensor, nn

from r2d2.model.fast.onednn import linear


class Linear(nn.Linear):
    """`torch.nn.Linear`; on a CPU its product may be computed by oneDNN, see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., in) to (..., out)."""
        return linear(x, self.weight, self.bias)
