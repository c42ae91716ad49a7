"""The way from an encoded file to pixels: decode, right way up, on white, one resize.

The resize squeezes the whole picture to a square, as the official R2D2 code does. Training,
evaluation and the API all pass here. Training takes the fast way of `decode_resized`, which for a
JPEG lies within 1 of 255 grey levels of the slow one, in the mean; all other files come out equal.
"""

from __future__ import annotations

import functools
import io
import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from r2d2.errors import R2D2Error
from r2d2.images.limits import (
    PieceReader,
    TooManyPieces,
    icon_frame,
    too_large,
    too_many_scans,
    too_many_strips,
    too_slow,
)

log = logging.getLogger(__name__)

MAX_BYTES = 64 << 20  # of an encoded file
MAX_PIXELS = 64_000_000  # of a decoded one, 192 MB as RGB: a file of kilobytes can hold gigabytes
SPARE = 1.15  # times the wanted size that a JPEG decoded at a reduced scale must have
# Raster formats only: Pillow hands PostScript to an interpreter, no place for untrusted files.
FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "JPEG2000", "ICO", "PPM",
    "HEIF",
)  # fmt: skip
# What Pillow also has suffixes for, and what is no still picture: documents, films, measurements.
_NO_PICTURES = {
    "PDF", "EPS", "WMF", "MPEG", "FLI", "FITS", "BUFR", "GRIB", "HDF5", "IPTC", "XBM", "XPM",
}  # fmt: skip
HEIF_SUFFIXES = (".heic", ".heics", ".heif", ".heifs", ".hif")
HEIF_BRANDS = (
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1",
)  # fmt: skip
HEIF_EXTRA = 'which needs pip install "zero-r2d2[heic]"'

MORE_FRAMES = "more frames than one: the first is used"
Kind = Literal["empty", "unreadable", "truncated", "too large"]

# EXIF tag 0x0112: how the camera was held, and what sets the picture upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(R2D2Error):  # noqa: N818  # a state of the data, counted as often as raised
    """An image that cannot be used; `kind` says why, so that bad rows can be counted by kind.

    `reason` is the kind in the words of a report, with the package that is missing where one is.
    """

    def __init__(self, kind: Kind, message: str, reason: str = "") -> None:
        super().__init__(message, code=f"image_{kind.replace(' ', '_')}")
        self.kind: Kind = kind
        self.reason = reason or kind

    def __reduce__(self) -> tuple[type[BadImage], tuple[Kind, str, str]]:
        # a loader process sends it to the main one
        return type(self), (self.kind, str(self), self.reason)


