"""Image payloads: every encoding gives the same colours, and every broken image one sentence."""

from __future__ import annotations

import array
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import ImageError
from vpr_ros.base.image_messages import (
    ENCODINGS,
    _cv_bridge,
    annotate,
    decode_compressed,
    decode_image,
    decode_message,
    demosaic,
)

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


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_planar_colours(encoding: str, colour: tuple[int, int, int]) -> None:
    """Jetson's cameras send NV12, Android's NV21: exchanged, red is blue. Rows may be padded."""
    luma, u, v = (
        int(value) for value in encode(flat(colour), "yuv422").reshape(HEIGHT, WIDTH, 2)[0, :2].ravel()[[1, 0, 2]]
    )
    rows = np.full((HEIGHT * 3 // 2, WIDTH + 6), 99, np.uint8)
    rows[:HEIGHT, :WIDTH] = luma
    rows[HEIGHT:, 0:WIDTH:2], rows[HEIGHT:, 1:WIDTH:2] = (u, v) if encoding == "nv12" else (v, u)
    image = decode_image(encoding, HEIGHT, WIDTH, WIDTH + 6, rows.tobytes())
    np.testing.assert_allclose(image.reshape(-1, 3).astype(int).mean(0), colour, atol=8)
    with pytest.raises(ImageError, match="sizes do not agree"):
        decode_image(encoding, HEIGHT, WIDTH, WIDTH + 6, rows[:-1].tobytes())


def twelve_bits() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint16 RGB: red grows to the right, green downwards, all below 4096."""
    image = np.full((HEIGHT, WIDTH, 3), 2000, np.uint16)
    image[..., 0] = np.linspace(0, 4095, WIDTH)[None]
    image[..., 1] = np.linspace(0, 4095, HEIGHT)[:, None]
    return image


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16", "16UC3", "16UC4"])
def test_sixteen_bit_colours_keep_their_order(encoding: str, big: bool) -> None:
    """All channels are stretched together, so that colours stay, and alpha has no say in it."""
    image = twelve_bits() if encoding.startswith("rgb") else twelve_bits()[..., ::-1]
    if encoding in ("rgba16", "bgra16", "16UC4"):
        image = np.dstack([image, np.full((HEIGHT, WIDTH), 65535, np.uint16)])
    data = image.astype(">u2" if big else "<u2")
    decoded = decode_image(encoding, HEIGHT, WIDTH, data[0].nbytes, data.tobytes(), big)
    np.testing.assert_allclose(decoded, twelve_bits() / 4095 * 255, atol=4)


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
        (("32FC1", 4, 4, 16, bytes(64)), "unknown image encoding '32FC1'"),
        (("", 4, 4, 16, bytes(64)), "unknown image encoding"),
        (("nv12", 3, 4, 4, bytes(16)), "cannot be nv12"),
        (("rgb8", 2**32 - 1, 2**32 - 1, 2**32 - 1, bytes(64)), "sizes do not agree"),
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
    with pytest.raises(ImageError, match=r"^street\.jpg: the image is empty"):
        annotate(lambda: decode_compressed(b""), "street.jpg")


def png(image_bgr: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image_bgr)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_files_are_not_black(suffix: str) -> None:
    """A 12-bit camera's PNG, cut to its upper 8 bits, is nearly black; stretched as mono16 and rgb16 are, it is not."""
    colour = decode_compressed(png(twelve_bits()[..., ::-1], suffix), "rgb16; png compressed bgr16")
    np.testing.assert_allclose(colour, twelve_bits() / 4095 * 255, atol=4)
    grey16 = np.ascontiguousarray(twelve_bits()[..., 0])
    grey = decode_compressed(png(grey16, suffix), "mono16; png compressed ")
    np.testing.assert_array_equal(grey, decode_image("mono16", HEIGHT, WIDTH, 2 * WIDTH, grey16.tobytes()))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER)
def test_compressed_mosaics_become_colour(pattern: str, bits: int) -> None:
    """image_transport compresses a mosaic as grey: only the format says what it is. The raw message is the measure."""
    mosaic = mosaic_of(np.repeat(flat(RED)[:, : WIDTH // 2], 2, axis=1) // np.uint8(2), pattern)
    mosaic = mosaic if bits == 8 else mosaic.astype(np.uint16) << 4
    name = f"bayer_{pattern}{bits}"
    raw = decode_image(name, HEIGHT, WIDTH, mosaic[0].nbytes, mosaic.tobytes())
    np.testing.assert_array_equal(decode_compressed(png(mosaic), f"{name}; png compressed "), raw)
    assert raw[5, 5, 0] > 2 * raw[5, 5, 1]
    assert np.ptp(decode_compressed(png(mosaic), "mono8; png compressed ")[5, 5]) == 0
    already = decode_compressed(png(flat(RED)[..., ::-1]), f"{name}; jpeg compressed bgr8")
    np.testing.assert_array_equal(already, flat(RED))


def test_messages_of_both_kinds_give_the_same_pixels() -> None:
    """The node, replay and map build all decode by decode_message, raw or compressed."""
    raw = SimpleNamespace(
        encoding="bgr8",
        height=HEIGHT,
        width=WIDTH,
        step=3 * WIDTH,
        is_bigendian=0,
        data=flat(BLUE)[..., ::-1].tobytes(),
    )
    compressed = SimpleNamespace(format="bgr8; png compressed bgr8", data=png(flat(BLUE)[..., ::-1]))
    np.testing.assert_array_equal(decode_message(raw), decode_message(compressed))
    for other in (SimpleNamespace(data=b""), SimpleNamespace(**{**vars(raw), "height": "4"})):
        with pytest.raises(ImageError, match="not a sensor_msgs Image"):  # a bag may define the type as it likes
            decode_message(other)


@pytest.mark.parametrize(
    ("data", "format", "says"),
    [
        (b"\0" * 12 + b"\x89PNG", "16UC1; compressedDepth png", "a depth image .* cannot be used"),
        (b"\0\0\0\1\x67" * 9, "h264", "not JPEG, PNG.*'h264'"),
        (png(np.ones((4, 4), np.float32), ".tiff"), "", "float32 pixels"),
        (b"P6 60000 60000 255\n" + bytes(100), "", "too large: 60000 x 60000"),
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 2**31 - 1, -(2**31)) + bytes(90), "", "too large"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(60) + b"\xff\xd9", "", "too large: 65535 x 65535"),
    ],
)
def test_other_payloads_are_one_sentence(data: bytes, format: str, says: str) -> None:
    """What is no picture, and what claims more pixels than any camera has: nothing is allocated for it."""
    with pytest.raises(ImageError, match=says) as caught:
        decode_compressed(data, format)
    assert "\n" not in str(caught.value)


def test_a_png_bomb_is_not_unpacked() -> None:
    """A hundred kilobytes that claim 2.7 GB."""
    row = zlib.compress(bytes(1 + 3 * 30000))
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="too large: 30000 x 30000"):
        decode_compressed(bomb)


def test_files_are_taken_as_they_are_seen(tmp_path: Path) -> None:
    """Map and query, folder, bag and node agree on phones' rotated pictures, alpha, black and white, several pages."""
    image = street(48, 64)
    whole = decode_compressed(png(image))
    assert np.array_equal(decode_compressed(png(np.dstack([image, np.full((48, 64), 9, np.uint8)]))), whole)
    bilevel = cv2.imencode(".png", image[..., 0], [cv2.IMWRITE_PNG_BILEVEL, 1])[1]
    assert set(np.unique(decode_compressed(bilevel))) == {0, 255}
    assert cv2.imwritemulti(str(tmp_path / "pages.tiff"), [image, 255 - image])
    assert np.array_equal(decode_compressed((tmp_path / "pages.tiff").read_bytes()), whole)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    turned = struct.pack("<2sHI HHHIHH I", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0, 0)  # one tag: a quarter turn clockwise
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(turned)) + b"Exif\0\0" + turned
    for end in (None, -2):  # with its end marker and without
        rotated = decode_compressed((jpeg[:2] + exif + jpeg[2:])[:end])
        assert np.array_equal(rotated, np.rot90(decode_compressed(jpeg), -1))


