"""Textures of walls, roofs and the ground, as layers that repeat without a seam (3 m x 3 m unless noted)."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from vpr_lab.simulation.canvas import SIZE, Canvas, line, noise, rectangle


def brick(rng: np.random.Generator) -> Canvas:
    """Running bond; mortar in the second colour."""
    rows, columns = 2 * int(rng.integers(12, 19)), int(rng.integers(9, 14))
    return _courses(
        rng, rows, columns, joint=rng.uniform(0.1, 0.16), spread=rng.uniform(0.08, 0.22), mortar=rng.uniform(0.5, 0.9)
    )


def ashlar(rng: np.random.Generator) -> Canvas:
    """Large dressed stones."""
    return _courses(
        rng,
        2 * int(rng.integers(3, 5)),
        int(rng.integers(3, 6)),
        joint=0.04,
        spread=rng.uniform(0.05, 0.12),
        mortar=0.35,
    )


def panel(rng: np.random.Generator) -> Canvas:
    """Concrete slabs, one joint round each."""
    canvas = Canvas(1 + 0.05 * noise(rng, 1.3) + 0.04 * noise(rng, 0.5))
    edge = 0.012
    for joint in (rectangle(0, 0, 1, edge), rectangle(0, 0, edge, 1)):
        canvas.put(joint * 0.8, "second", 0.6)
    _streaks(canvas, rng, 0.25)
    return canvas


def plaster(rng: np.random.Generator) -> Canvas:
    """Smooth or rough render."""
    rough = rng.uniform(0.02, 0.08)
    canvas = Canvas(1 + rough * noise(rng, 0.6) + 0.05 * noise(rng, 1.6))
    _streaks(canvas, rng, rng.uniform(0.05, 0.2))
    return canvas


def boards(rng: np.random.Generator) -> Canvas:
    """Weatherboards, a shadow under each."""
    count = int(rng.integers(12, 22))
    rows = (np.arange(SIZE) / SIZE * count)[:, None]
    shade = np.where(rows % 1 > 0.85, 0.6, 0.9 + 0.15 * (rows % 1))
    per_board = np.repeat(rng.normal(1, 0.05, count), SIZE // count + 1)[:SIZE, None]
    return Canvas(shade * per_board * (1 + 0.04 * noise(rng, 0.8)))


def half_timber(rng: np.random.Generator) -> Canvas:
    """Plaster between beams of the second colour; one bay by one floor."""
    canvas = plaster(rng)
    thick = rng.uniform(0.05, 0.08)
    grain = 0.9 + 0.15 * noise(rng, 0.8)
    beams = [(0, 0.02, 1, 0.02), (0, 0.62, 1, 0.62), (0.02, 0, 0.02, 1), (0.98, 0, 0.98, 1), (0, 0.98, 1, 0.98)]
    beams.append((0.02, 0.62, 0.3, 1.0) if rng.random() < 0.5 else (0.98, 0.62, 0.7, 1.0))
    if rng.random() < 0.6:
        beams.append((0.02, 0.6, 0.25, 0.02))
    for beam in beams:
        canvas.put(line(*beam, thick), "second", grain)
    return canvas


def rubble(rng: np.random.Generator) -> Canvas:
    """Rough stones of many sizes in mortar."""
    cells = int(rng.integers(60, 150))
    centres = rng.random((cells, 2)) * SIZE
    tiled = np.concatenate([centres + SIZE * np.array([x, y]) for x in (-1, 0, 1) for y in (-1, 0, 1)])
    markers = np.zeros((SIZE, SIZE), np.float32)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    nearest, second = np.full((2, SIZE, SIZE), 1e9, np.float32)
    for index, (x, y) in enumerate(tiled):
        if max(abs(x - SIZE / 2), abs(y - SIZE / 2)) > SIZE / 2 + 90:
            continue
        distance = np.hypot(columns - x, (rows - y) * 1.4)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        markers[closer] = index % cells
        nearest = np.where(closer, distance, nearest)
    shade = rng.normal(1, 0.14, cells).astype(np.float32)[markers.astype(int)]
    canvas = Canvas(shade * (1 + 0.08 * noise(rng, 0.9)))
    canvas.put(np.clip(1.6 - (second - nearest) / 2.5, 0, 1), "second", 0.8)
    return canvas


def roof_tiles(rng: np.random.Generator) -> Canvas:
    """Rows of tiles, each with a shaded lower edge."""
    rows, columns = int(rng.integers(9, 15)), int(rng.integers(9, 16))
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    row = np.floor(y * rows)
    column = np.floor(x * columns + 0.5 * (row % 2)) % columns
    tint = rng.normal(1, 0.12, (rows, columns))[row.astype(int), column.astype(int)]
    shade = 0.75 + 0.35 * (1 - (y * rows) % 1) - 0.35 * (((y * rows) % 1) > 0.86)
    wave = 1 + rng.uniform(0, 0.2) * np.cos(2 * np.pi * x * columns)
    return Canvas((tint * shade * wave * (1 + 0.06 * noise(rng, 1.2))).astype(np.float32))


def roof_seams(rng: np.random.Generator) -> Canvas:
    """Sheet metal with standing seams."""
    canvas = Canvas(1 + 0.06 * noise(rng, 1.5))
    for x in (np.arange(5) + 0.5) / 5:
        canvas.shade(rectangle(x - 0.012, 0, x, 1), 1.25)
        canvas.shade(rectangle(x, 0, x + 0.012, 1), 0.6)
    return canvas


def gravel(rng: np.random.Generator) -> Canvas:
    """Flat roofs, paths."""
    return Canvas(1 + 0.16 * noise(rng, 0.2) + 0.06 * noise(rng, 1.4))


def asphalt(rng: np.random.Generator) -> Canvas:
    """Carriageway, 4 m x 4 m, with cracks and mended patches."""
    canvas = Canvas(1 + 0.09 * noise(rng, 0.15) + 0.07 * noise(rng, 1.2))
    for _ in range(int(rng.integers(0, 4))):
        points = np.cumsum(rng.normal(0, 0.05, (12, 2)), 0) + rng.random(2)
        for a, b in itertools.pairwise(points):
            canvas.shade(line(a[0], a[1], b[0], b[1], 0.008), 0.55)
    x, y = rng.random(2) * 0.6
    canvas.shade(rectangle(x, y, x + rng.uniform(0.15, 0.4), y + rng.uniform(0.15, 0.4)), rng.uniform(0.75, 1.0))
    return canvas


def paving(rng: np.random.Generator) -> Canvas:
    """Pavement slabs, 3 m x 3 m."""
    return _courses(
        rng,
        2 * int(rng.integers(2, 5)),
        int(rng.integers(3, 8)),
        joint=0.035,
        spread=rng.uniform(0.03, 0.1),
        mortar=0.55,
    )


def cobbles(rng: np.random.Generator) -> Canvas:
    """Setts, 3 m x 3 m."""
    return _courses(rng, 2 * int(rng.integers(8, 13)), int(rng.integers(14, 24)), joint=0.16, spread=0.16, mortar=0.5)


def grass(rng: np.random.Generator) -> Canvas:
    """Lawn, 3 m x 3 m: patches and blades."""
    blades = cv2.GaussianBlur(noise(rng, 0.0), (1, 5), 0)
    canvas = Canvas(1 + 0.14 * blades / blades.std() + 0.12 * noise(rng, 1.1))
    canvas.put(np.clip(noise(rng, 1.0) - 1.0, 0, 0.7), "second", 1.0)
    return canvas


def hedge(rng: np.random.Generator) -> Canvas:
    """Dense leaves, opaque."""
    leaves = noise(rng, 0.35)
    return Canvas(np.clip(0.95 + 0.3 * leaves + 0.12 * noise(rng, 1.4), 0.15, 1.9))


def bark(rng: np.random.Generator) -> Canvas:
    """Vertical furrows."""
    field = cv2.GaussianBlur(noise(rng, 0.3), (1, 31), 0)
    return Canvas(1 + 0.25 * field / field.std())


def _courses(rng: np.random.Generator, rows: int, columns: int, joint: float, spread: float, mortar: float) -> Canvas:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    row = np.floor(y * rows).astype(int)
    along = x * columns + 0.5 * (row % 2)
    column = np.floor(along).astype(int) % columns
    tint = rng.normal(1, spread, (rows, columns))[row, column]
    canvas = Canvas((tint * (1 + 0.05 * noise(rng, 0.8))).astype(np.float32))
    height, width = 1 / rows, 1 / columns
    gap = joint * height
    inside = np.minimum(
        np.minimum((y * rows) % 1, 1 - (y * rows) % 1) * height, np.minimum(along % 1, 1 - along % 1) * width
    )
    canvas.put(np.clip(1 - inside / gap, 0, 1).astype(np.float32), "second", mortar)
    return canvas


def _streaks(canvas: Canvas, rng: np.random.Generator, strength: float) -> None:
    field = cv2.GaussianBlur(noise(rng, 0.5), (1, 101), 0)
    canvas.brightness *= 1 - strength * np.clip(field / field.std(), 0, 2) / 2
