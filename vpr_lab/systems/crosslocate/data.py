"""Photographs with true poses, brought to the scale of the rendered views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_lab.simulation.views import ViewSettings, along_street
from vpr_ros.base import geometry
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.drive import Drive, sample

_CLOSE_M, _RETAKES = 4.0, 20
_FOV_DEG, _HEIGHT_M = (50.0, 80.0), (1.4, 1.9)


@dataclass(frozen=True, eq=False)
class Queries:
    """Photographs of one world, as large as its views and at their scale.

    images: (Q, S, S, 3) uint8 RGB. position: (Q, 3) map metres. heading: (Q,) radians counter-clockwise from east.
    conditions: of each photograph.
    """

    world: str
    images: np.ndarray
    position: np.ndarray
    heading: np.ndarray
    conditions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.position)


def scale_to_fov(
    image_rgb: np.ndarray, fov_deg: float, target_fov_deg: float = 60.0, size_px: int | None = None
) -> np.ndarray:
    """What a square camera of the target's field of view would have seen of an image: (S, S, 3) uint8.

    image_rgb: (H, W, 3) of a pinhole camera, its axis in the middle. fov_deg: across its width. size_px: S, by default
    W. Pixels from the middle are proportional to the tangent of the angle: the image is scaled, then cut, and black
    where the camera did not look. Raises ConfigError for a field of view outside 1 .. 170 degrees.
    """
    for fov in (fov_deg, target_fov_deg):
        if not 1 <= fov <= 170:
            raise ConfigError(
                f"a field of view of {fov} degrees does not fit a pinhole camera: it must lie in 1 .. 170"
            )
    height, width = image_rgb.shape[:2]
    size = size_px or width
    focal, target = (
        pixels / 2 / np.tan(np.radians(fov) / 2) for pixels, fov in ((width, fov_deg), (size, target_fov_deg))
    )
    scale = float(target / focal)
    # Cut first, alike on both sides, so that a narrow target of a large image is cheap.
    margins = [max(0, int((pixels - size / scale) / 2) - 2) for pixels in (height, width)]
    seen = image_rgb[margins[0] : height - margins[0], margins[1] : width - margins[1]]
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])  # takes the middle to the middle, pixel centres at integers
    matrix[:, 2] = (size - 1) / 2 - scale * (np.array(seen.shape[1::-1]) - 1) / 2
    if scale < 1:  # as INTER_AREA does, which warpAffine has not
        seen = cv2.GaussianBlur(seen, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1) + 1e-3)
    return np.asarray(cv2.warpAffine(seen, matrix, (size, size), flags=cv2.INTER_LINEAR))


def photograph_town(
    town: Town,
    conditions: Sequence[str],
    count: int,
    views: ViewSettings | None = None,
    seed: int = 0,
) -> Queries:
    """Take count photographs in each condition, anywhere on the streets and pavements, looking anywhere.

    Every condition has a camera of its own, 50 to 80 degrees wide and 1.4 to 1.9 m high, and its own traffic. A
    photograph half of which is nearer than 4 m is taken again elsewhere. Raises ConfigError for an unknown condition
    and MissingDependencyError if the machine cannot draw.
    """
    views = views or ViewSettings()
    images: list[np.ndarray] = []
    poses: list[np.ndarray] = []
    for number, name in enumerate(conditions):
        rng = np.random.default_rng([town.seed, seed, number, 83])
        condition = Condition.preset(name, seed * 100 + number)
        size = views.size_px * 4 // 3
        camera = Camera(size, size * 3 // 4, float(rng.uniform(*_FOV_DEG)), float(rng.uniform(*_HEIGHT_M)))
        renderer = Renderer(town, camera)
        for _ in range(count):
            noise_seed = len(images)
            for _ in range(_RETAKES):
                T_map_camera = _random_pose(town, camera, rng)
                image, depth = renderer.render(T_map_camera, condition, seed * 100 + number, noise_seed)
                if ((depth > 0) & (depth < _CLOSE_M)).mean() < 0.5:
                    break
            images.append(scale_to_fov(image, camera.fov_deg, views.fov_deg, views.size_px))
            poses.append(T_map_camera)
        renderer.close()
    names = tuple(name for name in conditions for _ in range(count))
    return _queries(town.world, images, poses, names)


def photographs_of_drive(
    drive: Drive, views: ViewSettings | None = None, every_m: float = 5.0, fov_deg: float | None = None
) -> Queries:
    """The frames of a drive that have true poses, every_m apart.

    fov_deg: of the camera, across; None takes it from the drive's intrinsics. A lens' distortion is not taken out.
    Raises DriveError if there is no pose, or no field of view.
    """
    views = views or ViewSettings()
    frames = [frame for frame in sample(drive, every_m) if frame.T_map_camera is not None]
    if not frames:
        raise DriveError(f"drive {drive.name} has no frame with a true pose: CrossLocate needs them")
    images = []
    for frame in frames:
        fov = fov_deg if fov_deg is not None else _fov_deg(frame)
        if fov is None:
            raise DriveError(f"drive {drive.name} has no camera calibration: give the field of view")
        images.append(scale_to_fov(frame.read(), fov, views.fov_deg, views.size_px))
    poses = [frame.T_map_camera for frame in frames if frame.T_map_camera is not None]
    condition = drive.name.replace("-", "_").split("_")[-1]
    return _queries(drive.world, images, poses, (condition,) * len(images))


def _queries(
    world: str, images: Sequence[np.ndarray], poses: Sequence[np.ndarray], conditions: tuple[str, ...]
) -> Queries:
    T_map_camera = np.stack(poses)
    return Queries(world, np.stack(images), T_map_camera[:, :3, 3], geometry.heading(T_map_camera), conditions)


def _random_pose(town: Town, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """(4, 4) T_map_camera: uniform over the length of all streets and across them, pavements included."""
    streets = town.streets.streets
    lengths = np.array([street.length_m for street in streets])
    street = streets[rng.choice(len(streets), p=lengths / lengths.sum())]
    across = (street.corridor_m - 0.5) * rng.uniform(-1, 1)
    position = along_street(street, np.array([rng.uniform(0, street.length_m)]), across)[0]
    R = geometry.matrix_from_rpy(0.0, 0.0, rng.uniform(-np.pi, np.pi))
    return geometry.transform(R, np.array([*position, 0.0])) @ camera.T_body_camera


def _fov_deg(frame: DriveFrame) -> float | None:
    if frame.intrinsics is None:
        return None
    return float(np.degrees(2 * np.arctan(frame.intrinsics.width / 2 / frame.intrinsics.K[0, 0])))
