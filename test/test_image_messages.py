"""Image payloads: every encoding gives the same colours, and every broken image one sentence."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest

from vpr_ros.errors import ImageError
from vpr_ros.image_messages import annotate, decode_compressed, decode_image, demosaic

HEIGHT, WIDTH = 24, 32
RED, GREEN, BLUE = (220, 30, 20), (25, 200, 40), (15, 35, 210)
BAYER = {"rggb": "RG/GB", "bggr": "BG/GR", "gbrg": "GB/RG", "grbg": "GR/BG"}


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def mosaic_of(image_rgb: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor with this filter sees, built from the pattern's definition, not from OpenCV."""
    out = np.empty(image_rgb.shape[:2], np.uint8)
    for row, letters in enumerate(BAYER[pattern].split("/")):
        for column, letter in enumerate(letters):
            out[row::2, column::2] = image_rgb[row::2, column::2, "RGB".index(letter)]
    return out


def encode(image_rgb: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) RGB -> (H, row bytes) as a camera driver would send it."""
    if encoding == "rgb8":
        pixels = image_rgb
    elif encoding in ("bgr8", "8UC3"):
        pixels = image_rgb[..., ::-1]
    elif encoding in ("rgba8", "bgra8"):
        order = image_rgb if encoding == "rgba8" else image_rgb[..., ::-1]
        pixels = np.dstack([order, np.full(image_rgb.shape[:2], 7, np.uint8)])
    elif encoding.startswith("bayer"):
        pixels = mosaic_of(image_rgb, encoding[6:10])
    else:
        red, green, blue = np.moveaxis(image_rgb / 255, 2, 0)  # BT.601, studio range, as video cameras send it
        luma = (16 + 65.481 * red + 128.553 * green + 24.966 * blue).round().astype(np.uint8)
        u = 128 - 37.797 * red - 74.203 * green + 112 * blue
        v = 128 + 112 * red - 93.786 * green - 18.214 * blue
        chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v).round().astype(np.uint8)
        pixels = np.dstack([luma, chroma] if encoding == "yuv422_yuy2" else [chroma, luma])
    return np.ascontiguousarray(pixels).reshape(HEIGHT, -1)


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE])
@pytest.mark.parametrize("padding", [0, 12])
@pytest.mark.parametrize(
    "encoding",
    ["rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "yuv422", "yuv422_yuy2", *(f"bayer_{p}8" for p in BAYER)],
)
def test_colours_survive_every_encoding(encoding: str, padding: int, colour: tuple[int, int, int]) -> None:
    """Swapped channels or a shifted mosaic would cost recall silently; rows may be padded."""
    rows = encode(flat(colour), encoding)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    image = decode_image(encoding, HEIGHT, WIDTH, padded.shape[1], padded.tobytes())
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    np.testing.assert_allclose(image[2:-2, 2:-2].astype(int).mean((0, 1)), colour, atol=8)


def test_rgb8_is_not_copied() -> None:
    """The node's hot path: the commonest encoding costs nothing."""
    data = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8)
    assert np.shares_memory(decode_image("rgb8", HEIGHT, WIDTH, WIDTH * 3, data), data)


def test_data_may_be_any_buffer() -> None:
    """rclpy gives array.array, rosbags ndarray, others bytes."""
    image = flat(RED)
    for data in (image.tobytes(), bytearray(image.tobytes()), array.array("B", image.tobytes()), image.ravel()):
        np.testing.assert_array_equal(decode_image("rgb8", HEIGHT, WIDTH, WIDTH * 3, data), image)


def test_mono8_is_grey() -> None:
    ramp = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    image = decode_image("mono8", HEIGHT, WIDTH, WIDTH, ramp.tobytes())
    np.testing.assert_array_equal(image, np.dstack([ramp] * 3))


@pytest.mark.parametrize("big", [False, True])
def test_mono16_of_a_12_bit_camera_is_not_black(big: bool) -> None:
    """Twelve bits in sixteen, divided by 256, would be nearly black; byte order counts."""
    ramp = np.tile(np.linspace(0, 4095, WIDTH).astype(">u2" if big else "<u2"), (HEIGHT, 1))
    image = decode_image("mono16", HEIGHT, WIDTH, WIDTH * 2, ramp.tobytes(), big)
    assert image[0, 0, 0] == 0 and image[0, -1, 0] == 255
    assert np.all(np.diff(image[0, :, 0].astype(int)) >= 0)
    flat16 = np.full((HEIGHT, WIDTH), 0x8000, ">u2" if big else "<u2")
    assert np.all(decode_image("mono16", HEIGHT, WIDTH, WIDTH * 2, flat16.tobytes(), big) == 0x80)


def test_demosaic_keeps_edges_where_they_are() -> None:
    """A pattern off by one pixel shows as colour on a coloured edge."""
    image = flat(RED)
    image[:, WIDTH // 2 :] = BLUE
    for pattern in BAYER:
        error = np.abs(demosaic(mosaic_of(image, pattern), pattern).astype(int) - image)
        assert error[2:-2, 2 : WIDTH // 2 - 2].max() <= 2 and error[2:-2, WIDTH // 2 + 2 : -2].max() <= 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("rgb8", 0, 0, 0, b""), "empty"),
        (("rgb8", 4, 4, 12, b""), "sizes do not agree"),
        (("rgb8", 4, 4, 12, bytes(47)), "sizes do not agree"),
        (("rgb8", 4, 4, 8, bytes(32)), "sizes do not agree"),
        (("mono16", 4, 4, 4, bytes(16)), "sizes do not agree"),
        (("32FC1", 4, 4, 16, bytes(64)), "'32FC1' is not known"),
        (("", 4, 4, 16, bytes(64)), "not known"),
        (("yuv422", 4, 3, 6, bytes(24)), "cannot be yuv422"),
        (("rgb8", 4, 4, 12, ["a"]), "not bytes"),
    ],
)
def test_broken_images_are_refused_in_one_sentence(arguments: tuple, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        decode_image(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images(suffix: str) -> None:
    """Colours in order; padding after the end is allowed; half an image is refused, which OpenCV does not do."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (320, 240))
    image[:40] = RED
    data = cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
    decoded = decode_compressed(data)
    np.testing.assert_allclose(decoded[:30].astype(int).mean((0, 1)), RED, atol=4)
    np.testing.assert_array_equal(decode_compressed(data + b"\0" * 16), decoded)
    np.testing.assert_array_equal(decode_compressed(array.array("B", data)), decoded)
    with pytest.raises(ImageError, match="truncated"):
        decode_compressed(data[: len(data) // 2])


def test_a_thumbnail_does_not_hide_a_truncated_jpeg() -> None:
    """Embedded thumbnails carry an end marker of their own."""
    small = cv2.imencode(".jpg", flat(RED))[1].tobytes()
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
    with_thumbnail = data[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + data[2:]
    decode_compressed(with_thumbnail)
    with pytest.raises(ImageError, match="truncated"):
        decode_compressed(with_thumbnail[:-200])


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff\xd9", array.array("B")])
def test_what_is_no_image_is_refused(data: object) -> None:
    with pytest.raises(ImageError):
        decode_compressed(data)


def test_annotate_names_the_file() -> None:
    with pytest.raises(ImageError, match=r"^street\.jpg: the compressed image is empty"):
        annotate(lambda: decode_compressed(b""), "street.jpg")
