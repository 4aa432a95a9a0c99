"""ImageDecoder against Pillow, over the formats, modes and options that files have."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest

import modelserve as ms

helper = pytest.importorskip("onnx.helper")
Image = pytest.importorskip("PIL.Image")

UINT8 = 2
SIZES = [(1, 1), (3, 2), (17, 9), (40, 23)]


@cache
def decoder(pixels: str) -> ms.Model:
    """A model that is the operator alone."""
    node = helper.make_node("ImageDecoder", ["file"], ["picture"], pixel_format=pixels)
    file = helper.make_tensor_value_info("file", UINT8, ["n"])
    picture = helper.make_tensor_value_info("picture", UINT8, ["h", "w", "c"])
    graph = helper.make_graph([node], "g", [file], [picture])
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ms.load(bytes(model.SerializeToString()))


def decoded(file: bytes, pixels: str = "RGB") -> np.ndarray:
    return decoder(pixels).run({"file": np.frombuffer(file, np.uint8)})["picture"]


def picture(size: tuple[int, int], mode: str, *, smooth: bool = True) -> Any:
    """A picture with slopes and edges, or of noise."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rgba = np.stack([x * 6, y * 9, x * y, 255 - x * 5], axis=-1) % 256
    if not smooth:
        rgba = np.random.RandomState(7).randint(0, 256, (height, width, 4))
    found = Image.fromarray(rgba.astype(np.uint8), "RGBA")
    return found.convert("RGB").convert(mode) if mode in ("1", "P", "CMYK") else found.convert(mode)


def check(image: Any, kind: str, most: int = 0, **options: Any) -> None:
    """Saves a picture and compares what is read of it, by at most `most` levels."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    file = stream.getvalue()
    read = Image.open(io.BytesIO(file))
    colours = np.asarray(read.convert("RGB")).astype(int)
    got = decoded(file)
    assert got.shape == colours.shape
    assert np.abs(got - colours).max() <= most
    assert np.array_equal(decoded(file, "BGR"), got[:, :, ::-1])
    gray = np.asarray(Image.fromarray(got).convert("L"))
    if read.mode in ("RGB", "RGBA", "P"):
        assert np.array_equal(decoded(file, "Grayscale")[:, :, 0], gray)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [20, 75, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_that_of_libjpeg_turbo(
    size: tuple[int, int], quality: int, progressive: bool
) -> None:
    for smooth in (True, False):
        for subsampling in (0, 1, 2):
            options = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
            check(picture(size, "RGB", smooth=smooth), "jpeg", **options)
        check(picture(size, "L", smooth=smooth), "jpeg", quality=quality, progressive=progressive)
    check(picture(size, "RGB"), "jpeg", quality=quality, optimize=True, restart_marker_blocks=2)
    check(picture(size, "CMYK"), "jpeg", most=1, quality=quality)


@pytest.mark.parametrize("size", SIZES)
def test_formats_without_loss(size: tuple[int, int]) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        check(picture(size, mode), "png")
    for mode in ("1", "L", "P", "RGB"):
        check(picture(size, mode), "bmp")
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            check(picture(size, mode), "tiff", compression=compression)
    for mode in ("1", "L", "RGB"):
        check(picture(size, mode), "ppm")
    for mode in ("RGB", "RGBA"):
        check(picture(size, mode), "webp", lossless=True, exact=True)
    for mode in ("L", "RGB"):
        check(picture(size, mode), "jpeg2000")


@pytest.mark.parametrize("size", SIZES)
def test_formats_with_loss(size: tuple[int, int]) -> None:
    for quality in (30, 90):
        check(picture(size, "RGB"), "webp", quality=quality)
    check(picture(size, "RGB"), "jpeg2000", most=1, irreversible=True)


def test_sixteen_bits_give_their_upper_half() -> None:
    wide = np.array([[0, 255, 256], [0x1234, 0xFEDC, 0xFFFF]], np.uint16)
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "png")
    assert np.array_equal(decoded(stream.getvalue(), "Grayscale")[:, :, 0], wide >> 8)


def test_what_is_no_picture_is_empty() -> None:
    stream = io.BytesIO()
    picture((40, 23), "RGB").save(stream, "gif")
    for file in (b"", b"\xff\xd8\xff", stream.getvalue()):
        assert decoded(file).shape == (0, 0, 3)
        assert decoded(file, "Grayscale").shape == (0, 0, 1)
