"""Files made to cost more than they look: refused before a decoder starts or a parser runs long."""

import random
import struct
import zlib

import pytest
from PIL import GifImagePlugin, Image, ImageFile

from helpers.calls import watched
from helpers.pictures import encode
from r2d2.images.decode import BadImage, decode_image, decode_resized, has_more_frames
from r2d2.images.limits import MAX_SIDE, PieceReader


def chunk(kind, data=b""):
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(width, height, interlaced=0, extra=b"", depth=8, colour=0):
    """A PNG whose header says its size; of its pixels there is a row at most."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND")


def bmp(width, height, compression=0, data=b""):
    size = 54 + 1024 + len(data)
    head = b"BM" + struct.pack("<IHHI", size, 0, 0, 54 + 1024)
    info = (40, width, height, 1, 8, compression, len(data), 0, 0, 256, 0)
    return head + struct.pack("<IiiHHIIiiII", *info) + bytes(1024) + data


def gif(width, height):
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00;"
    return b"GIF89a" + screen + frame


def ico(inner, width=0, height=0):
    """An icon that says 256 x 256 (as 0) and holds a picture of another size."""
    entry = struct.pack("<BBBBHHII", width, height, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


@pytest.fixture
def decoders(monkeypatch):
    """The decoders that were started, by name."""
    started = []

    def load(self, *rest):
        started.append(self.format)
        return original(self, *rest)

    original = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    return started


LONG = 31_000_000
THIN = {
    "png": png(LONG, 1),
    "tall png": png(1, LONG),
    "interlaced png": png(LONG, 1, interlaced=1),
    "interlaced tall png": png(1, LONG, interlaced=1),
    "png of one bit": png(LONG, 1, depth=1),
    "bmp": bmp(LONG, 1),
    "tall bmp": bmp(1, LONG),
    "tiff": encode(Image.new("1", (LONG, 1)), "TIFF", compression="group4"),
    "ppm": b"P6 31000000 1 255\n",
    "jpeg 2000": b"\xff\x4f\xff\x51"
    + struct.pack(">HHIIIIIIIIHBBB", 41, 0, LONG, 1, 0, 0, LONG, 1, 0, 0, 1, 7, 1, 1),
    "just too long": png(MAX_SIDE + 1, 1),
}
LARGE = {
    "png": png(13_000, 13_000),
    "interlaced png": png(8_000, 8_001, interlaced=1),
    "gif": gif(65_000, 65_000),
    "webp": encode(Image.new("L", (16_000, 4_001)), "WEBP", method=0),
    "icon": ico(png(8_000, 8_001)),
    "icon that says it is small": ico(png(8_000, 8_001), 16, 16),
}


@pytest.mark.parametrize("data", THIN.values(), ids=THIN)
def test_a_side_that_no_picture_has(data, decoders):
    """Resizing a row of 31 million pixels took seconds; its number of pixels is allowed."""
    with pytest.raises(BadImage, match=f"{MAX_SIDE}") as caught:
        decode_image(data)
    assert caught.value.kind == "too large"
    with pytest.raises(BadImage, match=f"{MAX_SIDE}"):
        decode_resized(data, 72)
    assert decoders == []


def test_the_longest_side_is_decoded():
    assert decode_image(encode(Image.new("L", (MAX_SIDE, 1)))).size == (MAX_SIDE, 1)


@pytest.mark.parametrize("data", LARGE.values(), ids=LARGE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels(data, decoders):
    with pytest.raises(BadImage) as caught:
        decode_image(data)
    assert caught.value.kind == "too large"
    assert decoders == []


MANY = {
    "png of empty chunks": png(8, 8, extra=chunk(b"prVt") * 300_000),
    "png of short texts": png(8, 8, extra=chunk(b"tEXt", b"k\0v") * 300_000),
    "png of texts that swell": png(
        8, 8, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 2_000
    ),
    "jpeg of padding": b"\xff\xd8" + b"\xff" * 3_000_000,
    "jpeg of markers": b"\xff\xd8" + b"\xff\xe5\0\2" * 1_000_000,
    "gif of comments": b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"!\xfe\0" * 1_000_000,
    "gif of a long comment": b"GIF89a"
    + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    + b"!\xfe"
    + b"\1x" * 1_000_000,
    "icon of many entries": struct.pack("<HHH", 0, 1, 65_535) + bytes(16) * 65_535,
    "jpeg 2000 of boxes": b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 8, b"free") * 300_000,
}


@pytest.mark.parametrize("data", MANY.values(), ids=MANY)
def test_a_header_of_very_many_pieces(data):
    """Pillow reads it piece by piece, in Python: the number of reads is bounded by the size."""
    with watched(PieceReader.read) as reads, pytest.raises(BadImage):
        decode_image(data)
    assert reads
    assert len(reads) <= 1001 + len(data) // 128


def test_text_after_the_pixels_is_bounded_too():
    whole = encode(Image.new("L", (8, 8)))
    data = whole[:-12] + chunk(b"tEXt", b"k\0v") * 300_000 + whole[-12:]
    with pytest.raises(BadImage, match="pieces"):
        decode_image(data)


def test_ordinary_files_of_many_pieces_are_read():
    """Small pieces of pixels, as encoders write them, and texts of cameras."""
    noise = Image.effect_noise((1500, 1500), 90)
    raw = encode(noise, compress_level=1)
    assert decode_image(raw).size == (1500, 1500)
    head, pixels = raw[:33], b"".join(_idat(raw))
    small = b"".join(chunk(b"IDAT", pixels[n : n + 1024]) for n in range(0, len(pixels), 1024))
    assert decode_image(head + small + chunk(b"IEND")).getpixel((9, 9)) == (
        *[noise.getpixel((9, 9))] * 3,
    )
    comments = chunk(b"tEXt", b"Comment\0" + b"x" * 90) * 100
    assert decode_image(raw[:33] + comments + raw[33:]).size == (1500, 1500)
    assert decode_image(encode(noise, "GIF")).size == (1500, 1500)
    assert decode_image(encode(noise, "JPEG", progressive=True)).size == (1500, 1500)
    assert decode_image(encode(noise, "TIFF")).size == (1500, 1500)


def _idat(data):
    place = 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            yield data[place + 8 : place + 8 + length]
        place += 12 + length


def test_frames_are_not_walked_through(monkeypatch):
    """Of three thousand frames the first is read, and whether there is a second."""
    frames = [Image.new("L", (8, 8), n % 200) for n in range(3000)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    sought = []
    seek = GifImagePlugin.GifImageFile._seek

    def counted(self, frame, *rest, **options):
        sought.append(frame)
        return seek(self, frame, *rest, **options)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", counted)
    assert decode_image(data).size == (8, 8)
    assert has_more_frames(data)
    assert set(sought) <= {0, 1}
    assert len(sought) < 6


def tiff(strips, order="<"):
    """A TIFF of one pixel in so many strips, which all lie at one place."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1), (279, 1)]
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags]
    entries.append(struct.pack(f"{order}HHII", 273, 4, strips, 200))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(entries)) + b"".join(entries)
    return head.ljust(200, b"\0") + struct.pack(f"{order}I", 8) * strips


