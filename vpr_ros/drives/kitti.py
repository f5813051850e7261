"""Sequences in KITTI odometry's layout. Source: Geiger, Lenz, Urtasun, CVPR 2012, and its development kit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from vpr_ros.camera import Intrinsics
from vpr_ros.drives.files import detached, list_images, read_bytes, read_image
from vpr_ros.drives.options import DriveOptions
from vpr_ros.errors import DriveError
from vpr_ros.geometry import T_BODY_OPTICAL, transform
from vpr_ros.records import DriveFrame

_RIGHT_OF = {"image_0": "image_1", "image_2": "image_3"}
_MAX_DEPTH_M = 100.0
_LARGEST = 1e9  # of any number: metres, seconds, pixels


def is_kitti(path: Path) -> bool:
    """Whether a folder is a sequence (image_0 or image_2 with times.txt or calib.txt) or holds sequences/."""
    is_sequence = any((path / f"image_{i}").is_dir() for i in range(4))
    has_tables = any((path / name).is_file() for name in ("times.txt", "calib.txt"))
    return (is_sequence and has_tables) or bool(_sequences(path))


def _sequences(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("sequences/*") if p.is_dir())


class KittiDrive:
    """``sequences/NN`` with image_0 (grey) and image_2 (colour), times.txt, calib.txt, and ``poses/NN.txt`` beside.

    KITTI's poses are in the optical frame of the first left camera (x right, y down, z forward); the world here is that
    frame turned upright: x forward, y left, z up, at the first camera. Every sequence is a world of its own ("kitti
    07"). Intrinsics are calib.txt's. Depth is from semi-global matching where the camera's right neighbour is there.
    Raises DriveError for what is missing; a sequence without a pose file has no poses.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        path = self._sequence(path.resolve())
        self._camera = options.camera or ("image_2" if (path / "image_2").is_dir() else "image_0")
        self._images = list_images(path / self._camera)
        if not self._images:
            raise DriveError(f"there are no images in {path / self._camera}; give another camera, such as image_0")
        self.name = path.name
        self.world = options.world or f"kitti {path.name}"
        self._path = path
        times_s = self._numbers(path / "times.txt", 1, "the images' times")[:, 0]
        self._stamps_ns = np.round(times_s * 1e9).astype(np.int64)
        self._projections = self._read_calibration(path / "calib.txt")
        self._T = self._read_poses(path.parent.parent / "poses" / f"{path.name}.txt")
        right = path / _RIGHT_OF.get(self._camera, "none")
        self._right = right if options.depth and right.is_dir() else None

    @staticmethod
    def _sequence(path: Path) -> Path:
        sequences = _sequences(path)
        if len(sequences) > 1:
            raise DriveError(f"{path} holds several sequences: give one of {', '.join(str(p) for p in sequences)}")
        return sequences[0] if sequences else path

    def _numbers(self, path: Path, columns: int, purpose: str) -> np.ndarray:
        """(at least as many rows as images, columns) float64 of a text file."""
        if not path.is_file():
            raise DriveError(f"{path} is missing: it holds {purpose}")
        try:
            lines = read_bytes(path).decode().splitlines()
            table = np.array([line.split() for line in lines if line.strip()], dtype=float)
            if not np.all(np.abs(table) < _LARGEST):
                raise ValueError("a number is not finite")
        except (ValueError, UnicodeDecodeError) as error:
            raise DriveError(f"{path} is damaged: every line should hold {columns} numbers, {purpose}") from error
        if table.ndim != 2 or table.shape[1] != columns or len(table) < len(self._images):
            raise DriveError(
                f"{path} should hold {columns} numbers for each of {len(self._images)} images ({purpose}), "
                f"not {' x '.join(map(str, table.shape))}"
            )
        return table

    def _read_calibration(self, path: Path) -> dict[str, np.ndarray]:
        """Camera -> (3, 4) rectified projection from the first camera's frame."""
        if not path.is_file():
            raise DriveError(f"{path} is missing: it holds the cameras' places on the car (P0: ... to P3: ...)")
        try:
            lines = [line.split() for line in path.read_text().splitlines() if line.startswith("P")]
            found = {f"image_{line[0][1]}": np.array(line[1:], dtype=float).reshape(3, 4) for line in lines}
            if not all(np.isfinite(P).all() and np.linalg.cond(P[:, :3]) < _LARGEST for P in found.values()):
                raise ValueError("no projection")
            return found
        except (ValueError, IndexError) as error:
            raise DriveError(f"{path} is damaged: every line should be P0: to P3: and twelve numbers") from error

    def _projection(self, camera: str) -> np.ndarray:
        if camera not in self._projections:
            raise DriveError(f"{self._path / 'calib.txt'} has no line P{camera[-1]}: for {camera}")
        return self._projections[camera]

    @cached_property
    def _intrinsics(self) -> Intrinsics | None:
        """Of the rectified images, all of one size; None where calib.txt leaves this camera out."""
        P = self._projections.get(self._camera)
        height, width = read_image(self._images[0]).shape[:2]
        return None if P is None else Intrinsics(width, height, P[:, :3])

    def _read_poses(self, path: Path) -> np.ndarray | None:
        """(N, 4, 4) T_map_camera, or None without a file."""
        if not path.is_file():
            return None
        poses = self._numbers(path, 12, "camera poses").reshape(-1, 3, 4)
        P = self._projection(self._camera)
        # The camera's centre in the first camera's frame: where P projects to nothing.
        T_first_camera = transform(np.eye(3), -np.linalg.solve(P[:, :3], P[:, 3]))
        T_start_first = np.tile(np.eye(4), (len(poses), 1, 1))
        T_start_first[:, :3] = poses
        return T_BODY_OPTICAL @ T_start_first @ T_first_camera

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[DriveFrame]:
        for i, image in enumerate(self._images):
            right = None if self._right is None else self._right / image.name
            read = partial(read_image, image)
            yield DriveFrame(
                int(self._stamps_ns[i]),
                read,
                None if self._T is None else self._T[i],
                None,
                partial(self._depth, image, right) if right is not None and right.is_file() else None,
                detached(read),
                self._intrinsics,
            )

    def _depth(self, left: Path, right: Path) -> np.ndarray:
        """(H, W) float32 metres, 0 where the matcher is not sure or beyond 100 m. Hirschmueller, PAMI 2008."""
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
