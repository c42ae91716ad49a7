"""Decoding: every mode ends as RGB on white, upright; every kind of broken file has its name."""

import contextlib
import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.pictures import encode
from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, decode_image, has_more_frames, resize, to_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def photo(size=(40, 30)):
    """A smooth picture that a JPEG keeps nearly as it is."""
    y, x = np.mgrid[: size[1], : size[0]]
    channels = [x * 255 // size[0], y * 255 // size[1], np.full_like(x, 60)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG", "WEBP"])
def test_common_formats(kind):
    found = decode_image(encode(photo(), kind))
    assert (found.mode, found.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(found).astype(int) - np.asarray(photo())).mean() < 8


def test_lossless_files_keep_every_pixel():
    assert np.array_equal(decode_image(encode(photo())), photo())


# Transparency


def half_clear(mode):
    """Left pixel transparent, right one opaque red (black in grey modes)."""
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (*RED, 255))
    return image.convert("LA") if mode == "LA" else image


def test_rgba_stands_on_white():
    found = decode_image(encode(half_clear("RGBA")))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [WHITE, RED]


def test_half_transparency_is_blended():
    found = decode_image(encode(Image.new("RGBA", (1, 1), (0, 0, 0, 128))))
    assert found.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)


def test_grey_with_alpha_stands_on_white():
    found = decode_image(encode(half_clear("LA")))
    assert found.getpixel((0, 0)) == WHITE
    assert found.getpixel((1, 0)) == (76, 76, 76)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_transparency_stands_on_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    found = decode_image(encode(image, kind, transparency=0))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [WHITE, RED]


def test_a_palette_with_several_alphas():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((1, 0), 1)
    found = decode_image(encode(image, transparency=bytes([128, 255])))
    assert found.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)
    assert found.getpixel((1, 0)) == RED


@pytest.mark.parametrize(("mode", "clear", "rest"), [("L", 7, 0), ("RGB", (1, 2, 3), RED)])
def test_a_transparent_colour_stands_on_white(mode, clear, rest):
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), rest)
    found = decode_image(encode(image, transparency=clear))
    assert found.getpixel((0, 0)) == WHITE
    assert found.getpixel((1, 0)) == ((0, 0, 0) if mode == "L" else RED)


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_images_of_the_api(mode):
    source = half_clear("RGBA" if mode == "RGBa" else "LA").convert(mode)
    assert to_rgb(source).getpixel((0, 0)) == WHITE


# Modes


def test_16_bits_are_scaled_not_clipped():
    levels = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    found = decode_image(encode(Image.fromarray(levels)))
    assert [found.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


@pytest.mark.parametrize("mode", ["I", "I;16B"])
def test_16_bits_in_other_modes(mode):
    levels = np.array([[0, 257 * 100, 65535]], dtype=np.int32 if mode == "I" else ">u2")
    image = Image.frombytes(mode, (3, 1), levels.tobytes())
    assert np.asarray(to_rgb(image))[0, :, 1].tolist() == [0, 100, 255]


def test_cmyk_jpeg():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = decode_image(encode(image, "JPEG", quality=95))
    assert found.mode == "RGB"
    assert found.getpixel((8, 8)) == pytest.approx((254, 0, 0), abs=12)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
)
def test_every_mode_ends_as_rgb(mode):
    image = Image.new(mode, (3, 2))
    found = to_rgb(image)
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert image.mode == mode


def test_the_callers_image_is_not_shared():
    image = Image.new("RGB", (2, 2), RED)
    to_rgb(image).putpixel((0, 0), WHITE)
    assert image.getpixel((0, 0)) == RED


# Frames and orientation


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, (0, 0, 255), (0, 255, 0))]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert decode_image(data).getpixel((4, 4)) == pytest.approx(RED, abs=6)
    assert has_more_frames(data)
    assert not has_more_frames(encode(frames[0], kind))
    assert not has_more_frames(b"no picture")