@pytest.mark.parametrize("order", ["<", ">"])
def test_strips_of_a_tiff(decoders, order):
    """Pillow makes a list of them when it opens the file."""
    with pytest.raises(BadImage, match="strips"):
        decode_image(tiff(300_000, order))
    assert decoders == []
    assert decode_image(encode(Image.new("L", (1, 40_000)), "TIFF", strip_size=1)).size[1] == 40_000


def test_scans_of_a_jpeg(decoders):
    """Each goes over all pixels again, in a few bytes."""
    whole = encode(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    data = whole[:last] + whole[last:-2] * 3_000 + whole[-2:]
    for call in (decode_image, lambda data: decode_resized(data, 8)):
        with pytest.raises(BadImage, match="scans"):
            call(data)
    assert decoders == []
    film = whole + random.Random(0).randbytes(9_000_000)  # some phones append one
    assert film.count(b"\xff\xda") > 20
    assert decode_image(film).size == (64, 64)


IN_PYTHON = {
    "plain ppm": b"P3 1100 1100 255\n" + b"1 " * 3 * 1100 * 1100,
    "ppm of 16 bits": b"P6 1100 1100 65535\n" + bytes(6 * 1100 * 1100),
    "bmp of runs": bmp(1100, 1100, 1, b"\1\1" * 1100 * 1100 + b"\0\1"),
    "bmp that does not advance": bmp(100, 100, 1, b"\0\2\0\0" * 5_000_000 + b"\0\1"),
}


@pytest.mark.parametrize("data", IN_PYTHON.values(), ids=IN_PYTHON)
def test_decoders_that_are_written_in_python(data, decoders):
    """They take a hundred times as long a pixel and hold up all other threads."""
    with pytest.raises(BadImage, match="save it as PNG") as caught:
        decode_image(data)
    assert caught.value.kind == "too large"
    assert decoders == []


def test_small_pictures_of_these_decoders():
    assert decode_image(b"P3 2 1 255\n9 9 9  1 2 3").getpixel((1, 0)) == (1, 2, 3)
    assert decode_image(b"P6 1 1 65535\n" + b"\x80\0" * 3).getpixel((0, 0)) == (128, 128, 128)
    assert decode_image(encode(Image.new("RGB", (1200, 1200)), "PPM")).size == (1200, 1200)
