"""Warn in the log when the loss of a run does not fall, and name the likely cause.

There is no warning while recall on `val` still rises, because the loss cannot fall below a floor,
which soft targets raise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import log

from torch import Tensor

from r2d2.config import Config
from r2d2.training.epochs import Epoch, still_rising
from r2d2.training.preflight import HIGHEST, held_back
from r2d2.training.schedule import warmup_end

WINDOW = 20  # steps that a mean is taken over
WAIT = 0.15  # of the run, after the warm-up, before it is judged; at least five windows
FALL = 0.02  # of the loss, that counts as learning
FEW_TEXTS = 0.1  # distinct texts a row, below which they look like labels


class Watch:
    """Compares the contrastive loss (for a matching set FGR's) once with its first values."""

    def __init__(
        self,
        steps: int,
        config: Config,
        variety: Callable[[], tuple[int, int]],
        measured: Callable[[], Sequence[Epoch]] = tuple,
    ) -> None:
        """Both functions are called only when a warning is due.

        Args:
            steps: of the whole run.
            config: its settings.
            variety: how many different texts how many rows have.
            measured: the figures on `val` so far.
        """
        self._steps = steps
        self._measured = measured
        self._judged_at = warmup_end(steps, config.train) + max(5 * WINDOW, round(WAIT * steps))
        self._config = config
        self._variety = variety
        self._first: list[Tensor] = []
        self._last: deque[Tensor] = deque(maxlen=WINDOW)

    def see(self, step: int, losses: Mapping[str, Tensor]) -> str | None:
        """Read a step's losses, and return a warning if one is due; do not wait for the device."""
        if step > self._judged_at:
            return None
        loss = self._of_chance(step, losses)
        if len(self._first) < WINDOW:
            self._first.append(loss)
        self._last.append(loss)
        if step < self._judged_at or len(self._first) < WINDOW:
            return None
        first, last = (
            sum(x.item() for x in part) / len(part) for part in (self._first, self._last)
        )
        if last < (1 - FALL) * first or still_rising(self._measured()):
            return None
        return (
            f"by step {step} the loss has not fallen ({100 * first:.0f}% of chance's at first, "
            f"{100 * last:.0f}% now): {self._cause()}"
        )

    def _of_chance(self, step: int, losses: Mapping[str, Tensor]) -> Tensor:
        """Divide the loss by that of guessing; a queue that fills up makes the task harder."""
        batch, queue = self._config.train.batch_size, self._config.objectives.queue_size
        if "tgd" in losses:
            return losses["tgd"].detach() / log(max(2, batch) + min((step - 1) * batch, queue))
        if "gcpr" in losses:
            return losses["gcpr"].detach() / log(max(batch, 2))
        if "sigmoid" in losses:  # each of n candidates takes 1/n for the chance of a match
            n = max(batch, 2)
            return losses["sigmoid"].detach() / (log(n) + (n - 1) * log(n / (n - 1)))
        return losses["fgr"].detach() / log(2)

    def _cause(self) -> str:
        train = self._config.train
        texts, rows = self._variety()
        if texts < FEW_TEXTS * rows:
            return (
                f"{rows} rows have {texts} distinct texts, which looks like labels; "
                "most of a batch is then its own positive: lower train.batch_size, or give texts "
                "that describe each picture"
            )
        if (reason := held_back(self._steps, train)) is not None:
            return reason
        if train.lr > HIGHEST:
            return (
                f"train.lr={train.lr:g} may be too high, for no preset has more than {HIGHEST:g}: "
                "try a tenth of it"
            )
        return "check with `r2d2 data check` that the texts belong to their pictures"
