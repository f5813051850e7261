"""A map built on a cluster is the map of one process, whatever dies on the way. Ray runs for real, on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.drives.bag import write_bag
from vpr_ros.drives.open import open_drives
from vpr_ros.fleet.ray_build import Layout, Work, _layout, build_on_ray
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.storage import Storage

WORK = Work("demixvpr_mobilenet", "onnx", views_each=1, storage=Storage())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores, started once. Its processes find the tests' drives."""
    ray = pytest.importorskip("ray", reason="ray is not installed (pip install 'vpr_ros[fleet]')")
    path = {"PYTHONPATH": ":".join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": path},
        object_store_memory=200_000_000,
    )  # fmt: skip
    yield
    ray.shutdown()


def assert_same_map(path: Path, other: Path) -> None:
    with PlaceMap.open(path) as one, PlaceMap.open(other) as two:
        assert one.drive_names() == two.drive_names() and one.model == two.model
        for name in ("ids", "drives", "stamps_ns"):
            assert getattr(one.places, name).tolist() == getattr(two.places, name).tolist()
        np.testing.assert_allclose(one.places.T_map_camera, two.places.T_map_camera, atol=1e-9)
        np.testing.assert_allclose(one.places.descriptors, two.places.descriptors, atol=1e-6)
        assert [one.thumbnail(k) for k in one.places.ids] == [two.thumbnail(k) for k in two.places.ids]


@pytest.fixture
def bags(tmp_path, painted_drive):
    """Three bags: what most robots record, and what holds open files."""
    for k in range(3):
        write_bag(tmp_path / f"bag{k}", painted_drive(name=f"bag{k}", start=300.0 * k, length=40.0 + 30 * k))
    return open_drives(sorted(tmp_path.glob("bag?")))


def test_the_map_is_that_of_one_process(cluster, tmp_path, describer, bags):
    """Places, order, ids, names, pictures; descriptors but for the last bits."""
    seen: list[tuple[int, int]] = []
    build_map(tmp_path / "one.vprmap", bags, describer, views_each=1, storage=Storage()).close()
    build_on_ray(tmp_path / "ray.vprmap", bags, WORK, on_progress=lambda *now: seen.append(now)).close()
    assert_same_map(tmp_path / "one.vprmap", tmp_path / "ray.vprmap")
    total = sum(map(len, bags))
    assert seen[-1] == (total, total) and seen == sorted(seen)
    assert not (tmp_path / "ray.vprmap.parts").exists()


class Stop(Exception):
    """Stands for a kill of the command."""


def test_a_stopped_build_continues(cluster, tmp_path, describer, bags):
    """What was stored before is not described again, and the map is the same."""
    path, parts = tmp_path / "ray.vprmap", tmp_path / "ray.vprmap.parts"

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        build_on_ray(path, bags, WORK, on_progress=stop)
    assert not path.exists()
    done = {json.loads(file.read_text())["drive"] for file in parts.glob("*.json") if file.stem != "options"}
    first: list[int] = []
    build_on_ray(path, bags, WORK, on_progress=lambda done, total: first.append(done)).close()
    assert first[0] >= sum(len(drive) for drive in bags if drive.name in done) > 0
    build_map(tmp_path / "one.vprmap", bags, describer, views_each=1, storage=Storage()).close()
    assert_same_map(tmp_path / "one.vprmap", path)


def test_a_drive_without_poses_stops_no_other(cluster, tmp_path, bags, painted_drive):
    """After a night of work, one bad drive costs itself; the sentence names it, and the others are kept."""
    path = tmp_path / "ray.vprmap"
    bad = tmp_path / "bad"
    bad.mkdir()
    import cv2

    for k in range(3):
        cv2.imwrite(str(bad / f"{k}.png"), painted_drive().image(5.0 * k))
    drives = [*bags[:2], *open_drives([bad])]
    with pytest.raises(DriveError, match=r"1 of 3 drive\(s\) give no places, the first: drive bad has no poses"):
        build_on_ray(path, drives, WORK)
    assert not path.exists()
    with build_on_ray(path, bags[:2], WORK) as made:
        assert made.drive_names() == ["bag0", "bag1"]


def test_what_was_left_out_is_told(cluster, tmp_path, bags):
    """A broken image on another machine counts as one here."""
    import cv2

    folder = tmp_path / "images"
    folder.mkdir()
    rows = ["file,x,y,yaw"]
    for k, frame in enumerate(bags[0]):
        cv2.imwrite(str(folder / f"{k}.png"), frame.read()[..., ::-1])
        rows.append(f"{k}.png,{5 * k},0,0")
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")
    (folder / "2.png").write_bytes(b"no image")
    tally = Tally()
    with build_on_ray(tmp_path / "ray.vprmap", open_drives([folder]), WORK, tally=tally) as made:
        assert len(made) == len(bags[0]) - 1
    assert "1 image(s) left out: they cannot be read" in tally.lines()[0]


def test_all_share_one_vocabulary(cluster, tmp_path, painted_drive):
    """Learnt once from all drives, as one process learns it, and sent to the describers."""
    for k in range(2):
        write_bag(tmp_path / f"bag{k}", painted_drive(name=f"bag{k}", start=300.0 * k, length=60.0))
    drives = open_drives(sorted(tmp_path.glob("bag?")))
    work = Work("demixvpr_lite0", "onnx", views_each=1, storage=Storage())
    build_map(tmp_path / "one.vprmap", drives, open_describer(work.model, "onnx"), views_each=1, storage=Storage())
    build_on_ray(tmp_path / "ray.vprmap", drives, work).close()
    assert_same_map(tmp_path / "one.vprmap", tmp_path / "ray.vprmap")


def test_the_command(cluster, tmp_path, bags, vpr, capsys):
    assert vpr("fleet", "build", *(drive.path for drive in bags), "-o", tmp_path / "m.vprmap") == 0
    assert "places of 3 drive(s)" in capsys.readouterr().out


def test_describers_fit_the_cluster():
    """One a GPU, or one a core that leaves room to decode; a GPU that is not there is a sentence."""
    assert _layout(0, "auto", {"CPU": 16, "GPU": 2}) == Layout(2, 0, 1.0, 1.0, 1.0)
    cpu = _layout(0, "cpu", {"CPU": 16, "GPU": 2})
    assert (cpu.describers, cpu.gpus, cpu.threads) == (16, 0.0, 1)
    assert cpu.describers * (cpu.cpus + cpu.decode_cpus) <= 16
    assert _layout(3, "auto", {"CPU": 16}).describers == 3
    with pytest.raises(ConfigError, match="has no GPU"):
        _layout(0, "gpu", {"CPU": 4})


def test_an_address_where_nobody_listens_is_told_at_once(tmp_path, bags):
    """Ray tried for half a minute, printed twenty lines, and left a folder of parts."""
    pytest.importorskip("ray", reason="ray is not installed (pip install 'vpr_ros[fleet]')")
    with pytest.raises(ConfigError, match=r"there is no Ray cluster at '127.0.0.1:1' .*refused"):
        build_on_ray(tmp_path / "m.vprmap", bags, WORK, "127.0.0.1:1")
    assert not list(tmp_path.glob("m.vprmap*"))
