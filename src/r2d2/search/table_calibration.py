"""Keep the calibration of a table's index up to date."""

from __future__ import annotations

from r2d2.models import ImageTextModel
from r2d2.search.calibrate import calibrate
from r2d2.search.layout import open_lance
from r2d2.search.stored_calibration import is_current, store_calibration, stored_calibration
from r2d2.search.table_gallery import TableGallery


def update_calibration(uri: str, model: ImageTextModel) -> int:
    """Calibrate an indexed table anew, unless nothing of it has changed since.

    Args:
        uri: the table.
        model: that made its vectors.

    Returns:
        How many vectors of images it has.
    """
    dataset = open_lance(uri)
    assert dataset is not None
    known = stored_calibration(dataset)
    if known is not None and known.fingerprint == model.fingerprint and is_current(known, dataset):
        return known.count
    made = calibrate(model, TableGallery(uri))
    if made.count:
        store_calibration(dataset, made)
    return made.count
