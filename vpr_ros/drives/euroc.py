"""Sequences in the layout of EuRoC MAV and TUM VI. Source: Burri et al., IJRR 2016."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError, DriveError, ImageError
from vpr_ros.base.geometry import is_rigid
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import in_order
from vpr_ros.base.track import Track
from vpr_ros.base.world import LOCAL
from vpr_ros.drives.files import file_frame, first_readable, list_images, read_bytes, read_image, read_table
from vpr_ros.drives.formats import Format
from vpr_ros.drives.left_out import NAMED_TWICE
from vpr_ros.drives.options import DriveOptions

TIME, FILE = "timestamp [ns]", "filename"
POSITION = tuple(f"p_rs_r_{axis} [m]" for axis in "xyz")
QUATERNION = tuple(f"q_rs_{axis} []" for axis in "xyzw")
_OPENCV = re.compile(rb"^%YAML.*$|^---.*$|!!opencv-matrix", re.MULTILINE)  # what OpenCV adds to YAML
_RADTAN = ("radtan", "radialtangential", "plumbbob", "none")  # Kalibr's, EuRoC's and ROS's names, letters alone
_FISHEYE = ("equidistant", "equi", "fisheye", "kb4", "kannalabrandt4")  # TUM VI's, Kalibr's, OpenCV's and Basalt's
_KNOWN_MODELS = "pinhole cameras with radtan or equidistant distortion"
_POSES = ("state_groundtruth_estimate0", "mocap0")  # EuRoC's and TUM VI's
_OTHER_POSES = ("vicon0", "leica0")  # of another frame, and without orientations


def is_euroc(path: Path) -> bool:
    """Whether a folder is a sequence, its mav0 or one of its cameras' folders."""
    return bool(_cameras(_root(path)))


def _root(path: Path) -> Path:
    if _is_camera(path):
        return path.parent
    return path / "mav0" if (path / "mav0").is_dir() else path


def _is_camera(path: Path) -> bool:
    return path.name.startswith("cam") and (path / "data.csv").is_file() and (path / "data").is_dir()


def _cameras(root: Path) -> list[str]:
    return sorted(p.parent.name for p in root.glob("cam*/data.csv"))


