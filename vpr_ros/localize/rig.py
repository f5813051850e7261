"""The rig: the robot's cameras, and the poses it may have on a map.

The filter's grid has a cell for each camera and place: "this camera is at this place". With one camera the cells are
the places. The pose of the rig is that of its first camera, ``T_map_first``.
"""

from __future__ import annotations

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.base.errors import ConfigError
from vpr_ros.localize.constants import FILTER
from vpr_ros.localize.sparse import SparseValues
from vpr_ros.maps.places import Places


class Rig:
    """Cell c * N + i says that camera c is at place i of N. Cameras join with their first image."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._numbers: dict[str, int] = {}
        self._T_base_first: np.ndarray | None = None
        self._T_first_camera = np.eye(4)[None]

    @property
    def cameras(self) -> int:
        """Number of cameras, at least 1."""
        return len(self._T_first_camera)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.cameras * len(self.places)

    @property
    def forward(self) -> np.ndarray:
        """Direction (3,) of driving in the first camera's frame: most cameras look where they go."""
        return np.array([0.0, 0.0, 1.0]) if self._T_base_first is None else self._T_base_first[0, :3]

    def number(self, camera: str, T_base_camera: np.ndarray | None) -> int:
        """The number of a camera, which joins if it is new.

        T_base_camera: (4, 4), optical, on a base whose x axis points forward; None for the only camera of a robot.
        Raises ConfigError if one of several cameras has no such pose.
        """
        number = self._numbers.get(camera, len(self._numbers))
        if number == 0:
            self._T_base_first = T_base_camera
        elif self._T_base_first is None or T_base_camera is None:
            raise ConfigError(
                f"each of several cameras needs its pose on the robot, T_base_camera; '{camera}' joins others"
            )
        else:
            T_first_camera = geometry.inverse(self._T_base_first) @ T_base_camera
            if number == self.cameras:
                self._T_first_camera = np.concatenate([self._T_first_camera, T_first_camera[None]])
            self._T_first_camera[number] = T_first_camera
        self._numbers[camera] = number
        return number

    def T_first_camera(self, camera: int) -> np.ndarray:
        """Pose (4, 4) of a camera in the first one's frame."""
        return self._T_first_camera[camera]

    def T_odom_first(self, camera: int, T_odom_camera: np.ndarray) -> np.ndarray:
        """Pose (4, 4) of the first camera in odometry, from that of a camera."""
        if not camera:
            return T_odom_camera
        return np.asarray(T_odom_camera @ geometry.inverse(self._T_first_camera[camera]))

    def places_of(self, cells: np.ndarray) -> np.ndarray:
        """Rows (K,) of the places that cells (K,) speak of."""
        return cells % len(self.places)

    def cells_of(self, camera: int, rows: np.ndarray) -> np.ndarray:
        """Cells (K,): the camera is at the places at rows (K,)."""
        return camera * len(self.places) + rows

    def poses(self, cells: np.ndarray) -> np.ndarray:
        """T_map_first (K, 4, 4) of cells (K,)."""
        T_map_camera = self.places.T_map_camera[self.places_of(cells)]
        if self._is_one_camera:
            return T_map_camera
        T_camera_first = np.stack([geometry.inverse(T) for T in self._T_first_camera])
        return np.asarray(T_map_camera @ T_camera_first[cells // len(self.places)])

    def positions(self, cells: np.ndarray) -> np.ndarray:
        """(K, 3) metres in the map, of the first camera in cells (K,)."""
        return self.places.positions[cells] if self._is_one_camera else self.poses(cells)[:, :3, 3]

    def near(self, T_map_first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of a pose (M, 4, 4) of the first camera and a cell whose camera would be near its place.

        Returns rows of poses, cells, distances of camera and place in metres, and turns of the camera from the place
        in radians, (P,) each.
        """
        found = []
        for camera, T_first_camera in enumerate(self._T_first_camera):
            T_map_camera = T_map_first if self._is_one_camera else T_map_first @ T_first_camera
            row, place, distance, turn = self._places_near(T_map_camera)
            found.append((row, self.cells_of(camera, place), distance, turn))
        row, cell, distance, turn = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return row, cell, distance, turn

    def seen(self, camera: int, cells: np.ndarray) -> np.ndarray:
        """Row (K,) of the place that shows what a camera sees in each of cells (K,); -1 where the map has none.

        In a cell of the camera itself that is its place. In a cell of another camera it is the place near the pose that
        this camera then has.
        """
        found = np.where(cells // len(self.places) == camera, self.places_of(cells), -1)
        others = np.flatnonzero(found < 0)
        if not len(others):
            return found
        row, place, distance, turn = self._places_near(self.poses(cells[others]) @ self._T_first_camera[camera])
        alike = self._shows(distance, turn)
        nearest_last = np.flatnonzero(alike)[np.argsort(-distance[alike], kind="stable")]
        found[others[row[nearest_last]]] = place[nearest_last]
        return found

    def _shows(self, distance: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Whether places show what cameras see that are so far from them, metres, and so turned, radians: (P,) each."""
        return (distance < FILTER.seen_spacings * self.places.spacing) & (np.abs(turn) < FILTER.sigma_heading)

    def _places_near(self, T_map_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of a camera's pose (M, 4, 4) and a place near it: rows of both, distances, turns; as ``near``."""
        row, place, distance = self.places.neighbours.near(T_map_camera[:, :3, 3])
        turn = geometry.wrap_angle(geometry.heading(T_map_camera)[row] - self.places.headings[place])
        return row, place, distance, turn

    def evidence(self, camera: int, of_places: SparseValues, cells: np.ndarray) -> SparseValues:
        """Evidence of cells from that of places for what a camera sees. cells: (K,) those that need it exactly.

        Where the map does not show what the camera would see, its image says nothing.
        """
        if self._is_one_camera:
            return of_places
        alike = of_places.rows[of_places.values > max(of_places.rest, 0.0)]
        _, near, distance, turn = self.near(self.poses(self.cells_of(camera, alike)))
        same_pose = near[self._shows(distance, turn)]  # as other cameras' cells say it
        cells = np.unique(np.concatenate([self.cells_of(camera, of_places.rows), same_pose, cells]))
        seen = self.seen(camera, cells)
        return SparseValues(cells, np.where(seen < 0, 0.0, of_places.at(seen)), of_places.rest, self.cells)

    def at_places(self, camera: int, belief: SparseValues) -> SparseValues:
        """Belief that a camera sees what each place shows, from that in cells."""
        if self._is_one_camera:
            return belief
        seen = self.seen(camera, belief.rows)
        nothing = SparseValues(np.zeros(0, np.int64), np.zeros(0), belief.rest, len(self.places))
        return nothing.added(seen[seen >= 0], belief.values[seen >= 0])

    @property
    def _is_one_camera(self) -> bool:
        return self.cameras == 1
