"""Sequences in KITTI odometry's layout. Source: Geiger, Lenz, Urtasun, CVPR 2012, and its development kit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import T_BODY_OPTICAL, is_rigid, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import check_spacing, in_order, nanoseconds
from vpr_ros.drives.files import beside, file_frame, first_readable, list_images, number, read_image, read_text
from vpr_ros.drives.formats import Format
from vpr_ros.drives.options import DriveOptions

_RIGHT_OF = {"image_0": "image_1", "image_2": "image_3"}
_MAX_DEPTH_M = 100.0
_MOST_ASIDE = 0.25  # of the principal point, from the middle of the image, as a fraction of its size
_LARGEST = 1e9  # valid number: metres, seconds, pixels


def is_kitti(path: Path) -> bool:
    """Whether a folder is a sequence (image_0 or image_2 with times.txt or calib.txt) or holds sequences/."""
    is_sequence = any((path / f"image_{i}").is_dir() for i in range(4))
    has_tables = any((path / name).is_file() for name in ("times.txt", "calib.txt"))
    return (is_sequence and has_tables) or bool(_sequences(path))


def _sequences(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("sequences/*") if p.is_dir())


class KittiDrive:
    """``sequences/NN`` with image_0 (grey) or image_2 (colour), times.txt and calib.txt; poses in ``poses/NN.txt``,
    or in the sequence's ``poses.txt``, as SemanticKITTI has them.

    KITTI's poses are in the optical frame of the first left camera (x right, y down, z forward). Here the world is that
    frame turned upright: x forward, y left, z up. Every sequence is a world of its own ("kitti 07"). The number in an
    image's name is its row in the other files: 000005.png has the sixth time and pose. Images with other names are left
    out. Intrinsics are from calib.txt. Depth is from semi-global matching if the right image exists. Without a pose
    file there are no poses. Raises DriveError for any other missing file.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        path = self._sequence(Path(os.path.abspath(path)))
        self._camera = options.camera or ("image_2" if (path / "image_2").is_dir() else "image_0")
        self.tally = Tally()
        self._images = self._numbered(path / self._camera)
        self.path, self.name = path, path.name
        poses = beside(path, "../../poses/{name}.txt", "poses.txt")
        self.world = "" if poses is None else f"kitti {path.name if poses.parent == path else poses.stem}"
        self._path = path
        times = self._lines(path / "times.txt", 1, "the images' times")
        stamps_ns = [nanoseconds(line[0], "seconds", str(path / "times.txt")) for line in times]
        check_spacing(stamps_ns, "seconds", str(path / "times.txt"))
        self.numbers, self._stamps_ns = self._by_time(stamps_ns)
        self._projections = self._read_calibration(path / "calib.txt")
        self._T = None if poses is None else self._read_poses(poses)
        right = path / _RIGHT_OF.get(self._camera, "none")
        self._right = right if options.depth and right.is_dir() else None

    @staticmethod
    def _sequence(path: Path) -> Path:
        sequences = _sequences(path)
        if len(sequences) > 1:
            raise DriveError(f"{path} holds several sequences: give one of {', '.join(str(p) for p in sequences)}")
        return sequences[0] if sequences else path

    def _numbered(self, folder: Path) -> dict[int, Path]:
        """The images by number, in order. Raises DriveError without images, or if two have the same number."""
        images: dict[int, Path] = {}
        for image in list_images(folder):
            if not image.stem.isdecimal():
                self.tally.add("image(s) left out: their names are not numbers", str(image))
                continue
            if int(image.stem) in images:
                raise DriveError(f"{images[int(image.stem)]} and {image} have the same number: remove one of them")
            images[int(image.stem)] = image
        if not images:
            named = " named by numbers" if self.tally else ""
            others = (f"image_{i}" for i in range(4) if list_images(folder.parent / f"image_{i}"))
            other = next((name for name in others if name != folder.name), "")
            advice = f"give another camera, such as {other}" if other else "copy them there"
            raise DriveError(f"there are no images{named} in {folder}: {advice}")
        return dict(sorted(images.items()))

    def _lines(self, path: Path, columns: int, purpose: str) -> list[list[str]]:
        """The cells of a text file with one line for each image number."""
        if not path.is_file():
            raise DriveError(f"{path} is missing: it holds {purpose}")
        lines = [line.split() for line in read_text(path).rstrip().splitlines()]
        for row, line in enumerate(lines, start=1):
            if len(line) != columns:  # a blank line too: skipping it would shift all later lines
                raise DriveError(f"{path} is damaged: line {row} needs {columns} number(s), {purpose}")
        last, image = next(reversed(self._images.items()))
        if last >= len(lines):
            raise DriveError(f"{path} has {len(lines)} lines, {purpose}, and {image} would need line {last + 1}")
        return lines

    def _by_time(self, stamps_ns: list[int]) -> tuple[list[int], dict[int, int]]:
        """The images' numbers in order of time, and the stamp of each. stamps_ns: of all lines of times.txt."""
        numbers = list(self._images)
        rows, moved = in_order([stamps_ns[number] for number in numbers], self.tally, "times.txt")
        order = [numbers[row] for row in rows]
        return order, dict(zip(order, moved, strict=True))

    def _read_calibration(self, path: Path) -> dict[str, np.ndarray]:
        """Camera -> (3, 4) rectified projection from the first camera's frame."""
        if not path.is_file():
            raise DriveError(f"{path} is missing: it holds the cameras' projections (P0: ... to P3: ...)")
        try:
            lines = [line.split() for line in path.read_text().splitlines() if line.startswith("P")]
            found = {
                f"image_{line[0][1]}": np.array([number(word) for word in line[1:]]).reshape(3, 4) for line in lines
            }
            if not all(np.isfinite(P).all() and np.linalg.cond(P[:, :3]) < _LARGEST for P in found.values()):
                raise ValueError("not a projection")
            return found
        except (ValueError, IndexError) as error:
            raise DriveError(f"{path} is damaged: every line needs P0: to P3: and 12 numbers") from error

    def _projection(self, camera: str) -> np.ndarray:
        if camera not in self._projections:
            raise DriveError(f"{self._path / 'calib.txt'} has no line P{camera[-1]}: for {camera}")
        return self._projections[camera]

    @cached_property
    def _intrinsics(self) -> Intrinsics | None:
        """Of the rectified images, all of one size; None if calib.txt is not of this camera, or of another size."""
        P = self._projections.get(self._camera)
        if P is None:
            return None
        height, width = first_readable(self._images.values(), read_image).shape[:2]
        centre = P[:2, 2] / P[2, 2] / (width, height)
        if np.any(np.abs(centre - 0.5) > _MOST_ASIDE):
            what = f"{self._path / 'calib.txt'}: centre {centre[0]:.2f} of the width, {centre[1]:.2f} of the height"
            self.tally.add("camera calibration(s) left out, and depth with them: of images of another size", what)
            return None
        return Intrinsics(width, height, P[:, :3])

    def _read_poses(self, path: Path) -> np.ndarray:
        """(N, 4, 4) T_map_camera."""
        try:
            lines = self._lines(path, 12, "camera poses")
            poses = np.array([[number(word) for word in line] for line in lines]).reshape(-1, 3, 4)
            if not np.all(np.abs(poses) < _LARGEST):
                raise ValueError("a number is not finite")
        except ValueError as error:
            raise DriveError(f"{path} is damaged: every line needs 12 numbers, camera poses") from error
        P = self._projection(self._camera)
        # The camera's centre in the first camera's frame: where P projects to nothing.
        T_first_camera = transform(np.eye(3), -np.linalg.solve(P[:, :3], P[:, 3]))
        T_start_first = np.tile(np.eye(4), (len(poses), 1, 1))
        T_start_first[:, :3] = poses
        if len(wrong := np.flatnonzero(~is_rigid(T_start_first))):
            raise DriveError(
                f"line {wrong[0] + 1} of {path} is no rigid motion ({len(wrong)} line(s) are not): the first three of "
                "each four numbers must be a rotation, neither scaled nor mirrored"
            )
        return T_BODY_OPTICAL @ T_start_first @ T_first_camera

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for i in self.numbers:
            image = self._images[i]
            right = None if self._right is None or self._intrinsics is None else self._right / image.name
            depth = partial(self._depth, image, right) if right is not None and right.is_file() else None
            T_map_camera = None if self._T is None else self._T[i]
            yield file_frame(self._stamps_ns[i], image, T_map_camera, self._intrinsics, depth)

    def _depth(self, left: Path, right: Path) -> np.ndarray:
        """(H, W) float32 metres, 0 if unknown or beyond 100 m. Hirschmueller, PAMI 2008."""
        import cv2

        P_left, P_right = self._projection(left.parent.name), self._projection(right.parent.name)
        focal_baseline = float(P_left[0, 3] - P_right[0, 3])
        greys = [cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY) for path in (left, right)]
        block = 5
        matcher = cv2.StereoSGBM_create(  # type: ignore[attr-defined]  # the one name OpenCV 4.6 and 5 share
            numDisparities=int(np.ceil(greys[0].shape[1] / 8 / 16)) * 16,
            blockSize=block,
            P1=8 * block**2,
            P2=32 * block**2,
            disp12MaxDiff=1,
            uniquenessRatio=10,
            speckleWindowSize=100,
            speckleRange=2,
        )
        disparity = matcher.compute(*greys).astype(np.float32) / 16
        depth = np.where(disparity > 0, focal_baseline / np.maximum(disparity, 1e-3), 0)
        return np.where(depth <= _MAX_DEPTH_M, depth, 0).astype(np.float32)


FORMAT = Format(
    "a KITTI sequence",
    is_kitti,
    KittiDrive,
    takes=("camera", "depth"),
)