def test_pages_of_a_scan_are_frames_and_previews_of_a_camera_are_not():
    picture = Image.new("RGB", (8, 8), RED)
    assert has_more_frames(encode(picture, "TIFF", save_all=True, append_images=[picture]))
    camera = encode(picture, "MPO", save_all=True, append_images=[picture])
    assert Image.open(io.BytesIO(camera)).is_animated
    assert not has_more_frames(camera)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """Against what Pillow's own transposition gives."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_image(data), expected)
    assert np.array_equal(to_rgb(Image.open(io.BytesIO(data))), expected)
    assert np.array_equal(to_rgb(expected), expected)  # not turned twice
    assert np.array_equal(to_rgb(decode_image(data)), expected)
    assert np.array_equal(to_rgb(to_rgb(Image.open(io.BytesIO(data)))), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_broken_picture():
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff\x01\x02"
    assert decode_image(encode(photo(), "JPEG", exif=exif)).size == (40, 30)


# Bad files


def kind_of(data, **limits):
    with pytest.raises(BadImage) as caught:
        decode_image(data, name="row 7", **limits)
    assert isinstance(caught.value, R2D2Error)
    assert str(caught.value).startswith("row 7 ")
    assert "\n" not in str(caught.value)
    return caught.value.kind


def test_empty():
    assert kind_of(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"<html>404 Not Found</html>",
        "没有图片".encode(),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",  # an interpreter's food
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
    ],
)
def test_unreadable(data):
    assert kind_of(data) == "unreadable"


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA"])
def test_formats_off_the_list_are_not_even_tried(kind):
    assert kind_of(encode(photo(), kind)) == "unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated(kind):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    # A WebP says its length at the front, so its decoder does not even start; a TIFF's directory
    # stands at its end.
    expected = {"WEBP": ("truncated", "unreadable"), "TIFF": ("truncated", "unreadable")}
    assert kind_of(data[: len(data) // 2]) in expected.get(kind, ("truncated",))


def test_a_truncated_image_of_the_api():
    data = encode(photo((200, 200)), "JPEG")
    with pytest.raises(BadImage) as caught:
        to_rgb(Image.open(io.BytesIO(data[: len(data) // 2])))
    assert caught.value.kind == "truncated"


def test_a_damaged_chunk():
    data = bytearray(encode(photo()))
    data[60] ^= 0xFF  # within the compressed pixels: the checksum no longer fits
    assert kind_of(bytes(data)) in ("unreadable", "truncated")


def bomb(width, height):
    """A PNG of some hundred bytes that claims width x height pixels."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs(side):
    assert kind_of(bomb(side, side)) == "too large"


def test_limits_are_settings():
    data = encode(photo())
    assert kind_of(data, max_bytes=len(data) - 1) == "too large"
    assert kind_of(data, max_pixels=40 * 30 - 1) == "too large"
    assert decode_image(data, max_bytes=len(data), max_pixels=40 * 30).size == (40, 30)


def test_what_is_no_pillow_image():
    with pytest.raises(R2D2Error, match=r"str: give a PIL\.Image"):
        to_rgb("cat.jpg")
    with pytest.raises(BadImage, match="no pixels"):
        to_rgb(Image.new("RGB", (0, 4)))


def test_a_bad_image_crosses_processes():
    error = pickle.loads(pickle.dumps(BadImage("empty", "row 7 is empty")))
    assert (error.kind, str(error)) == ("empty", "row 7 is empty")


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
)
def test_no_bytes_raise_anything_but_bad_image(data, magic):
    with contextlib.suppress(BadImage):
        decode_image(magic + data)


# Resize


def test_resize_squeezes_the_whole_picture():
    image = photo((60, 20))
    found = resize(image, 16)
    assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
    assert np.array_equal(found, np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)))
    assert found[:, 0, 0].max() < found[:, -1, 0].min()


def test_resize_to_the_same_size_is_a_copy():
    image = photo((24, 24))
    found = resize(image, 24)
    assert np.array_equal(found, image)
    found[:] = 0
    assert np.asarray(image).any()


def test_reading_a_file(tmp_path, caplog):
    import logging

    from r2d2.errors import R2D2Error
    from r2d2.images.decode import MAX_BYTES, read_image

    Image.new("RGB", (3, 2), (9, 9, 9)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (3, 2)
    with pytest.raises(R2D2Error, match="No such file"):
        read_image(tmp_path / "none.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: nothing of it is read
    with pytest.raises(BadImage, match="smaller file"):
        read_image(tmp_path / "huge.png")
    frames = [Image.new("L", (4, 4), value) for value in (0, 90)]
    frames[0].save(tmp_path / "move.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.INFO):
        read_image(tmp_path / "move.gif")
    assert "more frames than one" in caplog.text