# -- JPEGs without an end marker

JPEGS = {
    "plain": [],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 40],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "progressive, restarts": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
}
if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):  # OpenCV 4.7
    JPEGS["4:4:4"] = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]


def street(height: int = 70, width: int = 90) -> np.ndarray:
    """Smooth above, noise below, so that each row costs bytes of its own."""
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (width, height))
    image[height // 2 :] = rng.integers(0, 255, (height - height // 2, width, 3), np.uint8)
    return image


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_whole_jpeg_without_its_end_marker_is_read(kind: str, grey: bool) -> None:
    """Some cameras leave it out, or half of it, pad with zeros or ones, or begin the next image at once."""
    image = street()[..., 0] if grey else street()
    data = cv2.imencode(".jpg", image, JPEGS[kind])[1].tobytes()
    whole = decode_compressed(data)
    for tail in (b"", b"\xff", bytes(5), bytes(500), b"\xff" * 40, data):
        np.testing.assert_array_equal(decode_compressed(data[:-2] + tail), whole)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_truncated_jpeg_is_never_half_grey(kind: str) -> None:
    """Wherever it ends, at a restart, between two scans, padded or not: refused, or the same pixels."""
    data = cv2.imencode(".jpg", street(), JPEGS[kind])[1].tobytes()
    whole = decode_compressed(data)
    marks = {at + k for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] for k in (-1, 0, 1, 2)}
    refused = 0
    for cut in sorted({*range(2, len(data) - 2, 97), *range(len(data) - 12, len(data) - 2), *marks}):
        for tail in (b"", bytes(300)):
            try:
                np.testing.assert_array_equal(decode_compressed(data[:cut] + tail), whole)
            except ImageError:
                refused += 1
    assert refused > 100


