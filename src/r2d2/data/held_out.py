"""Split a user's own pictures by their content, so that no split of a small set is empty."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from r2d2.images.decode import BadImage, decode_image, image_bytes
from r2d2.inputs.splits import TEST, TRAIN, VAL

SMALL = 1000  # pictures: with so many or fewer, a draw by hash may leave a split empty
LEAST = 3  # different pictures that a set needs to fill each split


def draw(digest: str, val_share: float, test_share: float) -> str:
    """Return the split of a picture by a hash of its content; its copies get the same split."""
    position = int(digest[:13], 16) / 16**13
    if position < val_share:
        return VAL
    return TEST if position < val_share + test_share else TRAIN


def moved(
    paths: Collection[Path], named_splits: Collection[str], val_share: float, test_share: float
) -> dict[str, str]:
    """Return the pictures to move into splits of a small set that `draw` leaves empty.

    An empty split is one without a readable picture. The picture to move is the first one of the
    fullest split in the order of the digests, so that the same pictures are always split in the
    same way. Sets of fewer than three pictures, or of more than `SMALL`, are not changed.

    Args:
        paths: the pictures that have no split by name.
        named_splits: the splits that other pictures have by name.
        val_share: the share of the pictures in val.
        test_share: the share of the pictures in test.

    Returns:
        The new split of each picture that is moved, by its digest.
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
    needed = [name for name, share in shares.items() if share > 0 and name not in named_splits]
    splits: dict[str, list[str]] = {name: [] for name in shares}
    for digest in sorted(by_digest):
        splits[draw(digest, val_share, test_share)].append(digest)
    if all(any(_decodes(by_digest[d]) for d in splits[name]) for name in needed):
        return {}
    splits = _readable(splits, by_digest)
    if sum(map(len, splits.values())) < LEAST:
        return {}
    changed = {}
    for name in needed:
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
