"""The outcome of a run: the rank of every query, and the score of every pair that was matched.

A bootstrap needs these, because it cannot resample finished figures. They are written as a file of
tensors beside metrics.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from r2d2.errors import R2D2Error
from r2d2.files import write_bytes

OUTCOME = "queries.safetensors"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class QueryRanks:
    """The ranks of the q queries of one direction of one task."""

    image: Ints  # (q,) the query's image, or the image that the query's text belongs to
    prerank: Ints  # (q,) rank of the best match by cosine alone, from 1
    last: Ints  # (q,) its rank after the last stage


@dataclass(frozen=True)
class PairScores:
    """The scores of the p pairs of one task, matches and non-matches."""

    image: Ints  # (p,) the image that the pair's text belongs to, also in a non-match
    label: npt.NDArray[np.bool_]  # (p,)
    score: npt.NDArray[np.float32]  # (p,)


@dataclass(frozen=True)
class TaskOutcome:
    """The outcome of one task of one run."""

    i2t: QueryRanks
    t2i: QueryRanks
    pairs: PairScores

    def same_queries(self, other: TaskOutcome) -> bool:
        """Return whether both have the same queries and pairs, so that they can be compared."""
        return all(
            np.array_equal(a, b)
            for a, b in (
                (self.i2t.image, other.i2t.image),
                (self.t2i.image, other.t2i.image),
                (self.pairs.image, other.pairs.image),
                (self.pairs.label, other.pairs.label),
            )
        )


Outcome = dict[str, TaskOutcome]  # by task


def outcome_of(results: Any) -> Outcome:
    """Take the outcome from the results of `evaluate` (`evaluation.evaluate.Results`)."""
    owner = np.array(results.data.text_image, dtype=np.int64)
    outcome: Outcome = {}
    for task, directions in results.rankings.items():
        i2t, t2i, pairs = directions["i2t"], directions["t2i"], results.matching[task]
        outcome[task] = TaskOutcome(
            QueryRanks(i2t.queries.numpy(), i2t.prerank.numpy(), i2t.ranks.numpy()),
            QueryRanks(owner[t2i.queries.numpy()], t2i.prerank.numpy(), t2i.ranks.numpy()),
            PairScores(owner[pairs.text.numpy()], pairs.label.numpy(), pairs.score.float().numpy()),
        )
    return outcome


def save_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome; an interrupted write leaves no file."""
    tensors = {
        f"{task}/{part}/{name}": np.ascontiguousarray(values)
        for task, task_outcome in outcome.items()
        for part, arrays in vars(task_outcome).items()
        for name, values in vars(arrays).items()
    }
    write_bytes(path, save(tensors))


def load_outcome(path: Path) -> Outcome:
    """Read a file that `save_outcome` wrote.

    Raises:
        R2D2Error: the file is missing or damaged.
    """
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        for key, values in load_file(path).items():
            task, part, name = key.split("/")
            parts.setdefault(task, {}).setdefault(part, {})[name] = values
        return {
            task: TaskOutcome(
                QueryRanks(**p["i2t"]), QueryRanks(**p["t2i"]), PairScores(**p["pairs"])
            )
            for task, p in parts.items()
        }
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise R2D2Error(
            f"{path} is missing or damaged ({error}): remove its folder, and it is measured again"
        ) from error
