"""A network of somebody else's, from its file to the robot: imported, mapped, calibrated, measured, run, built."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

SIDE, GRID = 64, 8


def write_network(path: Path) -> None:
    """As torch.onnx.export writes them: normalised floats, for one image, with features beside the descriptor."""
    types, helper = onnx.TensorProto, onnx.helper
    cell = {"kernel_shape": [SIDE // GRID] * 2, "strides": [SIDE // GRID] * 2}
    nodes = [
        helper.make_node("AveragePool", ["input"], ["cells"], **cell),
        helper.make_node("Reshape", ["cells", "flat_shape"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1]),
        helper.make_node("Sub", ["flat", "mean"], ["global"]),
    ]
    shape = onnx.numpy_helper.from_array(np.array([1, 3 * GRID * GRID], np.int64), "flat_shape")
    image = helper.make_tensor_value_info("input", types.FLOAT, [1, 3, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info("global", types.FLOAT, [1, 3 * GRID * GRID]),
        helper.make_tensor_value_info("cells", types.FLOAT, [1, 3, GRID, GRID]),
    ]
    graph = helper.make_graph(nodes, "colour_grid", [image], outputs, [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), str(path))


def vpr(folder: Path, *arguments: object) -> str:
    """What a command prints, typed in a shell in this folder."""
    command = [sys.executable, "-m", "vpr_ros.cli.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=processes.environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_a_file_to_the_robot(tmp_path: Path, painted_drive: Any, robot: Any, start_node: Any) -> None:
    """One way through with a model of no depth: what the guide says works, and each step says what is missing."""
    from geometry_msgs.msg import PoseWithCovarianceStamped

    from vpr_ros.drives.bag import write_bag

    drives = {
        "mapped": painted_drive(length=400.0),
        "held_out": painted_drive(length=300.0, start=1.5, noise=8.0),
        "driven": painted_drive(length=300.0, start=1.0, noise=4.0),
    }
    for name, drive in drives.items():
        write_bag(tmp_path / name, drive)
    write_network(tmp_path / "net.onnx")

    said = vpr(
        tmp_path, "model", "import", "net.onnx", "--descriptor", "global", "--licence", "MIT", "--name", "colours"
    )
    assert "cosine at least 1.000000" in said and "estimates no depth" in said and "vpr map calibrate" in said
    assert "colours" in vpr(tmp_path, "model", "list")
    told = vpr(tmp_path, "model", "info", "colours")
    assert "192 dimensions" in told and "MIT" in told and "net.onnx" in told

    onnx_runtime = ("--backend", "onnx")
    vpr(tmp_path, "map", "build", "mapped", "-o", "town.vprmap", "--model", "colours", *onnx_runtime)
    assert "held_out" in vpr(tmp_path, "map", "calibrate", "town.vprmap", "held_out", *onnx_runtime)
    vpr(tmp_path, "evaluate", "town.vprmap", "driven", "-o", "results", *onnx_runtime)
    figures = json.loads((tmp_path / "results" / "results.json").read_text())["conditions"]["driven"]
    assert figures["recall@1"] > 0.9 and figures["ece"] < 0.2
    compared = vpr(tmp_path, "model", "compare", "colours", "colours", "--drive", "mapped", "--drive", "driven")
    name, recall, error, change, *_ = compared.splitlines()[-1].split()
    assert name == "colours" and float(recall) > 90 and float(error) < 5 and float(change) == 0

    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    files = {"map": tmp_path / "town.vprmap", "model": tmp_path / "colours.onnx"}
    start_node(**files, backend="onnx", base_frame="''", **{"metric.enabled": True})
    poses = robot.heard["/localizer/pose"]
    for frame in drives["driven"]:
        robot.publish("/image", robot.image(frame.read(), stamp_s=frame.stamp_ns * 1e-9))
        robot.spin(0.2)
        if poses and abs(poses[-1].pose.pose.position.x - frame.T_map_camera[0, 3]) < 10.0:
            break
    else:
        raise AssertionError("the node did not recognise a place")
    robot.wait(
        lambda: "town.vprmap has no local features, so poses are not measured" in robot.diagnosis()[1],
        "what is missing",
    )

    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx (pip install tensorrt-rtx-cu13)")
    vpr(tmp_path, "export", "colours.onnx", "--tensorrt")
    assert (tmp_path / "colours.engine").stat().st_size > 0