def decode_image(
    data: bytes,
    *,
    name: str = "image",
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    at_least: int | None = None,
) -> Image.Image:
    """The first frame of an encoded image (JPEG, PNG, GIF, WebP, ...) as RGB, upright, on white.

    `name` stands in the message of the BadImage that an unusable file raises. With `at_least`, a
    JPEG may come at a half, quarter or eighth of its scale, its shorter side no shorter than that,
    which is several times as fast.
    """
    if not data:
        raise BadImage("empty", f"{name} is empty (0 bytes): give an image file")
    if len(data) > max_bytes:
        raise BadImage(
            "too large", f"{name} has {len(data)} bytes, more than {max_bytes}: give a smaller file"
        )
    if too_many_scans(data):
        raise BadImage("unreadable", f"{name} has far more scans than a JPEG has: save it anew")
    if too_many_strips(data):
        raise BadImage("unreadable", f"{name} has far more strips than a TIFF has: save it anew")
    try:
        frame = icon_frame(data)
        if frame is not None:
            _check_cost(frame, name, len(data), max_pixels)
        image = Image.open(PieceReader(data), formats=readable_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"{name} has far more than {max_pixels} pixels: give a smaller one"
        raise BadImage("too large", message) from error
    except UnidentifiedImageError as error:
        if is_heif(data) and "HEIF" not in readable_formats():
            message = f"{name} is HEIC, as phones write it, {HEIF_EXTRA}"
            raise BadImage("unreadable", message, f"unreadable: HEIC, {HEIF_EXTRA}") from error
        raise BadImage(
            "unreadable", f"{name} is no image that can be read: give one of {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # a broken header raises what its parser stumbles on
        raise _broken(name, error) from error
    with image:
        _check_cost(image, name, len(data), max_pixels)
        if at_least is not None:
            image.draft(None, (at_least, at_least))  # None: in its own mode
        return to_rgb(image, name=name, max_pixels=max_pixels)


def _check_cost(image: Image.Image, name: str, size: int, max_pixels: int) -> None:
    """BadImage where decoding a file of `size` bytes would cost too much, by its header."""
    reason = too_large(*image.size, max_pixels)
    if reason is not None:
        raise BadImage("too large", f"{name} has {reason}: give a smaller one")
    if too_slow(image, size, max_pixels):
        raise BadImage(
            "too large",
            f"{name} is a {image.format} of {image.width}x{image.height} pixels in a form that is "
            "slow to read: save it as PNG",
        )


def image_bytes(path: Path) -> bytes:
    """An encoded file. BadImage where it is too large, told without reading it; OSError as ever."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadImage(
            "too large", f"{path} has {size} bytes, more than {MAX_BYTES}: give a smaller file"
        )
    return path.read_bytes()


def read_image(path: Path) -> Image.Image:
    """A picture file as `decode_image` gives it; says so where there are more frames than one.

    Raises:
        R2D2Error: there is no such file, or it is a folder.
        BadImage: it cannot be used.
    """
    if path.is_dir():
        raise R2D2Error(f"{path} is a folder: give a picture")
    try:
        data = image_bytes(path)
    except OSError as error:
        raise R2D2Error(f"cannot read picture {path}: {error.strerror}; check its path") from error
    image = decode_image(data, name=str(path))
    if has_more_frames(data):
        log.info("%s has %s", path, MORE_FRAMES)
    return image


def has_more_frames(data: bytes) -> bool:
    """Whether a picture that can be read is animated or has pages.

    Not those of a camera's JPEG (MPO): they are previews and light maps of the same picture.
    """
    try:  # not how many: whoever writes a file can make counting as long as they like
        with Image.open(io.BytesIO(data), formats=readable_formats()) as header:
            return header.format != "MPO" and bool(getattr(header, "is_animated", False))
    except Exception:  # the first was read all the same
        return False


def upright_size(source: bytes | Path) -> tuple[int, int] | None:
    """Width and height of an encoded image, or of a file, as `decode_image` gives it.

    Its header alone is read. None: there is no header that can be read.
    """
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(stream, formats=readable_formats()) as header:
            turned = _orientation(header) in (5, 6, 7, 8)
            width, height = header.size
    except Exception:  # whatever a parser stumbles on
        return None
    return (height, width) if turned else (width, height)


def to_rgb(image: Image.Image, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A Pillow image of any mode as RGB: upright by its EXIF, on white, 16 bits scaled to 8.

    The image itself stays as it is. Raises BadImage where its file turns out broken, and R2D2Error
    where it is no Pillow image.
    """
    if not isinstance(image, Image.Image):
        raise R2D2Error(
            f"{name} is a {type(image).__name__}: give a PIL.Image, as by Image.open(path) or "
            "Image.fromarray(array)"
        )
    width, height = image.size
    if width * height == 0:
        raise BadImage("empty", f"{name} has no pixels ({width}x{height}): give another image")
    reason = too_large(width, height, max_pixels)
    if reason is not None:
        raise BadImage("too large", f"{name} has {reason}: give a smaller one")
    try:
        image.load()
        rgb = _flatten(image)
        turn = _UPRIGHT.get(_orientation(image))
        if turn is None:
            return rgb
        upright = rgb.transpose(turn)
        upright.info = {}  # its EXIF would turn it once more where it is converted again
        return upright
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise _broken(name, error) from error


def resize(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """An RGB image as pixels (size, size, 3): the whole picture squeezed, bicubic.

    One that has this size is copied as it is.
    """
    if image.mode != "RGB":
        image = to_rgb(image)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.uint8)


def decode_resized(
    data: bytes,
    size: int,
    *,
    name: str = "image",
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> npt.NDArray[np.uint8]:
    """`resize(decode_image(data), size)`, several times as fast for a large JPEG.

    A JPEG that is much larger is decoded at a half, quarter or eighth of its scale, which leaves
    out most of the work; a bicubic filter goes the rest of the way. Raises BadImage as
    `decode_image`.
    """
    pixels = _fast_jpeg(data, size, max_bytes, max_pixels)
    if pixels is None:
        image = decode_image(data, name=name, max_bytes=max_bytes, max_pixels=max_pixels)
        pixels = resize(image, size)
    return pixels


def _fast_jpeg(
    data: bytes, size: int, max_bytes: int, max_pixels: int
) -> npt.NDArray[np.uint8] | None:
    """Pixels (size, size, 3) of a JPEG that is whole, plain and large; None: take the slow way."""
    if not data.startswith(b"\xff\xd8\xff") or len(data) > max_bytes or too_many_scans(data):
        return None
    import simplejpeg
    import torch

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:  # the slow way says what is wrong
        return None
    plain = colours in ("RGB", "YCbCr", "Gray")
    if not plain or min(width, height) < size or too_large(width, height, max_pixels):
        return None
    # Of the eighths that a decoder offers, these alone have vector code: 5/8 takes longer than 8/8.
    eighths = next(n for n in (1, 2, 4, 8) if min(width, height) * n >= 8 * size * SPARE or n == 8)
    least = {} if eighths == 8 else {
        "min_height": -(-height * eighths // 8), "min_width": -(-width * eighths // 8),
    }  # fmt: skip
    try:
        # strict: what is cut short or damaged is left to the slow way, which tells it by kind
        pixels = simplejpeg.decode_jpeg(data, "RGB", fastupsample=True, **least)
    except ValueError:
        return None
    # The decoder rounds its size up: 533 at 4/8 are 266.5 rows in 267. Without the true scale the
    # picture would be shifted by a part of a pixel, which costs grey levels.
    scale = [8 * size / (full * eighths) for full in (height, width)]
    there = torch.from_numpy(pixels[None]).permute(0, 3, 1, 2)
    result: npt.NDArray[np.uint8] = np.empty((1, size, size, 3), np.uint8)
    # Pillow's filter on bytes. `interpolate` would make planes of it, to be turned back again.
    torch.ops.aten._upsample_bicubic2d_aa.out(
        there, [size, size], False, *scale, out=torch.from_numpy(result).permute(0, 3, 1, 2)
    )
    head = data[: data.find(b"\xff\xda")]  # up to the scan: the rest is long, and pixels
    if b"Exif\0" in head or b":Orientation" in head:
        turn = _turn(data)
        if turn is not None:
            return np.array(Image.fromarray(result[0]).transpose(turn), dtype=np.uint8)
    return result.reshape(size, size, 3)


def _turn(data: bytes) -> Image.Transpose | None:
    """What sets a JPEG upright, by its EXIF or XMP."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as header:
            return _UPRIGHT.get(_orientation(header))
    except Exception:  # it was decoded all the same
        return None


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow would clip at 255: a 16-bit scan would come out white.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "La":  # premultiplied; it converts to its plain twin only
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        found: Any = image.getexif().get(_ORIENTATION, 1)
        return int(found)
    except Exception:  # broken EXIF does not make a picture unusable
        return 1


def _broken(name: str, error: Exception) -> BadImage:
    if isinstance(error, BadImage):
        return error
    if isinstance(error, TooManyPieces):
        return BadImage("unreadable", f"{name} has {error}: save it anew")
    text = " ".join(str(error).split()) or type(error).__name__
    short = any(sign in text.lower() for sign in ("truncated", "broken data stream", "not enough"))
    if short or isinstance(error, EOFError):
        return BadImage(
            "truncated", f"{name} is cut short ({text}): fetch it again or leave it out"
        )
    return BadImage("unreadable", f"{name} cannot be read ({text}): give another image")


def is_heif(data: bytes) -> bool:
    """Whether a file begins as HEIC or HEIF, which phones write."""
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS


@functools.cache
def picture_suffixes() -> tuple[str, ...]:
    """The suffixes of pictures, in lower case: Pillow's, and HEIC's.

    Those of rare formats that are not decoded are among them, and HEIC's without the package that
    reads it: such a file is a picture that cannot be read, which is told.
    """
    Image.init()
    known = Image.registered_extensions()
    stills = (end for end, name in known.items() if name in Image.OPEN and name not in _NO_PICTURES)
    return tuple(sorted({*stills, *HEIF_SUFFIXES}))


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that can be decoded here, by Pillow's names."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return tuple(
        name for name in FORMATS if name in Image.OPEN
    )  # AVIF and others are build options
