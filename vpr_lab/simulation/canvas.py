"""Texture layers drawn with numpy and OpenCV.

A layer is a picture of weights, so that one layer serves many buildings: red is brightness (128 is one), green how much
of the first colour, alpha how much of the second, blue how much glass (or opacity, for cut-outs); what is left is trim.
Weights, unlike finished colours, stay right when the graphics card averages them far away.
"""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 256


class Canvas:
    """One layer while it is drawn. Coordinates are 0..1, x to the right, y down.

    brightness, first, second, glass: (SIZE, SIZE) float32.
    """

    def __init__(self, brightness: float | np.ndarray = 1.0, first: float = 1.0) -> None:
        self.brightness = np.full((SIZE, SIZE), brightness, np.float32)
        self.first = np.full((SIZE, SIZE), first, np.float32)
        self.second = np.zeros((SIZE, SIZE), np.float32)
        self.glass = np.zeros((SIZE, SIZE), np.float32)

    def put(self, mask: np.ndarray, what: str, brightness: float | np.ndarray = 1.0) -> None:
        """Cover a (SIZE, SIZE) 0..1 mask with "first", "second", "glass" or "trim" of some brightness."""
        for name in ("first", "second", "glass"):
            plane = getattr(self, name)
            plane += mask * (float(name == what) - plane)
        self.brightness += mask * (np.asarray(brightness, np.float32) - self.brightness)

    def shade(self, mask: np.ndarray, factor: float | np.ndarray) -> None:
        """Multiply the brightness by a factor where the mask is one."""
        self.brightness *= 1 + mask * (np.asarray(factor, np.float32) - 1)

    def pixels(self) -> np.ndarray:
        """(SIZE, SIZE, 4) uint8, bottom row first as OpenGL wants it."""
        planes = np.stack([self.brightness / 2, self.first, self.glass, self.second], -1)
        return np.ascontiguousarray(np.round(255 * np.clip(planes[::-1], 0, 1)).astype(np.uint8))


def polygon(points: np.ndarray | list[tuple[float, float]]) -> np.ndarray:
    """Antialiased mask of a polygon with (N, 2) corners in 0..1."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    fixed = np.round(np.asarray(points, float) * SIZE * 16 - 8).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Mask of a rectangle."""
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Mask of an ellipse."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return polygon(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1))


def line(x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    """Mask of a thick line."""
    start, end = np.array([x0, y0]), np.array([x1, y1])
    across = np.array([-(end - start)[1], (end - start)[0]])
    across *= width / 2 / max(float(np.linalg.norm(across)), 1e-9)
    return polygon(np.stack([start - across, end - across, end + across, start + across]))


def text(words: str, x0: float, y0: float, x1: float, y1: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of a word stretched into a rectangle."""
    font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SIMPLEX]))
    (width, height), baseline = cv2.getTextSize(words, font, 2.0, 5)
    small = np.zeros((height + baseline + 8, width + 8), np.uint8)
    cv2.putText(small, words, (4, height + 4), font, 2.0, 255, 5, cv2.LINE_AA)
    wide, high = max(2, round((x1 - x0) * SIZE)), max(2, round((y1 - y0) * SIZE))
    mask = np.zeros((SIZE, SIZE), np.float32)
    top, left = round(y0 * SIZE), round(x0 * SIZE)
    patch = cv2.resize(small, (wide, high), interpolation=cv2.INTER_AREA)[: SIZE - top, : SIZE - left]
    mask[top : top + patch.shape[0], left : left + patch.shape[1]] = patch / 255
    return mask


def word(rng: np.random.Generator) -> str:
    """An invented name, for shop signs."""
    syllables = [
        "ka",
        "ro",
        "mi",
        "te",
        "lo",
        "sa",
        "ven",
        "dor",
        "bel",
        "ni",
        "gu",
        "pra",
        "os",
        "fin",
        "ar",
        "tu",
        "el",
        "ha",
    ]
    return "".join(rng.choice(syllables, int(rng.integers(2, 4)))).upper()


def noise(rng: np.random.Generator, roughness: float, size: int = SIZE) -> np.ndarray:
    """(size, size) float32 tileable noise of mean 0 and deviation 1 with spectrum 1 / f**roughness."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    amplitude = frequency**-roughness
    amplitude[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * amplitude, s=(size, size))
    return (field / field.std()).astype(np.float32)