class EurocDrive:
    """``mav0/cam0`` with data.csv, data/ and sensor.yaml, and poses in ``mav0/state_groundtruth_estimate0`` or mocap0.

    Poses are of the body in a local frame, z up. The camera's pose on the body is DriveOptions.T_base_camera, or
    sensor.yaml's T_BS without one. Images that data.csv names and that are missing are left out. Raises DriveError for
    any other missing file.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        path = path.resolve()
        root = _root(path)
        self.path, self.name = path, root.parent.name if root.name == "mav0" else root.name
        self.tally = Tally()
        cameras = _cameras(root)
        camera = options.camera or (path.name if _is_camera(path) else cameras[0])
        if camera not in cameras:
            raise DriveError(f"{root} has no camera {camera!r}: give one of {', '.join(cameras)}")
        self._images = self._listed(root / camera)
        sensor = _sensor(root / camera / "sensor.yaml")
        self._intrinsics = self._calibration(sensor, root / camera / "sensor.yaml")
        self._track = self._read_poses(root, sensor, options)
        self.world = "" if self._track is None else LOCAL
        self.pose_span = None if self._track is None else self._track.span

    def _calibration(self, sensor: dict[str, Any], path: Path) -> Intrinsics | None:
        """The camera's intrinsics; None without any, or with a model that is not known."""
        model, kind = (
            re.sub("[^a-z0-9]", "", str(sensor.get(name) or usual).lower())
            for name, usual in (("distortion_model", "radtan"), ("camera_model", "pinhole"))
        )
        if kind not in ("pinhole", "perspective") or model not in (*_RADTAN, *_FISHEYE):
            what = f"{path}: {kind}, {model}"
            self.tally.add(f"camera calibration(s) left out: only {_KNOWN_MODELS} are known", what)
            return None
        camera = _intrinsics(sensor, path, model in _FISHEYE)
        try:
            if camera is not None:
                image = first_readable((image for _, image in self._images), read_image)
                camera.check_fits(image.shape[1], image.shape[0])
        except (DriveError, ImageError):  # then no image is of use
            pass
        except ConfigError as error:
            self.tally.add("camera calibration(s) left out: the images are of another shape", f"{path}: {error}")
            return None
        return camera

    def _listed(self, folder: Path) -> list[tuple[int, Path]]:
        """(stamp, image) of each row of a camera's data.csv, in order of time."""
        table = read_table(folder / "data.csv")
        stamps = table.stamps_ns(TIME, "nanoseconds", "the images' times").tolist()
        rows = list(zip(stamps, table.text(FILE, "the images' names"), strict=True))
        listed = sorted(set(rows))
        self.tally.add(NAMED_TWICE, str(table.path), len(rows) - len(listed))
        named = {name for _, name in listed}
        others = [image for image in list_images(folder / "data") if image.name not in named]
        self.tally.add_files("image(s) left out: data.csv does not name them", others)
        found = [(stamp, folder / "data" / name) for stamp, name in listed if (folder / "data" / name).is_file()]
        if not found:
            raise DriveError(f"none of the images that {table.path} names is in {folder / 'data'}")
        self.tally.add("image(s) left out: data.csv names them and they are missing", "", len(listed) - len(found))
        order, moved = in_order([stamp for stamp, _ in found], self.tally, str(table.path))
        return [(stamp, found[row][1]) for row, stamp in zip(order, moved, strict=True)]

    def _read_poses(self, root: Path, sensor: dict[str, Any], options: DriveOptions) -> Track | None:
        """T_map_camera over time; None without a file of poses."""
        path = next((root / name / "data.csv" for name in _POSES if (root / name / "data.csv").is_file()), None)
        if path is None:
            others = [name for name in _OTHER_POSES if (root / name / "data.csv").is_file()]
            kind = f"file(s) left out: poses are read from {' or '.join(_POSES)}"
            self.tally.add(kind, f"{others[0]}/data.csv" if others else "", len(others))
            return None
        mount = options.mount
        if mount is None and "T_BS" not in sensor:
            raise DriveError(f"{root} has no pose of the camera on the body (T_BS in sensor.yaml): give T_base_camera")
        table = read_table(path)
        time = TIME if TIME in table.columns else "timestamp"
        stamps_ns = table.stamps_ns(time, "nanoseconds", "the poses' times")
        poses = table.numbers((*POSITION, *QUATERNION), "the body's poses")
        T = table.poses(poses[:, :3], poses[:, 3:])
        good = np.array([pose is not None for pose in T])
        self.tally.add("pose(s) left out: not a number", str(path), int((~good).sum()))
        if not good.any():
            raise DriveError(f"{path} holds no poses")
        T_body_camera = np.reshape(sensor["T_BS"]["data"], (4, 4)) if mount is None else mount
        known = [pose for pose in T if pose is not None]
        track = Track.of(stamps_ns[good], known, options.max_pose_gap_ns, self.tally, str(path))
        return track.compose(T_body_camera)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for stamp_ns, path in self._images:
            T_map_camera = None if self._track is None else self._track.at(stamp_ns)
            yield file_frame(stamp_ns, path, T_map_camera, self._intrinsics)


def _sensor(path: Path) -> dict[str, Any]:
    """A camera's sensor.yaml, {} without one."""
    if not path.is_file():
        return {}
    try:
        sensor = yaml.safe_load(_OPENCV.sub(b"", read_bytes(path))) or {}
        if "T_BS" in sensor and not is_rigid(np.reshape(np.array(sensor["T_BS"]["data"], dtype=float), (4, 4))):
            raise ValueError("T_BS is no rotation and translation")
        return dict(sensor)
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise DriveError(f"{path} cannot be read as EuRoC's sensor.yaml: {str(error).splitlines()[0]}") from error


def _intrinsics(sensor: dict[str, Any], path: Path, fisheye: bool) -> Intrinsics | None:
    if not {"intrinsics", "resolution"} <= set(sensor):
        return None
    try:
        fu, fv, cu, cv = map(float, sensor["intrinsics"])
        width, height = map(int, sensor["resolution"])
        distortion = tuple(map(float, sensor.get("distortion_coefficients") or ()))
    except (TypeError, ValueError) as error:
        raise DriveError(f"{path} has invalid intrinsics or an invalid resolution: {error}") from error
    K = np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]])
    return Intrinsics(width, height, K, distortion, fisheye)


FORMAT = Format(
    "a EuRoC sequence",
    is_euroc,
    EurocDrive,
    takes=("camera", "max_pose_gap_s", "T_base_camera"),
)
