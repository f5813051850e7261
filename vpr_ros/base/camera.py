"""Camera intrinsics: pixels to rays, with the distortion undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import ConfigError

_COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # numbers of distortion coefficients of OpenCV's models
_ASPECT = 0.02  # maximum relative difference between the aspect ratios of image and calibration


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """A calibrated camera.

    width, height: pixels of the calibrated images; pixel centres lie at integers.
    K: (3, 3) in those pixels.
    distortion: coefficients in OpenCV's order, of plumb bob (k1 k2 p1 p2 k3), rational (eight) or fisheye (four); empty
    if images have no distortion.
    fisheye: whether they are of OpenCV's fisheye model (Kannala-Brandt, "equidistant" in ROS).
    Raises ConfigError for invalid values.
    """

    width: int
    height: int
    K: np.ndarray
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def __post_init__(self) -> None:
        numbers = np.concatenate([np.ravel(self.K), self.distortion])
        if np.shape(self.K) != (3, 3) or not np.all(np.isfinite(numbers)) or min(self.K[0, 0], self.K[1, 1]) <= 0:
            found = np.asarray(self.K).tolist()  # on one line
            raise ConfigError(f"camera intrinsics need a finite 3 x 3 matrix with focal lengths above 0, not {found}")
        if min(self.width, self.height) <= 0:
            raise ConfigError(f"camera intrinsics need an image size above 0, not {self.width} x {self.height}")
        if len(self.distortion) not in ((4,) if self.fisheye else _COEFFICIENTS):
            raise ConfigError(f"no model of OpenCV has {len(self.distortion)} distortion coefficients")

    @classmethod
    def pinhole(cls, width: int, height: int, focal_px: float) -> Intrinsics:
        """A camera without distortion, with its optical axis at the image's centre."""
        K = np.array([[focal_px, 0.0, (width - 1) / 2], [0.0, focal_px, (height - 1) / 2], [0.0, 0.0, 1.0]])
        return cls(width, height, K)

    def check_fits(self, width: int, height: int) -> None:
        """Raises ConfigError if images of this size, in pixels, cannot be of this camera: their shape is another."""
        if abs((width / self.width) / (height / self.height) - 1) > _ASPECT:
            raise ConfigError(
                f"the calibration is for {self.width} x {self.height} pixels, but the images are {width} x {height}"
            )

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera for resized images."""
        if (width, height) == (self.width, self.height):
            return self
        scale = np.array([width / self.width, height / self.height])
        K = np.array(self.K, dtype=float)
        K[:2, :2] *= scale[:, None]
        K[:2, 2] = (K[:2, 2] + 0.5) * scale - 0.5
        return Intrinsics(width, height, K, self.distortion, self.fisheye)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 2) pixels -> (N, 2) float64 x / z, y / z in the optical frame, distortion undone."""
        import cv2

        if len(pixels) == 0:
            return np.zeros((0, 2))
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        distortion = np.array(self.distortion, dtype=np.float64) if self.distortion else np.zeros(5)
        return np.asarray(undistort(points, np.asarray(self.K, dtype=np.float64), distortion)).reshape(-1, 2)

    def rectified(self, image: np.ndarray) -> np.ndarray:
        """(height, width) image of this camera -> the same without distortion, with the same K.

        By nearest pixels; 0 outside the camera's view.
        """
        import cv2

        if not self.distortion:
            return image
        K, size = np.asarray(self.K, dtype=np.float64), (self.width, self.height)
        maps = cv2.fisheye.initUndistortRectifyMap if self.fisheye else cv2.initUndistortRectifyMap
        across, down = maps(K, np.array(self.distortion, dtype=np.float64), np.eye(3), K, size, cv2.CV_32FC1)
        return cv2.remap(image, across, down, cv2.INTER_NEAREST)
