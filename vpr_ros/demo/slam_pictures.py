"""Pictures and charts of `vpr demo slam`: tracks over the town, errors, and the images of closures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.demo.slam_session import FALSE_M, RecordedClosure, Session, SessionScores
from vpr_ros.drives.open import open_drive
from vpr_ros.evaluation import charts, style
from vpr_ros.evaluation.charts import Figure
from vpr_ros.evaluation.scenes import Plan, draw_plan
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.local_features import LocalFeatures
from vpr_ros.matching.verify import verify

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

ODOMETRY, OPTIMISED, EARLIER = "#e69f00", "#0072b2", "#6a4c93"
_SHOWN = 6
_LINES = 40  # of the inliers of one closure


def town(session: Session, score: SessionScores, plan: Plan) -> Picture:
    """Both tracks over the town, aligned as for the error, and the places of loop closures."""
    true = session.truth.T[:, :2, 3]
    fig, axes = style.figure(1, 2, (11.5, 6.9), sharex=True, sharey=True)
    for ax, track, error, colour, title in (
        (axes[0, 0], session.odometry, score.before, ODOMETRY, "odometry"),
        (axes[0, 1], session.optimised, score.after, OPTIMISED, "with loop closures"),
    ):
        draw_plan(ax, plan)
        found = (error.T_truth_estimate @ track.T)[:, :2, 3]
        ax.plot(*true.T, color=style.INK, linewidth=1.0, label="true track", zorder=4)
        ax.plot(*found.T, color=colour, linewidth=1.8, label=title, zorder=5)
        ax.set(aspect="equal", title=f"{title}: error {error.rmse:.2f} m", xlabel="east (m)")
        ax.grid(not plan.polygons)
    axes[0, 0].set_ylabel("north (m)")
    _mark_closures(axes[0, 1], session, score)
    low, high = true.min(0) - 30, true.max(0) + 30
    axes[0, 0].set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    shown = {label: handle for ax in axes[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=len(shown))
    return fig


def _mark_closures(ax: Axes, session: Session, score: SessionScores) -> None:
    """A dot at the robot's position for each closure, coloured by the map of the match; a cross if it is false."""
    for own, colour, label in (
        (True, style.RIGHT, "closures on its own past"),
        (False, EARLIER, "closures on the earlier map"),
    ):
        at = [session.truth.at(c.stamp_ns) for c in session.closures if (c.match_map == "") == own]
        if at:
            points = np.array(at)[:, :2, 3]
            ax.plot(*points.T, "o", color=colour, markersize=2.6, label=f"{label} ({len(at)})", zorder=6)
    wrong = [session.truth.at(session.closures[i].stamp_ns) for i in np.flatnonzero(score.position_m > FALSE_M)]
    if wrong:
        ax.plot(*np.array(wrong)[:, :2, 3].T, "X", color=style.WRONG, markersize=7, label="false", zorder=7)


def error_along(session: Session, score: SessionScores) -> Figure:
    """Chart of the distance from the truth over the distance driven, before and after."""
    steps = np.linalg.norm(np.diff(session.truth.T[:, :3, 3], axis=0), axis=1)
    driven = np.concatenate([[0.0], np.cumsum(steps)])
    lines = []
    for track, error, colour, name in (
        (session.odometry, score.before, ODOMETRY, "odometry"),
        (session.optimised, score.after, OPTIMISED, "with loop closures"),
    ):
        x = np.interp(track.stamps_ns, session.truth.stamps_ns, driven)
        lines.append(charts.line(x, error.errors, colour, name))
    return {"data": lines, "layout": charts.layout("distance driven (m)", "error (m)", y_range=None)}


