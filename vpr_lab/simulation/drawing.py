"""Parts of the renderer: quads on the graphics card, uniforms, views and visible cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_lab.simulation.mesh import VERTEX_FORMAT, VERTEX_NAMES
from vpr_lab.simulation.town import CELL_M, Cells

SEEN_M = 190.0
SHADOW_HALF_M = 90.0


class QuadArrays:
    """Quads on the card with their indices, ready for drawing by cells or by ranges, in colour or as shadows."""

    def __init__(self, context: Any, vertices: np.ndarray, cells: Cells | None, program: Any, shadow: Any) -> None:
        self.cells: Any = cells
        count = max(1, len(vertices) // 4)
        self._buffer = context.buffer(vertices.tobytes() if len(vertices) else b"\0" * 144)
        self._quads = (4 * np.arange(count, dtype=np.uint32)[:, None] + np.array([0, 1, 2, 0, 2, 3], np.uint32)).astype(
            "u4"
        )
        self._indices = context.buffer(self._quads.tobytes())
        content = [(self._buffer, VERTEX_FORMAT, *VERTEX_NAMES)]
        self._array = context.vertex_array(program, content, self._indices)
        names = [name if name in shadow else None for name in VERTEX_NAMES]
        self._shadow_array = context.vertex_array(shadow, _content(self._buffer, names), self._indices)

    def draw_cells(self, chosen: np.ndarray, shadow: bool = False) -> None:
        """Draw static cells in the order given."""
        array = self._shadow_array if shadow else self._array
        for first, count in self.cells.ranges[chosen].tolist():
            array.render(vertices=6 * count, first=6 * first)

    def draw_quads(self, ranges: np.ndarray, shadow: bool = False) -> None:
        """Draw (N, 2) ranges of quads, first and end."""
        if not len(ranges):
            return
        chosen = np.concatenate([self._quads[first:end] for first, end in ranges.tolist()])
        if len(chosen):
            self._indices.write(chosen.tobytes())
            (self._shadow_array if shadow else self._array).render(vertices=chosen.size)

    def release(self) -> None:
        """Free the card's memory."""
        for thing in (self._array, self._shadow_array, self._buffer, self._indices):
            thing.release()


def _content(buffer: Any, names: list[str | None]) -> list[tuple[Any, ...]]:
    sizes = dict(zip(VERTEX_NAMES, VERTEX_FORMAT.split(), strict=True))
    skipped = {"3f4": "12x", "2f4": "8x", "1f4": "4x", "4f1": "4x"}
    layout = [sizes[name] if kept else skipped[sizes[name]] for name, kept in zip(VERTEX_NAMES, names, strict=True)]
    return [(buffer, " ".join(layout), *[name for name in names if name])]


def set_uniform(program: Any, name: str, value: Any) -> None:
    """Set a uniform if the program has it; matrices column by column."""
    if name not in program:
        return
    if isinstance(value, np.ndarray) and value.ndim == 2:
        program[name].write(np.ascontiguousarray(value.T, "f4").tobytes())
    else:
        program[name].value = tuple(float(v) for v in value) if isinstance(value, np.ndarray | tuple) else value


def sun_view(centre: np.ndarray, to_sun: np.ndarray) -> np.ndarray:
    """(4, 4) clip from map of an orthographic look along the sun's rays at a point on the ground."""
    right = np.cross([0.0, 0.0, 1.0], to_sun)
    right /= np.linalg.norm(right)
    up = np.cross(to_sun, right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, up, to_sun])
    view[:3, 3] = -view[:3, :3] @ np.array([*centre, 0.0])
    deep = 300.0
    return np.diag([1 / SHADOW_HALF_M, 1 / SHADOW_HALF_M, -1 / deep, 1.0]) @ view


def visible_cells(cells: Cells, T_map_camera: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Cells in front of the camera and within SEEN_M, near ones first."""
    radius = CELL_M * 0.7072 + 6.0
    eye, forward = T_map_camera[:2, 3], T_map_camera[:2, 2]
    offset = cells.centres - eye
    distance = np.linalg.norm(offset, axis=1)
    forward = forward / max(float(np.linalg.norm(forward)), 1e-9)
    ahead, aside = offset @ forward, np.abs(offset @ np.array([-forward[1], forward[0]]))
    slope = float(np.abs(1 / np.linalg.norm(clip[0, :3])))
    inside = aside - ahead * slope < radius * np.hypot(1.0, slope)
    tall = (distance < SEEN_M) | ((cells.heights > 18) & (distance < 2 * SEEN_M))
    chosen = np.flatnonzero(inside & (ahead > -radius) & tall)
    return chosen[np.argsort(distance[chosen])]
