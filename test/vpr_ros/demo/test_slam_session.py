"""What `vpr demo slam` says about itself must be true: errors of closures and of trajectories, files, the page."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import browser
import cv2
import numpy as np
import pytest

pytest.importorskip("evo", reason="evo is not installed: pip install 'vpr_ros[slam]'")

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import T_BODY_OPTICAL, inverse, matrix_from_rpy, rotation_from_vector, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.track import Track
from vpr_ros.demo.slam_report import figures, write_slam_report
from vpr_ros.demo.slam_session import RecordedClosure, Session, score_session, tracks
from vpr_ros.demo.slam_trajectory import trajectory_error
from vpr_ros.drives.bag import write_bag
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.tum import read_tum
from vpr_ros.evaluation.output import write_tum
from vpr_ros.evaluation.scenes import Plan
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.matching.extractors import open_extractor

START, SECOND = 1_700_000_000_000_000_001, 1_000_000_000
CAMERA = Intrinsics.pinhole(160, 120, 130.0)
SPREAD = np.array([0.2, 0.2, 0.2, 0.01, 0.01, 0.01])


def arc(count: int = 20) -> np.ndarray:
    """(N, 4, 4) poses of a base on a curve."""
    return np.array(
        [transform(matrix_from_rpy(0, 0, 0.1 * k), np.array([10 * np.sin(0.1 * k), 5.0 * k, 0])) for k in range(count)]
    )


def track(T: np.ndarray) -> Track:
    return Track(START + SECOND * np.arange(len(T)), T, 2**62)


def closure(T: np.ndarray, query: int, match: int, error: np.ndarray) -> RecordedClosure:
    """Between two poses, off by an error (6,): metres and radians about the earlier one's axes."""
    true = inverse(T[match]) @ T[query]
    found = transform(rotation_from_vector(error[3:]) @ true[:3, :3], true[:3, 3] + error[:3])
    stamps = START + query * SECOND, query + 1, START + match * SECOND, match + 1
    return RecordedClosure(*stamps, "", 30, found, np.diag(SPREAD**2))


def test_alignment_takes_rigid_motion_away_and_nothing_else() -> None:
    """The same track elsewhere is right; one that is a tenth too long is not."""
    T = arc()
    moved = transform(matrix_from_rpy(0.1, 0, 2.0), np.array([300.0, -20, 5])) @ T
    assert trajectory_error(track(moved), track(T)).rmse < 1e-6
    longer = T.copy()
    longer[:, :3, 3] *= 1.1
    found = trajectory_error(track(longer), track(T))
    assert found.rmse > 2 and found.largest == pytest.approx(found.errors.max())


def test_tum_files_keep_nanoseconds(tmp_path: Path) -> None:
    """Stamps join a closure with the earlier session's path: a float of seconds loses a quarter of a microsecond."""
    T = arc()
    write_tum(tmp_path / "path.tum", zip(track(T).stamps_ns.tolist(), T, strict=True))
    read = read_tum(tmp_path / "path.tum")
    assert np.array_equal(read.stamps_ns, track(T).stamps_ns)
    np.testing.assert_allclose(read.T, T, atol=1e-6)
    (tmp_path / "bad.tum").write_text("1 2 3\n")
    with pytest.raises(DriveError, match=r"bad.tum cannot be read as a trajectory"):
        read_tum(tmp_path / "bad.tum")


def test_closures_are_judged_by_pose_and_by_their_own_covariance(tmp_path: Path) -> None:
    """Half a metre off is half a metre; an error drawn from the covariance has a NEES near six; far off is false."""
    T, rng = arc(), np.random.default_rng(0)
    one = closure(T, 15, 3, np.array([0.3, 0.4, 0, 0, 0, np.radians(2)]))
    false = closure(T, 16, 4, np.array([20.0, 0, 0, 0, 0, 0]))
    many = [closure(T, 17, 5, SPREAD * rng.standard_normal(6)) for _ in range(400)]
    session = Session("toy", tmp_path, tmp_path / "toy.vprmap", track(T), track(T), track(T), (one, false, *many), 20)
    found = score_session(session, {"": track(T)})
    assert found.position_m[0] == pytest.approx(0.5) and found.rotation_deg[0] == pytest.approx(2.0)
    assert found.false == 1
    assert 5.5 < found.nees[2:].mean() < 6.5


class TexturedDrive:
    """A base on the arc whose camera sees one textured wall, moved a little between images."""

    name, world = "textured", "local"

    def __len__(self) -> int:
        return 6

    def __iter__(self):
        coarse = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
        wall = cv2.resize(coarse, (300, 150), interpolation=cv2.INTER_CUBIC)
        for k, T in enumerate(arc(6)):
            image = np.ascontiguousarray(wall[10:130, 5 * k : 5 * k + 160])
            pose = T @ T_BODY_OPTICAL
            yield DriveFrame(START + k * SECOND, lambda image=image: image, pose, pose, intrinsics=CAMERA)


def test_the_page_shows_tracks_and_what_closures_were_made_of(tmp_path: Path) -> None:
    """From bag and map on disk to pictures; the numbers of the page are those of results.json."""
    write_bag(tmp_path / "textured", TexturedDrive())
    drive, extractor = open_drive(tmp_path / "textured"), open_extractor("sift", 300)
    map_path = tmp_path / "toy.vprmap"
    with PlaceMap.create(map_path, MapModel("toy", "", 4, {}), "odometry") as place_map:
        for frame in drive:
            features = extractor.extract(frame.read(), np.full((12, 16), 8.0, np.float32), CAMERA)
            place_map.add(
                "toy-1", frame.stamp_ns, frame.T_odom_camera, np.eye(4, dtype=np.float32)[0], None, features.to_bytes()
            )
    truth, odometry = tracks(drive, T_BODY_OPTICAL)
    np.testing.assert_allclose(truth.T, arc(6), atol=1e-9)
    drifted = dataclasses.replace(odometry, T=odometry.T * np.array([1, 1, 1, 1.2])[None, None, :])
    closures = tuple(closure(arc(6), 4, k, np.full(6, 0.01)) for k in range(3))
    session = Session("toy", tmp_path / "textured", map_path, truth, drifted, truth, closures, 5)
    found = score_session(session, {"": truth})
    page = write_slam_report(tmp_path / "out", [session], [found], Plan([np.eye(2).repeat(2, 0)], ["#cccccc"]))
    (result,) = json.loads((tmp_path / "out/results.json").read_text())
    assert (result["images"], result["answered"]) == (6, 5), "images that the node had no time for are told"
    assert result["closures"] == 3 and result["false"] == 0 and result["ratio"] < 0.01
    listed = json.loads((tmp_path / "out/toy_closures.json").read_text())
    assert len(listed) == 3 and listed[0]["inliers"] == 30
    names = {path.name for path in (tmp_path / "out/report_pictures").iterdir()}
    assert names == {"toy_town.png", "toy_gallery.png"}
    text = page.read_text(encoding="utf-8")
    assert text.count('<img src="data:image/png') == 2 and f"{result['before_m']:.2f}" in text
    if program := browser.chromium():
        with browser.Page(program) as shown:
            shown.open(page, "document.readyState === 'complete'")
            for name in ("error", "closures"):
                shown.wait_for(f"byId('chart-toy-{name}').querySelector('.trace')")
            assert shown.errors == []
            assert [address for address in shown.requests if not address.startswith("data:")] == [page.as_uri()]
    assert figures([session], [found])[1][0] == "toy"
