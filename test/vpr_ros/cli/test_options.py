"""What is typed on the command line: mistakes are said in one sentence, before any work."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.cli.common import localizer_config
from vpr_ros.cli.fleet import build as build_on_cluster
from vpr_ros.cli.main import app
from vpr_ros.cli.maps import DescriptorType, build
from vpr_ros.maps.storage import BUILT, DESCRIPTOR_TYPES


def test_all_commands_store_descriptors_as_build_map_does() -> None:
    """A cluster's parts and a map built without options must not differ, and every type can be chosen."""
    for command in (build, build_on_cluster):
        assert inspect.signature(command).parameters["descriptors"].default.value == BUILT.descriptors
    assert tuple(kind.value for kind in DescriptorType) == DESCRIPTOR_TYPES


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize(
    "command",
    [
        "map build drive -o map --every",
        "map build drive -o map --every-seconds",
        "map add map drive --every",
        "train cache drive -o cache --every",
        "evaluate map drive --every",
        "evaluate map drive --tolerance",
        "evaluate-depth model drive --every",
        "evaluate-depth model drive --cap",
        "simulate -o town --every",
        "simulate -o town --length",
    ],
)
def test_a_distance_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    vpr: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
    value: str,
) -> None:
    """Nothing is below nan and nothing above inf: the one would take every image, the other the first alone."""
    monkeypatch.chdir(tmp_path)
    assert vpr(*command.split(), value) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"vpr: {command.split()[-1]} must be a finite number") and said[0].endswith(value)
    assert not list(tmp_path.iterdir())


def test_calibrating_on_the_maps_own_images_is_warned_of(
    vpr: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path, painted_drive: type
) -> None:
    """An image finds itself with cosine 1: what is fitted to that is sure of every answer, the wrong ones too."""
    cv2 = pytest.importorskip("cv2")
    for name, start in (("stored", 0.0), ("held_out", 1.5)):
        images = tmp_path / name
        images.mkdir()
        rows = ["stamp_ns,x,y,z,yaw"]
        for frame in painted_drive(length=60.0, start=start):
            cv2.imwrite(str(images / f"{frame.stamp_ns}.png"), frame.read()[..., ::-1])
            rows.append(f"{frame.stamp_ns},{','.join(map(str, frame.T_map_camera[:3, 3]))},0")
        (images / "poses.csv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "m.vprmap"
    assert vpr("map", "build", tmp_path / "stored", "-o", path, "--every", 5, "--backend", "onnx") == 0
    for name in ("stored", "held_out"):
        capsys.readouterr()
        assert vpr("map", "calibrate", path, tmp_path / name, "--backend", "onnx") == 0
        assert (f"warning: {path} contains images of {name}" in capsys.readouterr().err) == (name == "stored")
    for image in (tmp_path / "held_out").glob("*.png"):
        image.write_bytes(b"no image")
    assert vpr("map", "calibrate", path, tmp_path / "stored", tmp_path / "held_out", "--backend", "onnx") == 1
    assert f"warning: {path} contains images of stored" in capsys.readouterr().err  # before the next drive fails


def test_a_nodes_parameter_file_configures_an_evaluation(tmp_path: Path) -> None:
    """One file describes the robot. Its localiser's parameters count; a flag beats it; an unknown name is an error."""
    path = tmp_path / "robot.yaml"
    path.write_text("/**:\n  ros__parameters:\n    base_frame:\n    search: {matches: 7}\n    filter.speed: 1.5\n")
    config = localizer_config(path, ["search.matches=9"])
    assert (config.search.matches, config.filter.speed) == (9, 1.5)
    with pytest.raises(ConfigError, match="--set: unknown parameter 'base_frame'"):
        localizer_config(path, ["base_frame=base_link"])
    path.write_text("/**:\n  ros__parameters:\n    basse_frame: x\n")
    with pytest.raises(ConfigError, match="did you mean 'base_frame'"):
        localizer_config(path, [])


def test_replay_is_no_mode_of_mapping(vpr: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """A parameter file of a mapping node was replayed as a localising one, with figures as if it had been asked for."""
    bag = Path(__file__).parents[3] / "demo" / "bags" / "sun"
    assert vpr("replay", "town.vprmap", bag, "-s", "mode=map") == 1
    assert "vpr replay localises: leave mode out" in capsys.readouterr().err
    assert vpr("replay", "town.vprmap", bag, "-s", "map=other.vprmap") == 1
    assert "vpr replay has an argument or option for map: give that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--drive-seed", "99999999999999999999999"], "Invalid value for '--drive-seed'"),
        (["--width", "0"], "Invalid value for '--width'"),
        (["-c", "sun", "-c", "sun"], "--condition sun is given twice"),
        (["-c", "sun", "-c", "night"], "night exists already: remove it or give another folder"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused_before_it_begins(
    tmp_path: Path, vpr: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """Tracebacks of the graphics library, or the second drive refused once the first was rendered."""
    (tmp_path / "town" / "night").mkdir(parents=True)
    assert vpr("simulate", "-o", tmp_path / "town", *arguments) in (1, 2)
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert [path.name for path in (tmp_path / "town").iterdir()] == ["night"]


def test_a_demo_that_runs_is_not_disturbed_by_a_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins by deleting the map of the last one: both failed."""
    runner, calls = CliRunner(), []

    def first(folder: Path, *_: object) -> None:
        calls.append(folder)
        (folder / "town.vprmap").touch()
        second = runner.invoke(app, ["demo", "-o", str(folder)])
        assert "another process writes to" in str(second.exception)
        assert (folder / "town.vprmap").exists()
        raise DriveError("enough")

    monkeypatch.setattr("vpr_ros.demo.run.run_demo", first)
    for _ in range(2):  # the lock is gone with the first one
        assert str(runner.invoke(app, ["demo", "-o", str(tmp_path / "demo")]).exception) == "enough"
    assert len(calls) == 2 and [path.name for path in (tmp_path / "demo").iterdir()] == ["town.vprmap"]
