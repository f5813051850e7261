"""Pictures for slides: the track from above, and queries next to their five best places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr_ros.base.errors import ImageError
from vpr_ros.base.image_messages import decode_compressed
from vpr_ros.evaluation import style
from vpr_ros.evaluation.record import Answer
from vpr_ros.evaluation.summary import Assessment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_PLACES = 5
THUMBNAIL_PX = 280


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run; each function may return None.

    query: the frame's number in its drive -> JPEG bytes. place: place id -> JPEG bytes. depth: the frame's number ->
    (h, w) float metres, as hallucinated by the network.
    """

    query: Callable[[int], bytes | None] = lambda frame_index: None
    place: Callable[[int], bytes | None] = lambda place_id: None
    depth: Callable[[int], np.ndarray | None] = lambda frame_index: None


@dataclass(frozen=True, eq=False)
class Plan:
    """A ground plan, drawn under the tracks: polygons, (n, 2) metres in the map's plane, and a colour for each."""

    polygons: Sequence[np.ndarray] = ()
    colours: Sequence[str] = ()


def draw_pictures(run: Assessment, images: Images, plan: Plan, folder: Path) -> list[Path]:
    """Write ``folder/<run>_map.png`` and ``folder/<run>_queries.png``, each if the run has something to show in it."""
    written = []
    with style.styled():
        for name, figure in (("map", town(run, plan)), ("queries", queries(run, images))):
            if figure is not None:
                folder.mkdir(parents=True, exist_ok=True)
                written.append(folder / f"{run.run.slug}_{name}.png")
                figure.savefig(written[-1], dpi=130, bbox_inches="tight", pad_inches=0.1)
    return written


def town(run: Assessment, plan: Plan) -> Figure | None:
    """The track from above: places, the true track, and each estimate in the colour of its error."""
    answers, scores = answered(run), run.scores
    truth = np.array([_position(a.T_map_camera_true) for a in answers]).reshape(-1, 2)
    places = run.run.T_map_places[:, :2, 3]
    estimate = np.array([_position(a.best.T_map_camera if a.best else None) for a in answers]).reshape(-1, 2)
    if run.run.tolerance.frames is not None or not (np.isfinite(truth).any() or np.isfinite(estimate).any()):
        return None
    corners = np.concatenate([truth, places])
    width, height = np.nanmax(corners, axis=0) - np.nanmin(corners, axis=0) + 60.0
    fig, axes = style.figure(1, 1, (9.5, float(np.clip(7.6 * height / width, 3.0, 9.5)) + 1.0))
    ax = axes[0, 0]
    draw_plan(ax, plan)
    ax.plot(*places.T, "o", color=style.QUIET, markersize=2.2, alpha=0.7, label="places of the map", zorder=3)
    track = np.array([_position(a.T_map_camera_true) for a in run.run.answers]).reshape(-1, 2)
    ax.plot(*track.T, color=style.INK, linewidth=1.1, label="true track", zorder=4)
    astray = np.flatnonzero(scores.position_error >= run.run.tolerance.metres)
    for i in astray:
        ax.plot(*np.stack([truth[i], estimate[i]]).T, color=style.WRONG, linewidth=0.5, alpha=0.5, zorder=4)
    given = np.isfinite(scores.position_error)  # matplotlib before 3.7 cannot draw where all are nan
    points = ax.scatter(
        *estimate[given].T,
        c=scores.position_error[given],
        cmap=style.error_colours(),
        vmin=0,
        vmax=50,
        s=17,
        linewidths=0,
        zorder=6,
    )
    _mark_off_map(ax, truth, scores.called_off_map, scores.off_map)
    fig.colorbar(points, ax=ax, label="error of the estimate (m)", shrink=0.6, extend="max", pad=0.01)
    low, high = np.nanmin(corners, axis=0) - 25.0, np.nanmax(corners, axis=0) + 25.0
    ax.set(
        aspect="equal",
        xlabel="x of the map (m)",
        ylabel="y of the map (m)",
        xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
    )
    ax.grid(not plan.polygons)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return fig


def draw_plan(ax: Axes, plan: Plan) -> None:
    """The ground plan, under everything else."""
    if not len(plan.polygons):
        return
    from matplotlib.collections import PolyCollection

    ax.add_collection(PolyCollection(list(plan.polygons), facecolors=list(plan.colours), edgecolors="none", zorder=1))


