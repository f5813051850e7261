"""The camera's position by other sources at the stamp of an image: another localiser, satellites, a start pose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import DriveError
from vpr_ros.base.messages import matrix_from_pose
from vpr_ros.base.messages import stamp_ns as to_ns
from vpr_ros.base.records import Prior
from vpr_ros.base.world import utm_of
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.ros.health.condition import Log
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.params import PriorConfig

_SPEED_M_S = 10.0  # how fast a prior becomes less exact with its age
_UNKNOWN_POSE_M, _UNKNOWN_FIX_M = 1.0, 15.0  # standard deviation of a message that states none
_LEAST_FIX_M = 2.0  # the antenna is not the camera
_UNKNOWN_YAW = np.radians(15.0)
_SAY_AGAIN_S = 30.0  # why a prior is not used


@dataclass(frozen=True, eq=False)
class _Stored:
    """A message as numbers. T_map_base: (4, 4) of a pose, or None. position, covariance: as in Prior, of a fix."""

    place_map: PlaceMap  # in use when it came
    stamp_ns: int
    T_map_base: np.ndarray | None
    position: np.ndarray
    covariance: np.ndarray
    yaw_sigma: float
    lasting: bool


class PriorTrack:
    """The latest message of each source. Messages that cannot be used are counted and reported. No ROS here.

    ``store_*`` may be called from another thread than ``at``.
    """

    def __init__(
        self,
        config: PriorConfig,
        place_map: Callable[[], PlaceMap],
        map_frame: Callable[[], str],
        health: Health,
        log: Log,
    ) -> None:
        """place_map, map_frame: of the map in use now, which ~/load_map changes."""
        self._config = config
        self._place_map, self._map_frame = place_map, map_frame
        self._health, self._log = health, log
        self._lock = threading.Lock()
        self._latest: dict[str, _Stored] = {}
        self._said_s: dict[str, float] = {}  # when each kind of reason was logged last

    def at(self, stamp_ns: int, T_base_camera: np.ndarray | None) -> tuple[Prior, ...]:
        """The priors for an image. A start pose is returned once; those of another map are forgotten.

        T_base_camera: (4, 4), or None if unknown.
        """
        with self._lock:
            place_map = self._place_map()
            latest = [stored for stored in self._latest.values() if stored.place_map is place_map]
            self._latest.pop("initial_pose", None)
        fresh = [stored for stored in latest if self._fresh(stored, stamp_ns)]
        return tuple(self._prior(stored, stamp_ns, T_base_camera) for stored in fresh)

    def store_pose(self, message: Any, source: str = "pose") -> None:
        """Store a PoseWithCovarianceStamped of the base in the map's frame. source: "pose" or "initial_pose"."""
        frame, wanted = message.header.frame_id.lstrip("/"), self._map_frame()
        T_map_base = matrix_from_pose(message)
        if frame != wanted:
            self._refuse("frame", f"priors of prior.{source} are in frame '{frame}', not in the map's frame '{wanted}'")
        elif T_map_base is None:
            self._refuse("pose", f"a prior of prior.{source} is not a finite pose with a unit quaternion")
        else:
            values = np.array(message.pose.covariance, float).reshape(6, 6)
            stated = _stated(values)
            covariance = np.eye(2) * _UNKNOWN_POSE_M**2 if stated is None else stated
            known = stated is not None and np.isfinite(values[5, 5]) and values[5, 5] > 0
            yaw_sigma = float(np.sqrt(values[5, 5])) if known else _UNKNOWN_YAW
            lasting = source == "initial_pose"
            stamp_ns = to_ns(message.header.stamp)
            place_map = self._place_map()
            self._keep(
                source, _Stored(place_map, stamp_ns, T_map_base, T_map_base[:2, 3], covariance, yaw_sigma, lasting)
            )

    def store_fix(self, message: Any) -> None:
        """Store a NavSatFix. Those without a fix are counted."""
        from vpr_ros.drives.geodesy import utm_from_latlon

        world = self._place_map().world
        here = np.array([message.latitude, message.longitude], float)
        if not utm_of(world):
            self._refuse("world", f"prior.fix needs a map in UTM coordinates, and this one is in world '{world}'")
        elif message.status.status < 0 or not np.isfinite(here).all() or not here.any():
            self._health.count("priors without a fix")
        else:
            try:
                positions, _ = utm_from_latlon(here[:1], here[1:], np.zeros(1), world)
            except DriveError as error:
                self._refuse("fix", f"a prior of prior.fix is no position ({error})")
                return
            position = positions[0, :2] - self._place_map().origin[:2]
            known = message.position_covariance_type != 0
            stated = _stated(np.array(message.position_covariance, float).reshape(3, 3)) if known else None
            covariance = np.eye(2) * _UNKNOWN_FIX_M**2 if stated is None else stated
            covariance = covariance + np.eye(2) * _LEAST_FIX_M**2
            stamp_ns = to_ns(message.header.stamp)
            self._keep("fix", _Stored(self._place_map(), stamp_ns, None, position, covariance, np.pi, lasting=False))

    def clear(self) -> None:
        """Forget all messages: the map or the clock changed."""
        with self._lock:
            self._latest.clear()

    def _keep(self, source: str, stored: _Stored) -> None:
        self._health.count("priors received")
        with self._lock:
            self._latest[source] = stored

    def _refuse(self, kind: str, why: str) -> None:
        """Count it, and say why."""
        self._health.count("priors not used")
        self._say(kind, f"{why}: it is not used")

    def _say(self, kind: str, sentence: str) -> None:
        """Log each kind of reason now and then, not the first of them alone."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(kind, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said_s[kind] = now_s
            self._log.warning(sentence)

    def _fresh(self, stored: _Stored, stamp_ns: int) -> bool:
        fresh = stored.lasting or abs(stamp_ns - stored.stamp_ns) <= self._config.max_age * 1e9
        if not fresh:
            self._health.count("images with an old prior")
            away_s = abs(stamp_ns - stored.stamp_ns) / 1e9
            self._say("age", f"the latest prior is {away_s:.1f} s from the images' stamps, further than prior.max_age")
        return fresh

    def _prior(self, stored: _Stored, stamp_ns: int, T_base_camera: np.ndarray | None) -> Prior:
        age_s = 0.0 if stored.lasting else abs(stamp_ns - stored.stamp_ns) * 1e-9
        position, heading = stored.position, None
        if stored.T_map_base is not None and T_base_camera is not None:
            T_map_camera = stored.T_map_base @ T_base_camera
            position, heading = T_map_camera[:2, 3], float(geometry.heading(T_map_camera))
        covariance = stored.covariance + np.eye(2) * (_SPEED_M_S * age_s) ** 2
        return Prior(position, covariance, heading, stored.yaw_sigma, self._config.wrong, stored.lasting)


def _stated(values: np.ndarray) -> np.ndarray | None:
    """The covariance (2, 2) of x and y in a message's (N, N), or None if it states none."""
    plane = (values[:2, :2] + values[:2, :2].T) / 2
    return plane if np.isfinite(plane).all() and np.linalg.eigvalsh(plane)[0] > 0 else None
