"""Layers of one bay by one floor: windows of many shapes, doors, shop fronts, garages, on any wall."""

from __future__ import annotations

import numpy as np

from vpr_lab.simulation.canvas import SIZE, Canvas, ellipse, line, noise, polygon, rectangle, text, word


def window(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """One window (or a pair) with reveal, frame, panes, sill and perhaps lintel or shutters, on a wall."""
    wide, high = rng.uniform(0.32, 0.66), rng.uniform(0.46, 0.7)
    centre, top = 0.5, rng.uniform(0.14, 0.24)
    pair = wide > 0.5 and rng.random() < 0.4
    arched = rng.random() < 0.2
    shutters = wide < 0.42 and rng.random() < 0.35
    surround, lintel = rng.random() < 0.45, rng.random() < 0.5
    frame, across, up = rng.uniform(0.018, 0.04), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    halves = (
        [(centre - wide / 2, centre - 0.02), (centre + 0.02, centre + wide / 2)]
        if pair
        else [(centre - wide / 2, centre + wide / 2)]
    )
    what = "second" if rng.random() < 0.3 else "trim"
    for x0, x1 in halves:
        if surround:
            canvas.put(_opening(x0 - 0.04, top - 0.04, x1 + 0.04, top + high, arched), "trim", rng.uniform(0.75, 1.0))
        _glazing(canvas, rng, (x0, top, x1, top + high), arched, frame, (across, up), what)
    x0, x1 = halves[0][0], halves[-1][1]
    sill = rectangle(x0 - 0.04, top + high, x1 + 0.04, top + high + 0.035)
    canvas.put(sill, "trim", 1.05)
    canvas.shade(rectangle(x0 - 0.03, top + high + 0.035, x1 + 0.03, top + high + 0.075), 0.7)
    if lintel and not arched:
        canvas.put(rectangle(x0 - 0.06, top - 0.09, x1 + 0.06, top - 0.01), "trim", 0.9)
    if shutters:
        for left in (x0 - 0.02 - wide / 2, x1 + 0.02):
            _shutter(canvas, left, top, left + wide / 2, top + high)
    return canvas


def ribbon(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A band of glass from side to side, as offices have."""
    top, bottom = rng.uniform(0.12, 0.25), rng.uniform(0.62, 0.85)
    _glazing(canvas, rng, (0, top, 1, bottom), False, 0.02, (int(rng.integers(2, 5)), int(rng.integers(1, 3))), "trim")
    if rng.random() < 0.5:
        canvas.put(rectangle(0, bottom, 1, bottom + 0.1), "second", 0.9)
    return canvas


def curtain_wall(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Glass all over with thin frames."""
    _glazing(canvas, rng, (0, 0, 1, 1), False, 0.014, (int(rng.integers(2, 4)), int(rng.integers(2, 4))), "second")
    canvas.put(rectangle(0, 0.86, 1, 1.0) * 0.85, "second", 0.9)
    return canvas


def tall_window(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A French window with a railing before its lower part."""
    wide, top = rng.uniform(0.34, 0.5), rng.uniform(0.1, 0.16)
    x0, x1 = 0.5 - wide / 2, 0.5 + wide / 2
    _glazing(canvas, rng, (x0, top, x1, 0.93), False, 0.025, (2, int(rng.integers(2, 5))), "trim")
    for x in np.linspace(x0 - 0.03, x1 + 0.03, 12):
        canvas.put(rectangle(x - 0.006, 0.62, x + 0.006, 0.93), "second", 0.6)
    canvas.put(rectangle(x0 - 0.05, 0.6, x1 + 0.05, 0.625), "second", 0.6)
    return canvas


def door(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A front door of the second colour with frame, perhaps panes and a canopy."""
    wide, top = rng.uniform(0.3, 0.42), rng.uniform(0.16, 0.26)
    x0, x1 = 0.5 - wide / 2, 0.5 + wide / 2
    canvas.put(rectangle(x0 - 0.05, top - 0.05, x1 + 0.05, 1), "trim", 0.95)
    canvas.put(rectangle(x0, top, x1, 0.97), "second", 1.0 + 0.05 * noise(rng, 1.0))
    for row in range(int(rng.integers(1, 4))):
        y = top + 0.06 + row * 0.22
        for x in (x0 + 0.04, 0.5 + 0.01):
            inner = rectangle(x, y, x + wide / 2 - 0.05, y + 0.16)
            if row == 0 and rng.random() < 0.6:
                canvas.put(inner, "glass", 0.6)
            else:
                canvas.shade(inner, 0.75)
    if rng.random() < 0.5:
        canvas.put(
            polygon([(x0 - 0.1, top - 0.04), (x1 + 0.1, top - 0.04), (x1 + 0.05, top - 0.1), (x0 - 0.05, top - 0.1)]),
            "trim",
            0.8,
        )
    canvas.put(ellipse(x1 - 0.035, 0.62, 0.012, 0.012), "trim", 1.3)
    canvas.put(rectangle(x0 - 0.08, 0.965, x1 + 0.08, 1), "trim", 0.7)
    return canvas


def shop(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A shop window with goods, a stall riser below and a name above; fascia in the second colour."""
    top, riser = rng.uniform(0.2, 0.3), rng.uniform(0.8, 0.92)
    canvas.put(rectangle(0.02, 0.02, 0.98, 1), "second", 0.85 + 0.04 * noise(rng, 1.0))
    canvas.put(rectangle(0.02, 0.03, 0.98, top - 0.03), "second", 1.1)
    canvas.put(text(word(rng), rng.uniform(0.06, 0.3), 0.06, rng.uniform(0.7, 0.94), top - 0.06, rng), "trim", 1.1)
    _glazing(canvas, rng, (0.06, top, 0.94, riser), False, 0.02, (int(rng.integers(1, 4)), 1), "second")
    for _ in range(int(rng.integers(3, 9))):
        x, size = rng.uniform(0.1, 0.8), rng.uniform(0.04, 0.12)
        goods = rectangle(x, riser - size, x + size * rng.uniform(0.5, 1.3), riser - 0.02)
        canvas.put(goods * 0.7, str(rng.choice(["trim", "second", "first"])), rng.uniform(0.5, 1.4))
    canvas.shade(rectangle(0, riser, 1, 1), 0.75)
    return canvas


def shop_door(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A glazed door beside a narrow shop window."""
    canvas.put(rectangle(0.02, 0.02, 0.98, 1), "second", 0.9)
    canvas.put(text(word(rng), 0.1, 0.07, 0.9, 0.18, rng), "trim", 1.1)
    split = rng.uniform(0.4, 0.6)
    _glazing(canvas, rng, (0.06, 0.24, split - 0.03, 0.85), False, 0.02, (1, 1), "second")
    _glazing(canvas, rng, (split + 0.02, 0.24, 0.94, 0.97), False, 0.035, (1, 2), "trim")
    return canvas


def garage(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """A garage door of the second colour, slatted."""
    top = rng.uniform(0.2, 0.32)
    canvas.put(rectangle(0.08, top, 0.92, 0.98), "second", 1.0)
    for y in np.arange(top, 0.98, rng.uniform(0.05, 0.14)):
        canvas.shade(rectangle(0.08, y, 0.92, y + 0.012), 0.6)
    return canvas


def _opening(x0: float, y0: float, x1: float, y1: float, arched: bool) -> np.ndarray:
    if not arched:
        return rectangle(x0, y0, x1, y1)
    radius = (x1 - x0) / 2
    return np.maximum(rectangle(x0, y0 + radius, x1, y1), ellipse((x0 + x1) / 2, y0 + radius, radius, radius))


def _glazing(
    canvas: Canvas,
    rng: np.random.Generator,
    box: tuple[float, float, float, float],
    arched: bool,
    frame: float,
    panes: tuple[int, int],
    frame_what: str,
) -> None:
    """Glass behind frames, darker under its top edge; curtains or blinds as brightness."""
    x0, y0, x1, y1 = box
    opening = _opening(x0, y0, x1, y1, arched)
    canvas.put(opening, frame_what, 0.95)
    inner = _opening(x0 + frame, y0 + frame, x1 - frame, y1 - frame / 2, arched)
    rows = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
    depth = 0.45 + 0.5 * np.clip((rows - y0) / max(y1 - y0, 1e-6), 0, 1)
    canvas.put(inner, "glass", depth * (1 + 0.12 * noise(rng, 1.6)))
    _curtains(canvas, rng, inner, box)
    bar = frame * 0.55
    for i in range(1, panes[0]):
        x = x0 + (x1 - x0) * i / panes[0]
        canvas.put(opening * rectangle(x - bar, y0, x + bar, y1), frame_what, 0.95)
    for i in range(1, panes[1]):
        y = y0 + (y1 - y0) * i / panes[1]
        canvas.put(opening * rectangle(x0, y - bar, x1, y + bar), frame_what, 0.95)
    canvas.shade(opening * rectangle(x0, y0, x1, y0 + 0.035), 0.45)
    canvas.shade(opening * rectangle(x0, y0, x0 + 0.02, y1), 0.6)


def _curtains(
    canvas: Canvas, rng: np.random.Generator, inner: np.ndarray, box: tuple[float, float, float, float]
) -> None:
    x0, y0, x1, y1 = box
    choice = rng.random()
    if choice < 0.35:
        wide = (x1 - x0) * rng.uniform(0.15, 0.3)
        folds = 0.9 + 0.2 * np.sin(np.linspace(0, 140, SIZE))[None]
        for mask in (rectangle(x0, y0, x0 + wide, y1), rectangle(x1 - wide, y0, x1, y1)):
            canvas.put(inner * mask * 0.6, "trim", folds)
    elif choice < 0.55:
        canvas.put(inner * rectangle(x0, y0, x1, y0 + (y1 - y0) * rng.uniform(0.15, 0.5)) * 0.7, "trim", 0.9)


def _shutter(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> None:
    canvas.put(rectangle(x0, y0, x1, y1), "second", 1.0)
    for y in np.arange(y0 + 0.02, y1 - 0.02, 0.028):
        canvas.shade(line(x0 + 0.01, y, x1 - 0.01, y, 0.01), 0.65)