def _mark_off_map(ax: Axes, truth: np.ndarray, called: np.ndarray, off_map: np.ndarray) -> None:
    """Frames answered with "not on this map", right or wrong."""
    edge: dict[str, Any] = {"markersize": 5.5, "zorder": 5, "linestyle": "none"}
    if (called & off_map).any():
        ax.plot(*truth[called & off_map].T, "s", color=style.OFF_MAP, label="“not on this map”, right", **edge)
    if (called & ~off_map).any():
        ax.plot(*truth[called & ~off_map].T, "X", color=style.WRONG, label="“not on this map”, wrong", **edge)


def queries(run: Assessment, images: Images) -> Figure | None:
    """Queries next to their five best places, framed in green if right and in red if wrong."""
    chosen = choose_frames(run, count=6)
    shown = [(position, decode(images.query(answered(run)[position].frame_index))) for position in chosen]
    if not any(image is not None for _, image in shown):
        return None
    tallest = max(image.shape[0] / image.shape[1] for _, image in shown if image is not None)
    fig, axes = style.figure(len(shown), 1 + SHOWN_PLACES, (11.5, (1.83 * tallest + 0.35) * len(shown) + 0.25))
    for row, (position, query) in zip(axes, shown, strict=True):
        answer = answered(run)[position]
        style.show_image(row[0], _thumbnail(query), _verdict(run, position))
        for rank, ax in enumerate(row[1:]):
            if rank >= len(answer.place_ids):
                ax.set_axis_off()
                continue
            error, right = run.scores.match_error[position, rank], run.scores.match_right[position, rank]
            note = f"similarity {answer.similarities[rank]:.2f}" + (
                f", {error:.0f} {run.run.tolerance.unit}" if np.isfinite(error) else ""
            )
            image = decode(images.place(int(answer.place_ids[rank])))
            style.show_image(ax, _thumbnail(image), note, style.RIGHT if right else style.WRONG)
    for ax, title in zip(
        axes[0], ["query", "best place", *(f"place {n}" for n in range(2, SHOWN_PLACES + 1))], strict=True
    ):
        ax.set_title(title)
    return fig


def answered(run: Assessment) -> list[Answer]:
    """The answered frames, in the order of the rows of ``run.scores``."""
    return [answer for answer in run.run.answers if answer.answered]


def choose_frames(run: Assessment, count: int) -> list[int]:
    """Rows of ``run.scores`` to show: evenly spread, with a miss and an off-map frame if there are any."""
    scores = run.scores
    groups = [np.flatnonzero(scores.off_map), np.flatnonzero(scores.on_map & ~scores.match_right[:, 0])]
    chosen = {int(group[len(group) // 2]) for group in groups if len(group)}
    usual = np.setdiff1d(np.flatnonzero(~scores.off_map), list(chosen))
    wanted = min(count - len(chosen), len(usual))
    spread = (np.arange(wanted) + 0.5) * len(usual) / max(wanted, 1)
    return sorted(chosen | {int(usual[int(i)]) for i in spread})[:count]


def _verdict(run: Assessment, position: int) -> str:
    """The answer for a frame and its error."""
    scores = run.scores
    sure = f"{100 * scores.confidence[position]:.0f} %"
    if scores.called_off_map[position]:
        return f"off the map: {sure}" + (", right" if scores.correct[position] else ", wrong")
    error = scores.position_error[position]
    return f"answer: {sure}" + (f", {error:.1f} {run.run.tolerance.unit} off" if np.isfinite(error) else "")


def _position(T_map_camera: np.ndarray | None) -> np.ndarray:
    return np.full(2, np.nan) if T_map_camera is None else T_map_camera[:2, 3]


def decode(encoded: bytes | None) -> np.ndarray | None:
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB; None if there are none or they are broken."""
    if not encoded:
        return None
    try:
        return decode_compressed(encoded)
    except ImageError:
        return None


def _thumbnail(image_rgb: np.ndarray | None) -> np.ndarray | None:
    if image_rgb is None or max(image_rgb.shape[:2]) <= THUMBNAIL_PX:
        return image_rgb
    import cv2

    scale = THUMBNAIL_PX / max(image_rgb.shape[:2])
    size = (max(1, round(image_rgb.shape[1] * scale)), max(1, round(image_rgb.shape[0] * scale)))
    return cv2.resize(np.ascontiguousarray(image_rgb), size, interpolation=cv2.INTER_AREA)
