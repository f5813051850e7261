"""Runs of the Oxford RobotCar data set, as published or already processed. Source: Maddern et al., IJRR 2017."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.image_messages import demosaic
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.track import Track
from vpr_ros.base.world import LOCAL
from vpr_ros.drives.files import detached, first_readable, list_images, list_stamped, read_unchanged
from vpr_ros.drives.formats import Format
from vpr_ros.drives.lidar import PushBroom, depth_image
from vpr_ros.drives.options import DriveOptions
from vpr_ros.drives.robotcar_calibration import CAMERAS, Calibration, bayer_pattern
from vpr_ros.drives.robotcar_poses import find_poses, read_global_track, read_vo_track

_SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
_DEPTH_UNITS = 256.0  # of stored depth maps: 16 bits, 1/256 m, as in KITTI


def is_robotcar(path: Path) -> bool:
    """Whether a folder is a run: it has one of RobotCar's camera folders."""
    return any((path / camera).is_dir() for camera in CAMERAS)


class RobotCarDrive:
    """A run: ``stereo/left`` and the like, ``gps/ins.csv``, ``rtk.csv``, ``vo/vo.csv``, ``lms_front``.

    Images of one channel are raw: they are demosaiced and undistorted. Images of three channels are already processed
    (undistorted, cropped, resized) and are used unchanged. True poses are those of DriveOptions.pose_source, composed
    with the extrinsics to the camera's optical frame; vo.csv also gives T_odom_camera. Depth is read from
    ``depth/<camera>/<timestamp>.png`` (16 bits, 1/256 m), as a simulator writes it, or computed from lidar for raw
    images. Raises DriveError, which names the missing file and its purpose.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        path = Path(os.path.abspath(path))
        self.path, self.name = path, path.name
        self.tally = Tally()
        self._path, self._options = path, options
        self._camera = options.camera or next((c for c in CAMERAS if (path / c).is_dir()), "stereo/left")
        if self._camera not in CAMERAS:
            raise DriveError(f"RobotCar has no camera {self._camera!r}: give one of {', '.join(CAMERAS)}")
        self._images = list_stamped(path / self._camera, _SUFFIXES, f"they are the images of {self._camera}")
        others = sorted(set(list_images(path / self._camera)) - set(self._images.values()))
        self.tally.add_files("image(s) left out: their names are not stamps", others)
        self._calibration = Calibration(path, options.models_dir, options.extrinsics_dir)
        first = first_readable(self._images.values(), read_unchanged)
        self._size, self._raw = (first.shape[0], first.shape[1]), first.ndim == 2
        if self._raw and options.undistort:
            _ = self._undistortion  # fail now, not at the first image
        vo = find_poses(path, "vo")
        self._odometry = None if vo is None else read_vo_track(vo, options.max_pose_gap_ns, self.tally)
        self._truth, world = self._read_truth()
        self.pose_span = None if self._truth is None else self._truth.span
        self.world = world
        known = self._truth is not None or self._odometry is not None
        self._T_vehicle_image = self._calibration.T_vehicle_image(self._camera) if known else np.eye(4)

    def _read_truth(self) -> tuple[Track | None, str]:
        """T_map_vehicle over time and its world; None if there are no poses and pose_source asks for none."""
        source = self._options.pose_source
        if source in ("auto", "rtk", "ins"):
            for name in ("rtk", "ins") if source == "auto" else (source,):
                path = find_poses(self._path, name)
                if path is not None:
                    T_vehicle_ins, gap_ns = self._calibration.extrinsics("ins"), self._options.max_pose_gap_ns
                    return read_global_track(path, T_vehicle_ins, gap_ns, self.tally)
        if source in ("auto", "vo") and self._odometry is not None:
            return self._odometry, LOCAL
        if source != "auto":
            raise DriveError(f"{self._path} has no {source}.csv, the file of the true poses: give another pose_source")
        return None, ""

    @cached_property
    def _undistortion(self) -> tuple[np.ndarray, np.ndarray]:
        return self._calibration.undistortion(self._camera, self._size)

    @cached_property
    def _lidar(self) -> PushBroom | None:
        """The lidar to compute depth from, along visual odometry or else the true track; None without either."""
        track = self._odometry or self._truth
        name = next((n for n in ("lms_front", "lms_rear", "ldmrs") if (self._path / n).is_dir()), None)
        if name is None or track is None:
            return None
        scans = list_stamped(self._path / name, frozenset((".bin",)), "depth is computed from these scans")
        return PushBroom(scans, track, self._calibration.extrinsics(name), planar=name != "ldmrs")

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        stored = self._path / "depth" / self._camera if self._options.depth else None
        stored = stored if stored is not None and stored.is_dir() else None
        for stamp_ns, path in self._images.items():
            read_depth = None
            if stored is not None:
                depth_path = stored / f"{path.stem}.png"
                read_depth = partial(_read_stored_depth, depth_path) if depth_path.is_file() else None
            elif self._computes_depth:
                read_depth = partial(self._compute_depth, stamp_ns)
            T_map_camera, T_odom_camera = self._at(self._truth, stamp_ns), self._at(self._odometry, stamp_ns)
            read = partial(self._read, path)
            detach = detached(read)
            yield DriveFrame(stamp_ns, read, T_map_camera, T_odom_camera, read_depth, detach, self._intrinsics)

    def _at(self, track: Track | None, stamp_ns: int) -> np.ndarray | None:
        T = None if track is None else track.at(stamp_ns)
        return None if T is None else T @ self._T_vehicle_image

    def _read(self, path: Path) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        pixels = read_unchanged(path)
        if pixels.dtype != np.uint8:
            raise ImageError(f"{path} has {pixels.dtype} pixels; RobotCar's have 8 bits")
        if pixels.ndim == 3:
            return cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2RGB)
        if pixels.shape != self._size:
            raise ImageError(f"{path} is {pixels.shape[1]} x {pixels.shape[0]}, unlike the first in {self._camera}")
        image = demosaic(pixels, bayer_pattern(self._camera))
        return cv2.remap(image, *self._undistortion, cv2.INTER_LINEAR) if self._options.undistort else image

    @cached_property
    def _intrinsics(self) -> Intrinsics | None:
        """Of undistorted images. The crop of a processed image is unknown; a raw image's distortion is only a table."""
        if not (self._raw and self._options.undistort):
            return None
        K = self._calibration.model(self._camera).K
        return None if K is None else Intrinsics(self._size[1], self._size[0], K)

    @property
    def _computes_depth(self) -> bool:
        """Whether depth is computed: lidar points are projected with the intrinsics."""
        return self._options.depth and self._lidar is not None and self._intrinsics is not None

    def _compute_depth(self, stamp_ns: int) -> np.ndarray:
        """(H, W) float32 metres from the scans within 10 s; all 0 if the vehicle's pose is unknown."""
        assert self._lidar is not None and self._intrinsics is not None  # see _computes_depth
        return depth_image(self._lidar.points_in(self._T_vehicle_image, stamp_ns), self._intrinsics.K, self._size)


def _read_stored_depth(path: Path) -> np.ndarray:
    """(H, W) float32 metres of a 16-bit depth map in 1/256 m."""
    depth = read_unchanged(path)
    if depth.dtype != np.uint16 or depth.ndim != 2:
        raise DriveError(f"{path} is not a depth map: it needs one channel of 16 bits in 1/256 m")
    return depth.astype(np.float32) / _DEPTH_UNITS


FORMAT = Format(
    "an Oxford RobotCar run",
    is_robotcar,
    RobotCarDrive,
    takes=("camera", "pose_source", "models_dir", "extrinsics_dir", "undistort", "depth", "max_pose_gap_s"),
)
