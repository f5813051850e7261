"""Oxford RobotCar's camera models, undistortion tables and extrinsics. Source: Maddern et al., IJRR 2017, and its SDK.

Frames of the vehicle, its cameras and its INS are x forward, y right, z down; "image" is the optical frame (x right,
y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import beyond_a_turn, inverse, is_rigid, transform_from_xyzrpy
from vpr_ros.drives.files import beside, number, read_bytes

CAMERAS = {
    "stereo/left": "stereo_wide_left",
    "stereo/right": "stereo_wide_right",
    "stereo/centre": "stereo_narrow_left",
    "mono_left": "mono_left",
    "mono_right": "mono_right",
    "mono_rear": "mono_rear",
}
# Published extrinsics, used without a file: x y z roll pitch yaw.
_PUBLISHED = {
    "stereo": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "ins": (-1.7132, 0.1181, 1.1948, -0.0125, 0.0400, 0.0050),
    "lms_front": (1.7589, 0.2268, 1.0411, -0.0437, -1.4572, 0.0356),
    "ldmrs": (1.5349, 0.0090, 1.3777, 0.0205, 0.0767, -0.0299),
}
_AXES = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # T_camera_image of the left cameras


def bayer_pattern(camera: str) -> str:
    """Order of the colour filter in raw images: first two pixels of rows one and two."""
    return "gbrg" if camera.startswith("stereo") else "rggb"


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A camera of RobotCar.

    K: (3, 3) intrinsics of undistorted images in pixels, or None without a model file.
    T_camera_image: (4, 4) optical frame in the camera's frame (x forward, y right, z down).
    """

    K: np.ndarray | None
    T_camera_image: np.ndarray


class Calibration:
    """Finds and reads the calibration files of a run. Raises DriveError, which names the file and its purpose."""

    def __init__(self, run: Path, models_dir: str, extrinsics_dir: str) -> None:
        self._models = self._folder(run, models_dir, "models")
        self._extrinsics = self._folder(run, extrinsics_dir, "extrinsics")

    @staticmethod
    def _folder(run: Path, given: str, name: str) -> Path | None:
        if given:
            if not Path(given).is_dir():
                raise DriveError(f"there is no folder {given} for RobotCar's {name}")
            return Path(given)
        return beside(run, name, f"../{name}")

    def model(self, camera: str) -> CameraModel:
        """A camera's model; without a models folder only its axes, which the left and mono cameras share."""
        if self._models is None:
            if camera == "stereo/right":
                raise DriveError(
                    "models/stereo_wide_right.txt is missing: it holds the pose of stereo/right; give models_dir"
                )
            return CameraModel(None, _AXES)
        path = self._models / f"{CAMERAS[camera]}.txt"
        if not path.is_file():
            raise DriveError(f"{path} is missing: it holds the intrinsics of {camera}")
        try:
            values = [number(word) for word in path.read_text().split()]
            fx, fy, cx, cy = values[:4]
            T_camera_image = np.array(values[4:20]).reshape(4, 4)
            if not (np.isfinite(values).all() and min(fx, fy) > 0 and is_rigid(T_camera_image)):
                raise ValueError("not a camera")
        except (ValueError, UnicodeDecodeError) as error:
            raise DriveError(f"{path} is damaged: it needs fx fy cx cy and a 4 x 4 pose") from error
        return CameraModel(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), T_camera_image)

    def undistortion(self, camera: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(map_x, map_y), each (H, W) float32: where each undistorted pixel lies in the raw image, for cv2.remap."""
        name = f"{CAMERAS[camera]}_distortion_lut.bin"
        path = None if self._models is None else self._models / name
        if path is None or not path.is_file():
            raise DriveError(
                f"{path or 'models/' + name} is missing: it undistorts raw images of {camera}; give models_dir (of the "
                "RobotCar SDK), or undistort=false"
            )
        data = read_bytes(path)
        if len(data) != 2 * 8 * size[0] * size[1]:
            raise DriveError(f"{path} is for images of another size than {size[1]} x {size[0]}")
        table = np.frombuffer(data, "<f8").reshape(2, *size).astype(np.float32)
        return table[0], table[1]

    def extrinsics(self, sensor: str) -> np.ndarray:
        """(4, 4) of a sensor's file: T_vehicle_sensor for lidars and the INS; T_camera_vehicle for cameras."""
        path = None if self._extrinsics is None else self._extrinsics / f"{sensor}.txt"
        if path is not None and path.is_file():
            try:
                values = tuple(number(word) for word in path.read_text().split())
            except (ValueError, UnicodeDecodeError):
                values = ()
            if len(values) != 6 or not np.isfinite(values).all():
                raise DriveError(f"{path} is damaged: it needs x y z roll pitch yaw")
            if angle := beyond_a_turn(values[3:]):
                raise DriveError(f"{path} has an angle of {angle:g}, and its angles are in radians: convert degrees")
        elif sensor in _PUBLISHED:
            values = _PUBLISHED[sensor]
        else:
            raise DriveError(f"extrinsics/{sensor}.txt is missing: it holds the pose of {sensor}; give extrinsics_dir")
        return transform_from_xyzrpy(values)

    def T_vehicle_image(self, camera: str) -> np.ndarray:
        """(4, 4) pose of a camera's optical frame on the vehicle."""
        T_camera_vehicle = self.extrinsics(camera.split("/")[0])
        return inverse(T_camera_vehicle) @ self.model(camera).T_camera_image