def error_of_closures(session: Session, score: SessionScores) -> Figure | None:
    """Chart of the errors of the measured poses, and of these errors relative to the stated covariance."""
    if not session.closures:
        return None
    own = np.array([closure.match_map == "" for closure in session.closures])
    groups = [(own, style.RIGHT, "own past"), (~own, EARLIER, "earlier map")]
    bars: list[Figure] = []
    layout: Figure = {"barmode": "overlay", "grid": {"rows": 1, "columns": 3, "pattern": "independent"}}
    for number, (values, label, top) in enumerate(
        (
            (score.position_m, "position error (m)", 1.0),
            (score.rotation_deg, "rotation error (deg)", 2.0),
            (score.nees, "NEES (expected 6)", 30.0),
        ),
        start=1,
    ):
        edges = np.linspace(0, top, 31)
        for chosen, colour, name in groups:
            if chosen.any():
                counts, _ = np.histogram(values[chosen].clip(0, top), edges)
                bars.append(
                    {
                        "type": "bar",
                        "x": (0.5 * (edges[1:] + edges[:-1])).round(4).tolist(),
                        "y": counts.tolist(),
                        "xaxis": f"x{number}",
                        "yaxis": f"y{number}",
                        "marker": {"color": colour, "opacity": 0.65},
                        "name": name,
                        "legendgroup": name,
                        "showlegend": number == 1,
                    }
                )
        suffix = "" if number == 1 else str(number)
        layout[f"xaxis{suffix}"] = {"title": {"text": f"{label}; last bar: {top:g} and more"}}
        layout[f"yaxis{suffix}"] = {"title": {"text": "closures"}}
    return {"data": bars, "layout": layout}


def gallery(session: Session, score: SessionScores, sessions: Mapping[str, Session]) -> Picture | None:
    """Closures from the smallest error to the largest: the image, the earlier one, and lines between matching features.

    Closures on earlier maps are preferred, because they cross seasons. sessions: by the file names of their maps; "" is
    this one.
    """
    if not session.closures:
        return None
    across = [i for i, closure in enumerate(session.closures) if closure.match_map]
    order = np.array(across or range(len(session.closures)))
    order = order[np.argsort(score.position_m[order])]
    chosen = [int(order[k]) for k in np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int)]
    rows = -(-len(chosen) // 2)
    fig, axes = style.figure(rows, 2, (11.5, 2.45 * rows))
    for ax in axes.ravel()[len(chosen) :]:
        ax.set_axis_off()
    for ax, number in zip(axes.ravel(), chosen, strict=False):
        closure = session.closures[number]
        note = f"{closure.inliers} matching features; error {score.position_m[number]:.2f} m"
        note += f", {score.rotation_deg[number]:.1f} deg"
        frame = style.RIGHT if score.position_m[number] <= FALSE_M else style.WRONG
        _draw_match(ax, closure, session, sessions[closure.match_map], note, frame)
    return fig


def _draw_match(ax: Axes, closure: RecordedClosure, session: Session, matched: Session, note: str, frame: str) -> None:
    """Two images side by side and lines between matching features, as the node verified them."""
    now, camera = _image(session, closure.stamp_ns)
    then, _ = _image(matched, closure.match_stamp_ns)
    width = now.shape[1]
    style.show_image(ax, np.concatenate([now, then], axis=1), note, frame)
    query, place = _features(session, closure.keyframe_id), _features(matched, closure.match_id)
    found = None if query is None or place is None else verify(place, query)
    if found is None or query is None or place is None or camera is None:
        return
    picked = np.linspace(0, found.inliers - 1, min(_LINES, found.inliers)).astype(int)
    left = _pixels(query.rays[found.rows_query[picked]], camera)
    right = _pixels(place.rays[found.rows_place[picked]], camera) + np.array([width, 0])
    for start, end in zip(left, right, strict=True):
        ax.plot(*np.stack([start, end]).T, color=style.OFF_MAP, linewidth=0.6, alpha=0.8)
    ax.plot(*np.concatenate([left, right]).T, "o", color=style.OFF_MAP, markersize=1.8)
    ax.set(xlim=(-0.5, 2 * width - 0.5), ylim=(now.shape[0] - 0.5, -0.5))


def _image(session: Session, stamp_ns: int) -> tuple[np.ndarray, Intrinsics | None]:
    """(H, W, 3) uint8 RGB of a session's bag, and its camera."""
    frame = next(frame for frame in open_drive(session.bag) if frame.stamp_ns == stamp_ns)
    return frame.read(), frame.intrinsics


def _features(session: Session, place_id: int) -> LocalFeatures | None:
    """Of a keyframe, as its map holds them."""
    with PlaceMap.open(session.map_path) as place_map:
        data = place_map.features(place_id)
    return None if data is None else LocalFeatures.from_bytes(data)


def _pixels(rays: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """(N, 2) pixels of rays, for a camera without distortion."""
    return rays @ np.asarray(camera.K)[:2, :2].T + np.asarray(camera.K)[:2, 2]
