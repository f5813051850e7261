#!/usr/bin/env python3
"""Draws the figures of the documentation as SVG: boxes, arrows and words.

python tools/draw_figures.py [-o docs/images]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

WIDTH, HEIGHT, GAP = 176, 78, 34  # of a box and between boxes, pixels
INK, LINE, MUTED = "#1f2933", "#52606d", "#616e7c"
FILLS = {"input": "#e3f2fd", "step": "#ffffff", "state": "#fff8e1", "output": "#e8f5e9"}


@dataclass
class Figure:
    """Boxes on a grid, (column, row) from 0, and arrows between them."""

    title: str
    boxes: dict[str, tuple[int, int, str, str, str]] = field(default_factory=dict)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)

    def box(self, name: str, column: int, row: int, text: str, small: str = "", kind: str = "step") -> None:
        """A box. text: what it is. small: lines below, separated by |. kind: its colour, see FILLS."""
        self.boxes[name] = (column, row, text, small, kind)

    def arrow(self, start: str, end: str) -> None:
        """An arrow from one box to another in the same row or column."""
        self.arrows.append((start, end))

    def svg(self) -> str:
        """The whole file."""
        columns = 1 + max(box[0] for box in self.boxes.values())
        rows = 1 + max(box[1] for box in self.boxes.values())
        width, height = columns * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
            f' font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{LINE}"/></marker></defs>',
        ]
        parts += [self._arrow(*arrow) for arrow in self.arrows]
        parts += [_box(*box) for box in self.boxes.values()]
        return "\n".join([*parts, "</svg>", ""])

    def _arrow(self, start: str, end: str) -> str:
        (c0, r0), (c1, r1) = self.boxes[start][:2], self.boxes[end][:2]
        x0, y0 = _corner(c0, r0)
        x1, y1 = _corner(c1, r1)
        if r0 == r1:
            right = c1 > c0
            ends = (x0 + WIDTH * right, y0 + HEIGHT / 2, x1 + WIDTH * (not right), y1 + HEIGHT / 2)
        else:
            down = r1 > r0
            ends = (x0 + WIDTH / 2, y0 + HEIGHT * down, x1 + WIDTH / 2, y1 + HEIGHT * (not down))
        line = '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="1.6" marker-end="url(#tip)"/>'
        return line.format(*ends, LINE)


def _corner(column: int, row: int) -> tuple[float, float]:
    return GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + GAP)


def _box(column: int, row: int, text: str, small: str, kind: str) -> str:
    x, y = _corner(column, row)
    lines = small.split("|") if small else []
    top = y + HEIGHT / 2 + 5 - 8 * len(lines)
    parts = [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{FILLS[kind]}" stroke="{LINE}"/>',
        f'<text x="{x + WIDTH / 2}" y="{top}" text-anchor="middle" font-weight="bold">{escape(text)}</text>',
    ]
    parts += [
        f'<text x="{x + WIDTH / 2}" y="{top + 17 + 15 * number}" text-anchor="middle" font-size="11"'
        f' fill="{MUTED}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return "\n".join(parts)


def image_to_pose() -> Figure:
    """Mode localize."""
    figure = Figure("From an image to a pose: preprocess, network, search, evidence, filter, hypotheses")
    figure.box("image", 0, 0, "image", "any size, RGB", "input")
    figure.box("network", 1, 0, "network", "224 x 224 in; descriptor|and depth map out")
    figure.box("centre", 2, 0, "mean-centring", "subtract the session's mean:|light, season, camera")
    figure.box("search", 3, 0, "search", "nearest places by cosine|(FAISS)")
    figure.box("map", 4, 0, "map", "places with descriptors,|poses, thumbnails", "state")
    figure.box("rerank", 3, 1, "re-rankers (optional)", "a closer look at the|first places")
    figure.box("evidence", 2, 1, "evidence", 'each place against|"not on this map"')
    figure.box("filter", 1, 1, "Bayes filter", "over places and off-map,|moved by odometry")
    figure.box("hypotheses", 0, 1, "hypotheses", "clusters in space: pose,|covariance, probability", "output")
    figure.box("odometry", 1, 2, "odometry", "motion between images", "input")
    figure.box("calibration", 2, 2, "calibration", "fitted on a held-out drive", "state")
    for start, end in (
        ("image", "network"),
        ("network", "centre"),
        ("centre", "search"),
        ("map", "search"),
        ("search", "rerank"),
        ("rerank", "evidence"),
        ("evidence", "filter"),
        ("filter", "hypotheses"),
        ("odometry", "filter"),
        ("calibration", "evidence"),
    ):
        figure.arrow(start, end)
    return figure


def keyframe_to_closure() -> Figure:
    """Mode map."""
    figure = Figure("From a keyframe to a loop closure: network, local features, candidates, geometry, agreement")
    figure.box("image", 0, 0, "image + odometry", "a keyframe after 2 m|or 20 degrees", "input")
    figure.box("network", 1, 0, "network", "descriptor and depth map")
    figure.box("features", 2, 0, "local features", "XFeat, each with the|depth seen there")
    figure.box("store", 3, 0, "session map", "stored on disk before|the next image", "state")
    figure.box("candidates", 3, 1, "candidates", "similar places of the past|and of earlier maps")
    figure.box("motion", 2, 1, "two-view geometry", "features that agree on|one motion")
    figure.box("pose", 1, 1, "metric pose", "least squares over rays and|depths, with covariance")
    figure.box("agreement", 0, 1, "agreement", "three keyframes and|odometry agree; no twin")
    figure.box("closure", 0, 2, "loop closure", "transform and covariance|for a pose graph", "output")
    figure.box("intrinsics", 2, 2, "camera_info", "rays need the lens", "input")
    for start, end in (
        ("image", "network"),
        ("network", "features"),
        ("features", "store"),
        ("store", "candidates"),
        ("candidates", "motion"),
        ("motion", "pose"),
        ("pose", "agreement"),
        ("agreement", "closure"),
        ("intrinsics", "motion"),
    ):
        figure.arrow(start, end)
    return figure


def house() -> Figure:
    """The packages: each imports only those to its left or above, and those in its own box."""
    figure = Figure("The layers of vpr_ros and vpr_lab; imports point against the arrows")
    rows = (
        (
            ("base", "records, errors, config,|geometry, camera, image"),
            ("drives", "readers of recordings,|one file a format"),
            ("inference", "describers, ONNX,|TensorRT, batches"),
            ("matching", "local features,|two-view geometry"),
            ("maps", "the stored map, index,|build, edit"),
        ),
        (
            ("localize", "localizer, filter,|re-rankers, calibration"),
            ("loops", "loop closer, candidates,|agreement, anchors"),
            ("evaluation, fleet", "metrics, report;|maps on many machines"),
            ("ros", "node, parameters,|adapters, services"),
            ("demo, cli", "the vpr command,|the demonstrations"),
        ),
        (
            ("vpr_lab", "on base to evaluation|only"),
            ("simulation", "towns, weather, drives"),
            ("network, training", "torch: networks,|recipes, losses"),
            ("export, plugins", "ONNX; parts that register|themselves in vpr_ros"),
            ("systems, cli", "the papers' systems,|vpr lab, vpr train"),
        ),
    )
    for row, boxes in enumerate(rows):
        for column, (name, small) in enumerate(boxes):
            kind = "input" if name == "base" else "state" if name == "vpr_lab" else "step"
            figure.box(name, column, row, name, small, kind)
        names = [name for name, _ in boxes]
        for start, end in pairwise(names):
            if (start, end) != ("localize", "loops"):  # neighbours: neither imports the other
                figure.arrow(start, end)
    return figure


FIGURES = {"image_to_pose": image_to_pose, "keyframe_to_closure": keyframe_to_closure, "house": house}


def main() -> None:
    """Write every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    folder = parser.parse_args().output
    for name, make in FIGURES.items():
        (folder / f"{name}.svg").write_text(make().svg())


if __name__ == "__main__":
    main()
