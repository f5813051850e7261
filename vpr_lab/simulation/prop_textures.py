"""Texture layers for things in the streets: leaves, branches, railings, people, vehicles, signs, posters.

In cut-outs the glass channel is opacity.
"""

from __future__ import annotations

import cv2
import numpy as np

from vpr_lab.simulation.canvas import SIZE, Canvas, ellipse, line, noise, polygon, rectangle, text, word


def leaves(rng: np.random.Generator) -> Canvas:
    """A cluster of leaves, dense in the middle; cut-out."""
    size = float(rng.uniform(0.02, 0.045))
    needles = rng.random() < 0.2
    brightness, opacity = np.full((SIZE, SIZE), 0.8, np.float32), np.zeros((SIZE, SIZE), np.float32)
    for _ in range(int(9.0 / size)):
        radius, angle, turn = 0.46 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi), rng.uniform(0, 180)
        x, y = 0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)
        axes = (size * 1.4, size * 0.25) if needles else (size, size * rng.uniform(0.45, 0.8))
        centre = (round(x * SIZE), round(y * SIZE))
        half = (max(1, round(axes[0] * SIZE)), max(1, round(axes[1] * SIZE)))
        shade = float(np.clip(rng.normal(1.0, 0.22) + 0.25 * (0.5 - y), 0.3, 1.8))
        cv2.ellipse(brightness, centre, half, turn, 0, 360, shade, -1)
        cv2.ellipse(opacity, centre, half, turn, 0, 360, 1.0, -1)
    canvas = Canvas(brightness)
    canvas.glass = opacity
    canvas.second = (0.5 * np.clip(noise(rng, 1.0), 0, 1)).astype(np.float32)
    return canvas


def branches(rng: np.random.Generator) -> Canvas:
    """A bare crown, its trunk from the middle of the lower edge; cut-out."""
    opacity = np.zeros((SIZE, SIZE), np.uint8)
    spread, shrink = rng.uniform(0.35, 0.6), rng.uniform(0.7, 0.78)

    def grow(x: float, y: float, angle: float, length: float, width: float) -> None:
        x1, y1 = x + length * np.cos(angle), y - length * np.sin(angle)
        ends = [(round(a * SIZE * 16), round(b * SIZE * 16)) for a, b in ((x, y), (x1, y1))]
        cv2.line(opacity, ends[0], ends[1], 255, max(1, round(width)), cv2.LINE_AA, 4)
        if length < 0.03:
            return
        for turn in (-spread, spread * rng.uniform(-0.3, 0.3), spread):
            if rng.random() < 0.9:
                grow(
                    x1, y1, angle + turn * rng.uniform(0.6, 1.3), length * shrink * rng.uniform(0.75, 1.05), width * 0.6
                )

    grow(0.5, 1.0, np.pi / 2, rng.uniform(0.27, 0.33), 10.0)
    canvas = Canvas(0.9 + 0.2 * noise(rng, 0.5))
    canvas.glass = opacity.astype(np.float32) / np.float32(255)
    return canvas


def railing(rng: np.random.Generator) -> Canvas:
    """Iron bars between two rails; cut-out."""
    opacity = np.maximum(rectangle(0, 0.08, 1, 0.12), rectangle(0, 0.86, 1, 0.9))
    bars = int(rng.integers(8, 16))
    for x in (np.arange(bars) + 0.5) / bars:
        opacity = np.maximum(opacity, rectangle(x - 0.012, 0.0, x + 0.012, 1))
    return _cutout(opacity, rng)


def pickets(rng: np.random.Generator) -> Canvas:
    """A wooden fence; cut-out."""
    count = int(rng.integers(7, 14))
    half = 0.5 / count * rng.uniform(0.6, 0.96)
    opacity = np.maximum(rectangle(0, 0.25, 1, 0.33), rectangle(0, 0.72, 1, 0.8))
    for x in (np.arange(count) + 0.5) / count:
        opacity = np.maximum(
            opacity, polygon([(x - half, 1), (x - half, 0.1), (x, 0.02), (x + half, 0.1), (x + half, 1)])
        )
    return _cutout(opacity, rng)


def person(rng: np.random.Generator) -> Canvas:
    """Somebody standing or walking: clothes in both colours, skin as trim; cut-out."""
    stride, lean = rng.uniform(0.0, 0.16), rng.uniform(-0.03, 0.03)
    legs = [line(0.5, 0.52, 0.5 + side * (0.05 + stride), 0.98, 0.11) for side in (-1, 1)]
    body = polygon([(0.36, 0.2), (0.64, 0.2), (0.62, 0.56), (0.38, 0.56)])
    arms = [line(0.5 + side * 0.13, 0.22, 0.5 + side * (0.17 + stride * 0.4), 0.54, 0.075) for side in (-1, 1)]
    head = ellipse(0.5 + lean, 0.1, 0.075, 0.085)
    coat = np.maximum.reduce([body, *arms])
    canvas = Canvas(1 + 0.12 * noise(rng, 1.2))
    shade = canvas.brightness.copy()
    for leg in legs:
        canvas.put(leg, "second", shade)
    canvas.put(coat, "first", shade)
    canvas.put(head, "trim", 0.75)
    canvas.put(ellipse(0.5 + lean, 0.06, 0.078, 0.055), "second", 0.5)
    second = canvas.second.copy()
    canvas.glass = np.maximum.reduce([*legs, coat, head])
    canvas.second = second
    return canvas


