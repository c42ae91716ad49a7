"""Keep the calibration of a table's index, which lies in the metadata of the table, up to date."""

from __future__ import annotations

from r2d2.models import Model
from r2d2.search.calibrate import calibrate
from r2d2.search.layout import CALIBRATION, VECTOR, open_lance
from r2d2.search.table_gallery import TableGallery


def update_calibration(uri: str, model: Model) -> None:
    """Calibrate an indexed table anew, unless nothing of it has changed since.

    Args:
        uri: the table.
        model: that made its vectors.
    """
    dataset = open_lance(uri)
    assert dataset is not None
    gallery = TableGallery(uri)
    known = gallery.calibration
    # Setting the metadata makes a version, too.
    if known is not None and known.table_version == dataset.version - 1:
        return
    if not dataset.count_rows(filter=f"{VECTOR} IS NOT NULL"):
        return
    made = calibrate(model, gallery, dataset.version)
    dataset.update_metadata({CALIBRATION: made.to_json()})
