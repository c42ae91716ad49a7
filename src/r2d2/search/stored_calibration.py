"""The calibration of a table's index, as it lies in the metadata of the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from r2d2.search.calibration import Calibration
from r2d2.search.layout import CALIBRATION, open_lance


def stored_calibration(dataset: Any) -> Calibration | None:
    """That of a Lance dataset; None: it has none, or one of another version."""
    stored = (dataset.metadata or {}).get(CALIBRATION)
    return None if stored is None else Calibration.from_json(stored)


def is_current(calibration: Calibration, dataset: Any) -> bool:
    """Whether nothing of the dataset that holds a calibration has changed since it was made."""
    # Setting the metadata makes a version, too.
    return bool(calibration.table_version == dataset.version - 1)


def store_calibration(dataset: Any, calibration: Calibration) -> None:
    """Keep one that was made of the dataset as it stands."""
    stamped = replace(calibration, table_version=dataset.version)
    dataset.update_metadata({CALIBRATION: stamped.to_json()})


@contextmanager
def calibration_kept(uri: str) -> Iterator[None]:
    """Around what makes versions of a table, but changes no row: its calibration stays current."""
    before = open_lance(uri)
    assert before is not None
    known, rows = stored_calibration(before), _rows(before)
    yield
    if known is None or not is_current(known, before):
        return
    after = open_lance(uri)
    assert after is not None
    if _rows(after) == rows:  # somebody else may have added some meanwhile
        store_calibration(after, known)


def _rows(dataset: Any) -> Any:
    """Files, and deletions in them; reads none of them."""
    return dataset.schema, [part.metadata.to_json() for part in dataset.get_fragments()]