def car_side(
    profile: np.ndarray, cabin: np.ndarray, wheels: tuple[float, float], wheel: float, rng: np.random.Generator
) -> Canvas:
    """A vehicle from its side: profile and cabin are (N, 2) outlines in 0..1, y up; windows, doors, wheels; cut-out."""

    def flipped(points: np.ndarray) -> np.ndarray:
        return np.stack([points[:, 0], 1 - points[:, 1]], 1)

    body, windows = polygon(flipped(profile)), polygon(flipped(cabin))
    canvas = Canvas(1 + 0.03 * noise(rng, 1.5))
    rows = np.linspace(1, 0, SIZE, dtype=np.float32)[:, None]
    canvas.shade(body, 0.75 + 0.4 * rows)
    canvas.put(windows, "second", 0.9)
    middle = cabin[:, 0].mean()
    for x in (middle, middle + 0.02 - (cabin[:, 0].max() - middle)):
        canvas.put(rectangle(x - 0.008, 0, x + 0.008, 1) * windows, "first", 0.85)
        canvas.shade(rectangle(x - 0.004, 0.3, x + 0.004, 0.85) * body, 0.6)
    canvas.put(rectangle(0, 0.84, 1, 1) * body, "second", 0.5)
    opacity = body
    for x in wheels:
        aspect = 2.6
        canvas.put(ellipse(x, 1 - wheel * aspect, wheel * 1.2, wheel * aspect * 1.2) * body, "second", 0.2)
        disc = ellipse(x, 1 - wheel * aspect, wheel, wheel * aspect)
        canvas.put(disc, "second", 0.35)
        canvas.put(ellipse(x, 1 - wheel * aspect, wheel * 0.6, wheel * aspect * 0.6), "trim", 0.55)
        opacity = np.maximum(opacity, disc)
    second = canvas.second.copy()
    canvas.glass = opacity
    canvas.second = second
    return canvas


def car_end(rng: np.random.Generator) -> Canvas:
    """The strip across a vehicle's nose or tail: lamps, grille, number plate."""
    canvas = Canvas(1 + 0.03 * noise(rng, 1.5))
    canvas.put(rectangle(0.3, 0.25, 0.7, 0.5), "second", 0.6)
    canvas.put(rectangle(0.37, 0.6, 0.63, 0.75), "trim", 1.0)
    for x in (0.05, 0.77):
        canvas.put(rectangle(x, 0.15, x + 0.18, 0.42), "trim", 1.2)
    canvas.put(rectangle(0, 0.85, 1, 1), "second", 0.5)
    return canvas


def poster(rng: np.random.Generator) -> Canvas:
    """An advertisement: blocks, discs and a word in three colours."""
    canvas = Canvas(1 + 0.05 * noise(rng, 1.5))
    for _ in range(int(rng.integers(2, 6))):
        x, y, wide, high = rng.random(), rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4)
        mask = (
            ellipse(x, y, wide / 2, high / 2)
            if rng.random() < 0.5
            else rectangle(x, y, min(x + wide, 1), min(y + high, 1))
        )
        canvas.put(mask, str(rng.choice(["first", "second", "trim"])), rng.uniform(0.5, 1.5))
    y = rng.uniform(0.1, 0.7)
    canvas.put(text(word(rng), 0.08, y, 0.92, y + 0.2, rng), str(rng.choice(["second", "trim"])), 1.1)
    canvas.put(1 - rectangle(0.03, 0.03, 0.97, 0.97), "second", 0.4)
    return canvas


def sign(rng: np.random.Generator) -> Canvas:
    """A shop's or street's sign: a word on a coloured ground."""
    canvas = Canvas(1.0)
    canvas.put(text(word(rng), 0.08, 0.25, 0.92, 0.75, rng), "trim", 1.2)
    canvas.put(1 - rectangle(0.03, 0.05, 0.97, 0.95), "second", 0.8)
    return canvas


def road_sign(rng: np.random.Generator) -> Canvas:
    """A traffic sign: disc, triangle or square; cut-out."""
    shape = int(rng.integers(3))
    outline = [
        ellipse(0.5, 0.5, 0.48, 0.48),
        polygon([(0.5, 0.03), (0.98, 0.92), (0.02, 0.92)]),
        rectangle(0.03, 0.03, 0.97, 0.97),
    ][shape]
    inner = [
        ellipse(0.5, 0.5, 0.36, 0.36),
        polygon([(0.5, 0.22), (0.82, 0.82), (0.18, 0.82)]),
        rectangle(0.2, 0.2, 0.8, 0.8),
    ][shape]
    canvas = Canvas(1.0)
    canvas.put(inner, "trim", 1.1)
    canvas.put(rectangle(0.4, 0.36, 0.6, 0.7) * inner, "second", 0.6)
    second = canvas.second.copy()
    canvas.glass, canvas.second = outline, second
    return canvas


def _cutout(opacity: np.ndarray, rng: np.random.Generator) -> Canvas:
    canvas = Canvas(0.95 + 0.1 * noise(rng, 1.0))
    canvas.glass = opacity
    return canvas
