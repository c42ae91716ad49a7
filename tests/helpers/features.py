"""Random features, and which of them belong together, for the naive twins of the losses."""

import torch
import torch.nn.functional as F


def unit(n, d=6):
    """Rows of unit length (n, d), float64, that take a gradient."""
    return F.normalize(torch.randn(n, d, dtype=torch.float64), dim=1).requires_grad_()


def is_positive(a, b):
    """Whether two pairs, by their keys, show the same image or say the same text."""
    return a[0] == b[0] or a[1] == b[1]
