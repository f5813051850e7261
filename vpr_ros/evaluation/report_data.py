"""What the report's page shows of each run: every frame's answer, and as many images as one file should hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np

from vpr_ros.evaluation import style
from vpr_ros.evaluation.record import Answer
from vpr_ros.evaluation.scenes import SHOWN_PLACES, Images, Plan
from vpr_ros.evaluation.summary import Assessment

T = TypeVar("T")
IMAGE_BYTES = 13_500_000  # JPEG in one report; base64 makes them a third larger
MAP_POINTS = 4000  # places of a map drawn on the track, at most
_DEPTHS_SCALED = 20  # depth images that a run's colour scale is taken from


def report_data(
    runs: Sequence[Assessment], images: Mapping[str, Images], plan: Plan, image_bytes: int = IMAGE_BYTES
) -> dict[str, Any]:
    """The page's data, ready for JSON: positions in metres, probabilities 0 to 1, None for what is not known.

    images: by the runs' names. image_bytes: limit of all JPEG data. Within it come the wrong answers of every run, then
    frames spread evenly over each run.
    """
    views = [_RunView(run, images.get(run.run.name, Images())) for run in runs]
    album = _Album()
    rounds = zip_longest(*(view.by_importance() for view in views))
    wanted = [
        (view, frame) for chosen in rounds for view, frame in zip(views, chosen, strict=True) if frame is not None
    ]
    for view, frame in wanted:
        if not view.add_images(frame, album, image_bytes):
            break
    return {
        "plan": _plan(plan),
        "colours": {"right": style.RIGHT, "wrong": style.WRONG, "off_map": style.OFF_MAP, "unknown": style.UNKNOWN},
        "error_scale": [[i / (len(style.ERROR_STOPS) - 1), stop] for i, stop in enumerate(style.ERROR_STOPS)],
        "runs": [view.content() for view in views],
        "images": album.encoded(),
    }


class _Album:
    """JPEG images, each kept once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.size = 0

    def added_size(self, jpegs: Sequence[bytes]) -> int:
        """Bytes that these would add."""
        return sum(len(jpeg) for jpeg in set(jpegs) - self._numbers.keys())

    def add(self, jpeg: bytes | None) -> int | None:
        """Keep an image and return its number; None for no image."""
        if not jpeg:
            return None
        if jpeg not in self._numbers:
            self._numbers[jpeg] = len(self._numbers)
            self.size += len(jpeg)
        return self._numbers[jpeg]

    def encoded(self) -> list[str]:
        """base64 of each, by number."""
        return [base64.b64encode(jpeg).decode("ascii") for jpeg in self._numbers]


class _RunView:
    """A run as the page shows it."""

    def __init__(self, run: Assessment, images: Images) -> None:
        self.run, self.images = run, images
        self.frames = _frames(run)
        self.depth_m = _farthest(run, images)

    def by_importance(self) -> list[dict[str, Any]]:
        """Answered frames that have an image: wrong answers, then the others, any part of each spread evenly."""
        having = [f for f in self.frames if f["answer"] != "none" and self.images.query(f["number"])]
        wrong = [frame for frame in having if frame["verdict"] == "wrong"]
        return _evenly(wrong) + _evenly([frame for frame in having if frame["verdict"] != "wrong"])

    def add_images(self, frame: dict[str, Any], album: _Album, limit: int) -> bool:
        """Enter the numbers of a frame's images; False if the album would grow beyond limit bytes."""
        query = self.images.query(frame["number"])
        depth = _depth_jpeg(self.images.depth(frame["number"]), self.depth_m)
        places = [self.images.place(place["id"]) for place in frame["places"]]
        if album.size + album.added_size([jpeg for jpeg in (query, depth, *places) if jpeg]) > limit:
            return False
        frame["image"], frame["depth"] = album.add(query), album.add(depth)
        for place, jpeg in zip(frame["places"], places, strict=True):
            place["image"] = album.add(jpeg)
        return True

    def content(self) -> dict[str, Any]:
        """For JSON."""
        run, summary = self.run.run, self.run.summary
        drawn = _thinned(run.T_map_places[:, :2, 3], MAP_POINTS)
        return {
            "name": run.name,
            "condition": run.condition,
            "unit": run.tolerance.unit,
            "tolerance": run.tolerance.metres,
            "track": run.tolerance.frames is None,
            "summary": f"{summary.frames} frames: {summary.on_map} on the map, {summary.off_map} off it, "
            f"{summary.dropped} without an answer.",
            "notes": self._notes(len(drawn)),
            "depth_m": round(self.depth_m, 1),
            "map": drawn.round(2).tolist(),
            "frames": self.frames,
        }

    def _notes(self, places_drawn: int) -> list[str]:
        """What this file does not show."""
        notes = []
        having = len(self.by_importance())
        shown = sum(frame["image"] is not None for frame in self.frames)
        if shown < having:
            notes.append(
                f"To keep this file small, it has the images of {shown} of {having} frames: wrong answers first, the "
                "others spread evenly. The answers of all frames are here."
            )
        if places_drawn < len(self.run.run.T_map_places):
            notes.append(f"The track shows {places_drawn} of the map's {len(self.run.run.T_map_places)} places.")
        return notes


