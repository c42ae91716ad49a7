"""Parameters of modules that are tested."""

from torch import nn


def spread(module):
    """Parameters large enough, biases included, for a mistake to be seen."""
    for p in module.parameters():
        nn.init.normal_(p, std=0.4)
    return module.double()