# -- cv_bridge


def test_cv_bridge_agrees() -> None:
    """What ROS's own nodes see of an encoding is what the map sees; and where ours ends, cv_bridge's begins."""
    tools = _cv_bridge()
    if tools is None:
        pytest.skip("cv_bridge is not installed: it comes with ROS")
    bridge, make = tools
    rng = np.random.default_rng(0)
    for encoding in ENCODINGS:
        if "16" in encoding or encoding.startswith("nv"):
            continue  # cv_bridge divides by 256, and has no nv12
        size = {"mono8": 1, "8UC1": 1, "8UC4": 4}.get(
            encoding, 1 if "bayer" in encoding else 4 if "a8" in encoding else 3
        )
        size = 2 if "yu" in encoding or "uy" in encoding else size
        data = rng.integers(0, 255, HEIGHT * WIDTH * size, np.uint8).tobytes()
        message = make(height=HEIGHT, width=WIDTH, encoding=encoding, step=WIDTH * size, is_bigendian=0)
        message.data = data
        try:
            theirs = bridge.imgmsg_to_cv2(message, "rgb8")
        except Exception:  # older ones lack names of newer ROS
            continue
        ours = decode_image(encoding, HEIGHT, WIDTH, WIDTH * size, data)
        inside = np.s_[2:-2, 2:-2]
        np.testing.assert_allclose(ours[inside].astype(int), theirs[inside].astype(int), atol=2, err_msg=encoding)


def test_unknown_encodings_are_handed_to_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bridge of the same calls: ours is not installed everywhere. What it cannot read is one sentence."""

    class Bridge:
        def imgmsg_to_cv2(self, message: SimpleNamespace, desired: str) -> np.ndarray:
            if message.encoding != "nv24":
                raise TypeError("Unrecognized image encoding")
            return np.full((message.height, message.width, 3), len(message.data), np.uint8)

    monkeypatch.setattr("vpr_ros.base.image_messages._cv_bridge", lambda: (Bridge(), SimpleNamespace))
    assert decode_image("nv24", 4, 4, 4, bytes(48))[0, 0, 0] == 48
    with pytest.raises(ImageError, match="cv_bridge cannot read it: Unrecognized"):
        decode_image("32FC1", 4, 4, 16, bytes(64))
