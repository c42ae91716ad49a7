"""The plan of an update: which files are unchanged, and which must be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from r2d2.images.decode import readable_formats
from r2d2.inputs.picture_listing import ListedPicture, Listing
from r2d2.photo_folder.rows import KnownPicture


@dataclass
class FolderPlan:
    """Files and rows, compared by path, size and time before any file is read."""

    same: list[tuple[ListedPicture, KnownPicture]] = field(default_factory=list)
    touched: list[tuple[ListedPicture, KnownPicture]] = field(
        default_factory=list
    )  # with another size or time
    new: list[ListedPicture] = field(default_factory=list)  # no row has this path
    gone: dict[int, KnownPicture] = field(default_factory=dict)  # by row id; their files are gone
    kept: list[KnownPicture] = field(default_factory=list)  # in folders that cannot be read now

    @property
    def to_read(self) -> list[ListedPicture]:
        """Files that must be read, those that have a row first."""
        return [*(picture for picture, _ in self.touched), *self.new]


def plan_update(listing: Listing, known: Mapping[str, KnownPicture]) -> FolderPlan:
    """Compare the folder and the table by path, size and time."""
    plan = FolderPlan()
    paths = set()
    heif = "HEIF" in readable_formats()
    for picture in listing.pictures:
        paths.add(picture.path)
        row = known.get(picture.path)
        if row is None:
            plan.new.append(picture)
        elif (row.size, row.modified) != (picture.size, picture.modified) or (
            heif and row.bad is not None and "HEIC" in row.bad
        ):
            plan.touched.append((picture, row))
        else:
            plan.same.append((picture, row))
    for path, row in known.items():
        if path not in paths:
            if listing.may_exist(path):
                plan.kept.append(row)
            else:
                plan.gone[row.row_id] = row
    return plan
