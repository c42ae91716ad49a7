"""Open a folder of pictures for search: its table made, or brought up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.files import sole_process
from r2d2.formats.picture_captions import CaptionSource, captions_beside, captions_in_file
from r2d2.images.decode import upright_size
from r2d2.index import layout
from r2d2.index.build import build_index, drop
from r2d2.index.calibrate import update_calibration
from r2d2.index.embed import loaded
from r2d2.index.gallery.notes import EMOJI_ONLY, SAMPLE, is_of_another_kind
from r2d2.index.table_texts import texts_of
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import absolute
from r2d2.inputs.picture_listing import Listing, list_pictures
from r2d2.models import ImageTextModel, lasting_name
from r2d2.native_write import write_whole
from r2d2.photo_folder.estimate import LITTLE, check_room, estimate
from r2d2.photo_folder.plan import plan_update
from r2d2.photo_folder.rows import FolderTable
from r2d2.photo_folder.settings import (
    LOCK,
    TABLE,
    FolderOptions,
    FolderSettings,
    is_table_folder,
    make_folder,
    read_settings,
    table_folder,
    write_settings,
)
from r2d2.photo_folder.texts import prune_texts
from r2d2.photo_folder.update import FolderChanges, FolderUpdate
from r2d2.progress import bars
from r2d2.saved_model import SHIPPED

log = logging.getLogger(__name__)

SMALL_FRAGMENTS = 24  # more fragments with fewer rows than FRAGMENT_ROWS are joined
FRAGMENT_ROWS = 8192
OLD = timedelta(days=7)  # a server may still read newer versions of the table

Notify = Callable[[str], None]


@dataclass(frozen=True)
class OpenedFolder:
    """A folder whose table is up to date."""

    table_dir: Path  # the folder of the table
    uri: str  # the table
    settings: FolderSettings
    model: ImageTextModel
    changes: FolderChanges | None  # None: the folder of pictures is not there now


def open_folder(
    path: str | Path, options: FolderOptions | None = None, notify: Notify = log.info
) -> OpenedFolder:
    """Make the table of a folder of pictures, or bring it up to date.

    Args:
        path: the folder of the pictures, or the folder of its table.
        options: options that are not set keep their values of the last start.
        notify: is called with each message.

    Raises:
        R2D2Error: there is no folder or no picture in it, another process updates the table, the
            vectors are of another model, or the disk is full.
    """
    options = FolderOptions() if options is None else options
    folder = Path(path)
    if is_table_folder(folder):
        if options.out is not None:
            raise R2D2Error(f"{path} is the folder of a table: leave out --out")
        table_dir = Path(absolute(folder))
        earlier = read_settings(table_dir)
        assert earlier is not None
        folder = Path(earlier.folder)
        if not folder.is_dir():
            return _as_it_stands(table_dir, options.apply(earlier), notify)
    else:
        table_dir = table_folder(folder, options.out)
        earlier = read_settings(table_dir)
    settings = options.apply(earlier or FolderSettings(absolute(folder)))
    settings = replace(
        settings, folder=absolute(folder), model=lasting_name(settings.model or SHIPPED)
    )
    if earlier is not None and earlier.copies != settings.copies and not options.overwrite:
        raise R2D2Error(
            f"{table_dir} holds {'copies' if earlier.copies else 'thumbnails'} of the pictures: "
            "give --overwrite to make it anew"
        )
    with bars(leave=False) as update:
        listing = list_pictures(
            folder,
            follow_links=settings.follow_links,
            sidecars=settings.captions is None,
            not_counted=None if settings.captions is None else Path(settings.captions),
            progress=lambda count: update("files", count, None),
        )
    if not listing.pictures and not listing.unreadable:
        had = f"; its table {table_dir} is left as it is" if earlier is not None else ""
        raise R2D2Error(
            f"{folder} holds no picture: give a folder that does, or attach its disk{had}"
        )
    model = loaded(str(settings.model))
    make_folder(table_dir)
    busy = f"is bringing {table_dir} up to date: wait for it, or end it, then try again"
    with sole_process(table_dir / LOCK, busy):
        changes = _bring_up_to_date(table_dir, listing, settings, model, options.overwrite, notify)
    return OpenedFolder(table_dir, str(table_dir / TABLE), settings, model, changes)


def _as_it_stands(table_dir: Path, settings: FolderSettings, notify: Notify) -> OpenedFolder:
    notify(
        f"{settings.folder} is not there now: {table_dir} is searched as it stands, by thumbnails"
    )
    model = loaded(str(settings.model))
    return OpenedFolder(table_dir, str(table_dir / TABLE), settings, model, None)


def _bring_up_to_date(
    table_dir: Path,
    listing: Listing,
    settings: FolderSettings,
    model: ImageTextModel,
    overwrite: bool,
    notify: Notify,
) -> FolderChanges:
    uri = str(table_dir / TABLE)
    about = _about(model)
    dataset = layout.open_lance(uri)
    made = None if dataset is None or overwrite else layout.read_index_info(dataset, uri)
    if made is not None and made.fingerprint != about.fingerprint:
        raise R2D2Error(
            f"{table_dir} was made by another model ({made.fingerprint}, this one is "
            f"{about.fingerprint}): give --model that one, or make it anew by `r2d2 index "
            f"{settings.folder} --model {settings.model} --overwrite`"
        )
    captions = _captions(settings, listing)
    sample = listing.pictures[:: max(1, len(listing.pictures) // SAMPLE)][:SAMPLE]
    sizes = ((picture.path, upright_size(listing.root / picture.path)) for picture in sample)
    if is_of_another_kind(about.fingerprint, sizes):
        notify(EMOJI_ONLY)
    table = FolderTable(uri, about)
    known, left = ({}, []) if overwrite else table.known()
    plan = plan_update(listing, known)
    if plan.to_read:
        need = estimate(listing.root, plan.to_read, about.width, settings.copies)
        if overwrite or dataset is None or need.total > LITTLE:
            notify(need.line(table_dir))
        check_room(table_dir, need)
    if overwrite:
        for part in (uri, layout.texts_uri(uri), layout.staging_uri(uri)):
            drop(part)
        table = FolderTable(uri, about)
    table.make()
    table.remove(left)
    write_settings(table_dir, settings)
    with bars() as update:
        work = FolderUpdate(listing, plan, table, model, captions, settings.copies, update)
        changes = work.run()
    _finish(uri, settings, model, bool(left) or changes.any)
    changes.bad = _without_vector(uri)
    notify(f"{settings.folder}: {changes.line()}")
    for line in [*changes.bad.lines("cannot be searched"), *changes.dropped.lines()]:
        notify(f"  {line}")
    return changes


def _about(model: ImageTextModel) -> layout.IndexInfo:
    return layout.IndexInfo(model.fingerprint, model.embed_dim)


def _captions(settings: FolderSettings, listing: Listing) -> CaptionSource:
    if settings.captions is None:
        return captions_beside(listing, listing.dropped)
    file = Path(settings.captions)
    if not file.is_file():
        raise R2D2Error(
            f"the captions {file} are not there: give --captions FILE, or put them back"
        )
    return captions_in_file(file, listing, listing.dropped)


def _finish(uri: str, settings: FolderSettings, model: ImageTextModel, changed: bool) -> None:
    """Join small fragments of the table, and update its texts and its calibration."""
    dataset = layout.existing_lance(uri)
    if changed:
        small = [part for part in dataset.get_fragments() if part.count_rows() < FRAGMENT_ROWS]
        if len(small) > SMALL_FRAGMENTS:
            compact = dataset.optimize.compact_files
            write_whole(lambda: compact(target_rows_per_fragment=FRAGMENT_ROWS))
        prune_texts(uri, _about(model))
    dataset = layout.existing_lance(uri)
    if next(texts_of(dataset), None) is not None:
        build_index(uri, str(settings.model))  # which calibrates it, too
    else:
        update_calibration(uri, model)
    if changed:
        for part in (layout.open_lance(uri), layout.open_lance(layout.texts_uri(uri))):
            if part is not None:
                write_whole(lambda d=part: d.cleanup_old_versions(older_than=OLD))  # type: ignore[misc]


def _without_vector(uri: str) -> DroppedRows:
    """The pictures of the table that have no vector, by reason."""
    dataset = layout.existing_lance(uri)
    bad = DroppedRows()
    columns = ["image_id", layout.BAD]
    for batch in dataset.to_batches(columns=columns, filter=layout.HAS_BAD):
        for image_id, reason in zip(*(batch[n].to_pylist() for n in columns), strict=True):
            bad.add(reason, image_id)
    return bad
