"""Image files and the data of compressed messages: JPEG, PNG, TIFF, BMP, WebP and PNM to pixels.

Two checks that OpenCV does not make: the size in the header, because a file of 100 kB can claim gigabytes; and whether
a JPEG is complete, because OpenCV returns missing rows as grey without an error.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np

from vpr_ros.base.errors import ImageError

KINDS = "JPEG, PNG, TIFF, BMP, WebP or PNM"
_MOST_PIXELS = 100_000_000
# Rotated by EXIF, the first of several pages, without alpha; grey stays (H, W), 16 bits stay 16 bits.
_AS_SEEN = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR

_PNG_END = b"IEND\xaeB`\x82"
_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15
_SEQUENTIAL = (0xC0, 0xC1)
_EXIF, _GPS, _LATITUDE = (0xE1, b"Exif\0\0"), 0x8825, 2  # marker and begin of a segment; tags of TIFF and of GPS
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # not stuffing, not padding, not a restart
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")


def read_pixels(data: bytes, flags: int = _AS_SEEN) -> np.ndarray:
    """An image file -> (H, W) grey or (H, W, 3) in OpenCV's BGR order, uint8 or uint16, rotated by EXIF.

    flags: of cv2.imdecode. Raises ImageError if the file is empty, truncated, damaged, of another format or larger than
    100 megapixels.
    """
    if not data:
        raise ImageError("the image is empty")
    size = _size(data)
    if size is None:
        raise ImageError(f"the image ({len(data)} bytes) is damaged or not {KINDS}")
    if size[0] * size[1] > _MOST_PIXELS:
        raise ImageError(f"the image is too large: {size[0]} x {size[1]} pixels, the limit is {_MOST_PIXELS:,} in all")
    if data.startswith(b"\x89PNG") and _PNG_END not in data[-64:]:  # cameras pad
        raise ImageError(f"the PNG is truncated: {len(data)} bytes without an end chunk")
    image = _jpeg(data, flags) if data.startswith(b"\xff\xd8") else _decode(data, flags)
    if image is None:
        raise ImageError(f"the image ({len(data)} bytes, {size[0]} x {size[1]} pixels) is damaged or truncated")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image has {image.dtype} pixels: save it with 8 or 16 bits a channel")
    return image


def has_position(data: bytes) -> bool:
    """Whether the EXIF data of a JPEG has a position on the earth. data: the first 64 kB of a file will do."""
    exif = next((payload[6:] for code, _, payload in _segments(data) if (code, payload[:6]) == _EXIF), b"")
    order = "<" if exif.startswith(b"II") else ">"
    try:
        whole = _tags(exif, order, *struct.unpack_from(order + "I", exif, 4))
        return _GPS in whole and _LATITUDE in _tags(exif, order, whole[_GPS])
    except struct.error:  # without EXIF data, or with an offset outside
        return False


def _tags(tiff: bytes, order: str, at: int) -> dict[int, int]:
    """Tag -> value or offset of a TIFF's directory at an offset."""
    (count,) = struct.unpack_from(order + "H", tiff, at)
    entries = (struct.unpack_from(order + "HHII", tiff, at + 2 + 12 * i) for i in range(count))
    return {tag: value for tag, _, _, value in entries}


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


# -- JPEG


def _jpeg(data: bytes, flags: int) -> np.ndarray | None:
    """Decode a JPEG that has an end marker, or all its rows without one. Raises ImageError if rows are missing.

    Some cameras leave out the end marker. A decoder ignores data after a complete image, but reads data after a
    truncated one as its next rows. So two opposite continuations must give the same pixels.
    """
    ends = ((code, at) for code, at, _ in _segments(data) if code in (_SOI, _EOI))
    code, at = next(ends, (_SOI, len(data)))  # the end of this image, or the begin of another
    if code == _EOI:
        return _decode(data, flags)
    data = data[:at]
    short = data.rstrip(b"\0")  # cameras pad
    ones = len(short) - len(short.rstrip(b"\xff"))
    short = (
        short + b"\0" if ones == 1 else short[: len(short) - ones]
    )  # a single one belongs to the scan, with its stuffing
    image = _whole(short, flags)
    if image is None and ones == 0 and 0 < len(data) - len(short) <= 16 and _whole(data[:-1], flags) is None:
        image = _whole(data, flags)  # the zeros belong to the scan
    if image is None:
        raise ImageError(f"the JPEG is truncated: {len(data)} bytes without an end marker, and rows are missing")
    return image


