"""The steps of runs in this process, watched through the hooks that PyTorch has for modules."""

import dataclasses
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from helpers.calls import PowerCutError
from r2d2.model.vit import ViT
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.training.epochs import read_epochs
from r2d2.training.step import Step


class StepWatch:
    """The steps that are made while it is open, and what shall happen before some of them."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.before: dict[int, Callable[[], object]] = {}  # by step; each happens once
        # Of the step that is being made:
        self.module: Step | None = None
        self.batch: TrainingBatch | None = None  # or its first chunk
        self.context: StepContext | None = None

    def __enter__(self):
        self._handle = register_module_forward_pre_hook(self._see)
        return self

    def __exit__(self, *_error):
        self._handle.remove()

    def cut(self, step: int) -> None:
        """Let the process end before this step, once."""
        self.before[step] = power_cut

    def _see(self, module, arguments):
        # A step without values is one whose operations are counted; chunks share a context
        if not isinstance(module, Step) or arguments[0].pixels.is_meta:
            return
        if arguments[1] is self.context:
            return
        self.module, (self.batch, self.context) = module, arguments[:2]
        self.before.pop(self.context.step, lambda: None)()
        self.made.append(self.context.step)


def power_cut() -> None:
    """The process ends here."""
    raise PowerCutError


@contextmanager
def before_forward(kind: type[nn.Module], action: Callable[[nn.Module], object]):
    """Call `action` with each module of this kind before its forward pass."""

    def see(module, _arguments):
        if isinstance(module, kind):
            action(module)

    handle = register_module_forward_pre_hook(see)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def endless_loss(step: int, rank: int = 0):
    """In one step of one process the loss is infinite, and its gradient is as ever."""

    def add(module, arguments, output):
        if not isinstance(module, Step) or (arguments[1].step, module.world.rank) != (step, rank):
            return None
        losses = {name: loss + float("inf") for name, loss in output.losses.items()}
        return dataclasses.replace(output, losses=losses)

    handle = register_module_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def measurements(out: Path, cut: int | None = None):
    """Yield a list of the epochs after which the run at `out` is measured within the block.

    Args:
        out: the run's folder.
        cut: the epoch in whose first measurement the process ends.
    """
    epochs: list[int] = []

    def see(module):
        if module.training:
            return
        epoch = len(read_epochs(out)) + 1
        if epoch not in epochs:
            epochs.append(epoch)
        if epoch == cut:
            raise PowerCutError

    with before_forward(ViT, see):
        yield epochs
