"""Which split a picture of one's own stands in, by its content; none of a small set stays empty."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from r2d2.images.decode import BadImage, decode_image, image_bytes
from r2d2.inputs.splits import TEST, TRAIN, VAL

SMALL = 1000  # pictures; of so many a hash may leave a split empty
LEAST = 3  # different pictures, one for each split


def draw(digest: str, val_share: float, test_share: float) -> str:
    """Split of an image by its content: copies of a picture never stand in two splits."""
    position = int(digest[:13], 16) / 16**13
    if position < val_share:
        return VAL
    return TEST if position < val_share + test_share else TRAIN


def moved(
    paths: Collection[Path], given: Collection[str], val_share: float, test_share: float
) -> dict[str, str]:
    """Where `draw` leaves a split of a small set without a readable picture: digests to move there.

    It is the first of the fullest split in the order of the digests, so that the same pictures are
    always split in the same way. Sets of fewer than three pictures, or of more than `SMALL`, are
    left as they are drawn.

    Args:
        paths: pictures without a split of their own.
        given: splits that other pictures have by name.
        val_share: of the pictures.
        test_share: of the pictures.

    Returns:
        Digest: split, of those that change it.
    """
    if len(paths) > SMALL:
        return {}
    by_digest = {}
    for path in paths:
        try:
            by_digest[hashlib.sha256(image_bytes(path)).hexdigest()] = path
        except (BadImage, OSError):
            continue
    shares = {TRAIN: 1 - val_share - test_share, VAL: val_share, TEST: test_share}
    wanted = [name for name, share in shares.items() if share > 0 and name not in given]
    splits: dict[str, list[str]] = {name: [] for name in shares}
    for digest in sorted(by_digest):
        splits[draw(digest, val_share, test_share)].append(digest)
    if all(any(_decodes(by_digest[d]) for d in splits[name]) for name in wanted):
        return {}
    splits = _readable(splits, by_digest)
    if sum(map(len, splits.values())) < LEAST:
        return {}
    changed = {}
    for name in wanted:
        fullest = max(splits.values(), key=len)
        if not splits[name] and len(fullest) > 1:
            splits[name].append(fullest.pop(0))
            changed[splits[name][0]] = name
    return changed


def _readable(
    splits: Mapping[str, list[str]], by_digest: Mapping[str, Path]
) -> dict[str, list[str]]:
    return {
        name: [d for d in digests if _decodes(by_digest[d])] for name, digests in splits.items()
    }


def _decodes(path: Path) -> bool:
    try:
        decode_image(image_bytes(path), name=str(path))
    except (BadImage, OSError):
        return False
    return True