def _whole(body: bytes, flags: int) -> np.ndarray | None:
    """Decode a JPEG without its end marker; None if a part is missing."""
    if not _all_scans(body):
        return None
    first, *others = (_decode(body + more, flags) for more in _continuations(body))
    same = first is not None and all(other is not None and np.array_equal(first, other) for other in others)
    return first if same else None


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(marker, its offset, payload) of each segment of a JPEG after the first; scan data is skipped."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        code, at = found[1][0], found.end()
        size = 0 if code in (0x01, _SOI, _EOI) else max(2, int.from_bytes(data[at : at + 2], "big"))
        yield code, found.start(), data[at + 2 : at + size]
        at += size


def _all_scans(data: bytes) -> bool:
    """Whether the scans hold every coefficient of every component to its last bit (T.81, G.1.1)."""
    missing: set[tuple[int, int]] = set()
    sequential = True
    for code, _, payload in _segments(data):
        if code in _FRAMES and len(payload) >= 6:
            missing = {(component, k) for component in payload[6::3] for k in range(64)}
            sequential = code in _SEQUENTIAL
        elif code == _SOS and len(payload) >= 4:
            first, last, bits = (0, 63, 0) if sequential else payload[-3:]
            if bits & 15 == 0:
                missing -= {(component, k) for component in payload[1:-3:2] for k in range(first, last + 1)}
    return not missing


def _continuations(body: bytes) -> list[bytes]:
    """Data to append to a JPEG's scan: random bits and their opposite.

    A JPEG of several scans is decoded only up to its end marker, so that and a missing restart marker are appended.
    Others get neither if OpenCV rejects images that end early, because a marker after random bits causes a warning.
    """
    codes, scan = [], 0
    for code, at, _ in _segments(body):
        codes.append(code)
        scan = at
    bits = np.random.default_rng(0).integers(1, 255, 256, dtype=np.uint8)
    pair = [bits.tobytes(), (255 - bits).tobytes()]
    if codes.count(_SOS) == 1 and any(code in _SEQUENTIAL for code in codes) and _refuses_early_ends():
        return pair
    last = _RESTART.findall(body, scan)[-1:]
    restart = bytes([0xFF, 0xD0 + (last[0][0] + 1) % 8 if last else 0xD0]) if _DRI in codes else b""
    pair.append(pair[0][::-1])  # a refinement scan may be the same by chance
    pair.append(pair[1][::-1])
    return [some + restart + some + b"\xff\xd9" for some in pair]


@cache
def _refuses_early_ends() -> bool:
    """Whether OpenCV rejects data without an end marker: version 5 does, 4 leaves the missing rows as they are."""
    whole = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
    return _decode(whole[:-8], _AS_SEEN) is None


# -- sizes


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header; None if it is truncated or of no format in KINDS."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith((b"II", b"MM")):
            return _tiff_size(data)
        if data.startswith(b"BM"):
            small = struct.unpack_from("<I", data, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if small else "<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
        return _pnm_size(data)
    except (struct.error, OverflowError):  # an offset outside the data
        return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for code, _, payload in _segments(data):
        if code in _FRAMES:
            height, width = struct.unpack_from(">HH", payload, 1)
            return width, height
        if code == _SOS:
            break
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Of the first page, or of its tiles if they are larger."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at, entry = (at + 8, 20) if big else (at + 2, 12)
    sides = {256: 0, 257: 0, 322: 0, 323: 0}  # width, height, those of a tile
    for i in range(min(count, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, at + i * entry)
        if tag in sides:
            form = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            value = struct.unpack_from(order + form, data, at + i * entry + (12 if big else 8))[0]
            sides[tag] = max(sides[tag], value)
    width, height = max(sides[256], sides[322]), max(sides[257], sides[323])
    return (width, height) if sides[256] and sides[257] else None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    head = re.sub(rb"#[^\n]*", b" ", data[:4096])
    found = re.match(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s", head)
    if found is None and head.startswith(b"P7"):
        found = re.match(rb"P7\s(?=.*?WIDTH\s+(\d{1,9})\s)(?=.*?HEIGHT\s+(\d{1,9})\s)", head, re.DOTALL)
    return None if found is None else (int(found[1]), int(found[2]))