def _frames(run: Assessment) -> list[dict[str, Any]]:
    """Each frame of a run without its images."""
    answers, scores, row = run.run.answers, run.scores, 0
    frames = []
    for answer in answers:
        frame: dict[str, Any] = {
            "number": answer.frame_index,
            "seconds": round((answer.stamp_ns - answers[0].stamp_ns) / 1e9, 3),
            "truth": _point(answer.T_map_camera_true),
            "answer": "none",
            "problem": answer.problem,
            "verdict": "unknown",
            "image": None,
            "depth": None,
            "places": [],
        }
        if answer.answered:
            best = answer.best
            known = bool(scores.known[row])
            frame |= {
                "answer": "off the map" if best is None else "pose",
                "verdict": "unknown" if not known else "right" if scores.correct[row] else "wrong",
                "off_map": bool(scores.off_map[row]),
                "pose": None if best is None else _point(best.T_map_camera),
                "probability": round(answer.hypotheses[0].probability, 4) if answer.hypotheses else 0.0,
                "off_map_probability": round(answer.off_map_probability, 4),
                "error": _number(scores.position_error[row], 2),
                "heading_error_deg": _number(np.degrees(scores.heading_error_rad[row]), 1),
                "latency_ms": _number(answer.latency_ms, 1),
                "places": [_place(run, answer, row, rank) for rank in range(min(len(answer.place_ids), SHOWN_PLACES))],
            }
            row += 1
        frames.append(frame)
    return frames


def _place(run: Assessment, answer: Answer, row: int, rank: int) -> dict[str, Any]:
    probabilities = answer.place_probabilities
    return {
        "id": int(answer.place_ids[rank]),
        "at": _point(answer.T_map_places[rank]),
        "similarity": _number(answer.similarities[rank], 3),
        "probability": _number(probabilities[rank], 4) if len(probabilities) else None,
        "distance": _number(run.scores.match_error[row, rank], 1),
        "right": bool(run.scores.match_right[row, rank]) if run.scores.known[row] else None,
        "image": None,
    }


def _evenly(items: Sequence[T]) -> list[T]:
    """The items in an order whose every beginning is spread evenly over all of them (bit-reversed numbers)."""
    digits = max(len(items) - 1, 0).bit_length()
    order = (int(f"0{i:0{digits}b}"[:0:-1] or "0", 2) for i in range(1 << digits))
    return [items[i] for i in order if i < len(items)]


def _farthest(run: Assessment, images: Images) -> float:
    """Upper end of a run's depth scale, metres: the 98th percentile; 0 without depth."""
    answered = [answer.frame_index for answer in run.run.answers if answer.answered]
    chosen = [answered[int(i)] for i in np.linspace(0, len(answered) - 1, min(len(answered), _DEPTHS_SCALED))]
    depths = [np.asarray(depth, np.float32).ravel() for depth in map(images.depth, chosen) if depth is not None]
    return max(float(np.nanpercentile(np.concatenate(depths), 98)), 1.0) if depths else 0.0


def _depth_jpeg(depth_m: np.ndarray | None, farthest_m: float) -> bytes | None:
    """(h, w) metres as a JPEG: near is light, far is dark."""
    if depth_m is None:
        return None
    import cv2

    share = np.nan_to_num(np.asarray(depth_m, np.float32) / max(farthest_m, 1e-6), nan=1.0)
    coloured = cv2.applyColorMap((255 * (1 - share.clip(0, 1))).astype(np.uint8), cv2.COLORMAP_MAGMA)
    return cv2.imencode(".jpg", coloured, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()


def _plan(plan: Plan) -> dict[str, Any] | None:
    """The ground plan as one SVG image at its position in the map."""
    if not len(plan.polygons):
        return None
    points = np.concatenate([np.asarray(polygon, float) for polygon in plan.polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = np.maximum(high - low, 0.1)
    shapes = []
    for polygon, colour in zip(plan.polygons, plan.colours, strict=True):
        corners = (np.asarray(polygon, float) - low) * [1, -1] + [0, height]
        shapes.append(
            f'<polygon fill="{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners.tolist())}"/>'
        )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}">{"".join(shapes)}</svg>'
    return {
        "source": "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii"),
        "x": round(float(low[0]), 1),
        "y": round(float(high[1]), 1),
        "sizex": round(float(width), 1),
        "sizey": round(float(height), 1),
    }


def _thinned(points: np.ndarray, count: int) -> np.ndarray:
    """At most count of (N, 2) points, spread evenly over their order; those not finite are left out."""
    points = points[np.isfinite(points).all(axis=1)]
    return points[:: max(1, -(-len(points) // count))]


def _point(T_map_camera: np.ndarray | None) -> list[float] | None:
    if T_map_camera is None or not np.isfinite(T_map_camera[:2, 3]).all():
        return None
    return [round(float(value), 2) for value in T_map_camera[:2, 3]]


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
