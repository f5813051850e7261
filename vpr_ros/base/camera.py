"""Camera intrinsics: pixels to rays, with the distortion undone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base.errors import ConfigError

_COEFFICIENTS = (0, 4, 5, 8, 12, 14)  # numbers of distortion coefficients of OpenCV's models
_REFINED = 4  # steps of Newton's method
_STEP = 1e-5  # of a ray, for the derivative
_ASIDE = np.array([[[0, 0]], [[1, 0]], [[0, 1]]])
_EXACT_PX = 1e-3  # distance between a pixel and its ray's projection, up to which the ray is not refined
_OFF_PX = 0.1  # the same distance, up to which a ray is right
_WIDEST = 11.4  # tangent of 85 degrees from the optical axis
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
        if np.shape(self.K) != (3, 3) or not np.all(np.isfinite(self.K)) or min(self.K[0, 0], self.K[1, 1]) <= 0:
            found = np.asarray(self.K).tolist()  # on one line
            raise ConfigError(f"camera intrinsics need a finite 3 x 3 matrix with focal lengths above 0, not {found}")
        if not np.all(np.isfinite(self.distortion)):
            raise ConfigError(f"camera intrinsics need finite distortion coefficients, not {list(self.distortion)}")
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
        """(N, 2) pixels -> (N, 2) float64 x / z, y / z in the optical frame, distortion undone.

        NaN for rays 85 degrees and more from the optical axis, and for pixels that the distortion model gives no ray.
        """
        import cv2

        if len(pixels) == 0:
            return np.zeros((0, 2))
        points = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        if not self.distortion:
            return np.asarray((points - self.K[:2, 2]) / (self.K[0, 0], self.K[1, 1]))
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        K, distortion = np.asarray(self.K, dtype=np.float64), np.array(self.distortion, dtype=np.float64)
        rays = np.asarray(undistort(points[:, None], K, distortion)).reshape(-1, 2)
        for _ in range(_REFINED):  # OpenCV stops a few pixels off where the distortion is strong
            rays = np.clip(np.nan_to_num(rays), -_WIDEST, _WIDEST)
            off = points - self.pixels(rays)
            (left,) = np.nonzero(np.abs(off).max(axis=1) > _EXACT_PX)
            if not len(left):
                break
            at, off = rays[left], off[left]
            here, across, down = np.split(self.pixels((at + _STEP * _ASIDE).reshape(-1, 2)), 3)
            across, down = (across - here) / _STEP, (down - here) / _STEP
            turned = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
            with np.errstate(divide="ignore", invalid="ignore"):
                x = (off[:, 0] * down[:, 1] - off[:, 1] * down[:, 0]) / turned
                y = (off[:, 1] * across[:, 0] - off[:, 0] * across[:, 1]) / turned
            rays[left] = at + np.column_stack([x, y])
        away = np.linalg.norm(self.pixels(rays) - points, axis=1)
        rays[~((away < _OFF_PX) & (np.linalg.norm(rays, axis=1) < _WIDEST))] = np.nan
        return rays

    def pixels(self, rays: np.ndarray) -> np.ndarray:
        """(N, 2) x / z, y / z in the optical frame -> (N, 2) float64 pixels; the inverse of ``rays``."""
        import cv2

        points = np.column_stack([rays, np.ones(len(rays))])[:, None]
        K, distortion = np.asarray(self.K, dtype=np.float64), np.array(self.distortion or (0.0,) * 4, dtype=np.float64)
        project = cv2.fisheye.projectPoints if self.fisheye else cv2.projectPoints
        found = project(points, np.zeros(3), np.zeros(3), K, distortion)[0]
        return np.asarray(found).reshape(-1, 2)

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
