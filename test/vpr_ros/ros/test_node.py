"""The node as a user runs it: a process of its own, real DDS, the shipped network. No part is a stand-in."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.srv import LoadMap
from packages import install
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from tiled import served
from visualization_msgs.msg import MarkerArray

from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.tiles import write_tiles

ERROR, WARN = 2, 1


def position(message: PoseWithCovarianceStamped) -> np.ndarray:
    p = message.pose.pose.position
    return np.array([p.x, p.y, p.z])


def ask(robot: Any, street: Any, place: int, stamp_s: float) -> PoseWithCovarianceStamped:
    """Show a place until it is recognised: the filter may need to see it more than once."""
    poses = robot.heard["/localizer/pose"]

    def recognised() -> bool:
        return bool(poses) and abs(position(poses[-1])[0] - street.spacing_m * place) < street.spacing_m / 2

    for attempt in range(20):
        robot.publish("/image", robot.image(street.draw(place), stamp_s + 0.1 * attempt))
        with contextlib.suppress(AssertionError):
            return robot.wait(recognised, "recognised", 0.3) and poses[-1]
    raise AssertionError(f"place {place} was not recognised; diagnostics: {robot.diagnosis()}")


def test_image_becomes_pose_of_the_base(street: Any, robot: Any, start_node: Any) -> None:
    """The whole road, and what a robot needs at its end: base in map frame, the image's stamp, a usable covariance."""
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    robot.listen(PoseArray, "/localizer/hypotheses")
    robot.listen(MarkerArray, "/localizer/markers")
    robot.listen(Image, "/localizer/depth/image_rect")
    start_node(map=street.map, camera_pose="[0.5, 0.0, 1.5, 0.0, 0.0, 0.0]")

    pose = ask(robot, street, 3, stamp_s=100.0)

    assert pose.header.frame_id == "map"
    assert 100.0 <= pose.header.stamp.sec + pose.header.stamp.nanosec * 1e-9 < 102.0
    # The camera looks along base_link's x from 0.5 m ahead of it and 1.5 m above: the base stands on the street.
    np.testing.assert_allclose(position(pose), [street.spacing_m * 3 - 0.5, 0.0, 0.0], atol=1.0)
    assert pose.pose.pose.orientation.w == pytest.approx(1.0, abs=0.01)
    covariance = np.array(pose.pose.covariance).reshape(6, 6)
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    robot.wait(lambda: robot.heard["/localizer/hypotheses"], "hypotheses")
    robot.wait(lambda: robot.heard["/localizer/markers"], "markers")
    if street.describer.manifest.depth:
        depth = robot.wait(lambda: robot.heard["/localizer/depth/image_rect"], "depth")[-1]
        assert depth.encoding == "32FC1" and depth.header.frame_id == "camera_optical"
    robot.wait_for_diagnosis("camera at")
    values = robot.diagnosis()[2]
    assert {
        "rate [Hz]",
        "latency p50 [ms]",
        "latency p95 [ms]",
        "backend",
        "map",
        "dropped (busy)",
    } <= set(values)


def test_bad_input_is_dropped_counted_and_survived(street: Any, robot: Any, start_node: Any) -> None:
    """A cable or a driver may send anything; the node keeps localising and says how often it did not."""
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    node = start_node(
        map=street.map, image="/camera/compressed", odom="/odom", camera_pose="[0.0, 0.0, 0.0, 0.0, 0.0, 0.0]"
    )
    topic = "/camera/compressed"
    good = street.jpeg(2)
    for count, data in enumerate((b"", good[: len(good) // 2], b"no image at all"), 1):
        robot.publish(topic, robot.compressed(data, stamp_s=float(count)))
        robot.wait_for_count("dropped (bad image)", count)
    robot.publish("/odom", robot.odometry(float("nan"), stamp_s=4.0))
    robot.wait_for_count("odometry rejected", 1)

    robot.publish("/odom", robot.odometry(0.0, stamp_s=5.0))
    robot.publish(topic, robot.compressed(good, stamp_s=5.0))
    robot.wait_for_count("images answered", 1)
    robot.publish(topic, robot.compressed(good, stamp_s=1.0))  # a bag that starts again; this one may be late
    robot.wait_for_count("images late (overtaken by a newer one)", 1)
    robot.publish(topic, robot.compressed(good, stamp_s=1.5))
    robot.wait_for_count("clock jumps", 1)
    robot.wait_for_count("images answered", 2)
    assert node.process.poll() is None
    assert "Traceback" not in node.log
    assert node.stop() == 0


def test_another_map_is_taken_only_when_it_fits(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """~/load_map on a running robot: a wrong file must not take away the map it has."""
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    start_node(map=street.map, base_frame="''")
    ask(robot, street, 4, stamp_s=10.0)
    corrupt = tmp_path / "corrupt.vprmap"
    corrupt.write_bytes(b"not a map" * 1000)
    for url, result in (
        (str(tmp_path / "nowhere.vprmap"), LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST),
        (f"file://{corrupt}", LoadMap.Response.RESULT_INVALID_MAP_DATA),
        ("http://[bad", LoadMap.Response.RESULT_INVALID_MAP_DATA),
        ("package://no such package/x", LoadMap.Response.RESULT_INVALID_MAP_DATA),
        ("x" * 300, LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST),
    ):
        assert robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=url)).result == result
    assert corrupt.read_bytes() == b"not a map" * 1000
    ask(robot, street, 6, stamp_s=20.0)

    other = street.build_map(tmp_path / "other.vprmap", first_place=50)
    response = robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=f"file://{other}"))
    assert response.result == LoadMap.Response.RESULT_SUCCESS
    np.testing.assert_allclose(position(ask(robot, street, 55, stamp_s=30.0)), street.pose(55)[:3, 3], atol=1.0)
    assert robot.call(Trigger, "/localizer/relocalize").success
    robot.wait_for_diagnosis("camera at")
    assert robot.diagnosis()[2]["map"] == str(other)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"imagee": "/x"}, "unknown parameter 'imagee'; did you mean 'image'?"),
        ({"queue_size": "deep", "map": "town.vprmap"}, "queue_size is 'deep'; expected int"),
        ({"depth": 5, "map": "town.vprmap"}, "'depth' is called 'queue_size' now"),
        ({"camera_pose": "[.nan, 0.0, 0.0, 0.0, 0.0, 0.0]", "map": "town.vprmap"}, "must be a finite number"),
    ],
)
def test_wrong_parameters_fail_configure_with_a_sentence(
    parameters: dict[str, Any], words: str, robot: Any, start_node: Any
) -> None:
    """A typing error must neither be ignored nor end in a traceback: one sentence, and the node waits, unconfigured."""
    node = start_node(**parameters)
    robot.wait_for_diagnosis(words, level=ERROR)
    assert robot.state() == "unconfigured"
    assert words in node.log
    assert "Traceback" not in node.log


def test_lifecycle_manager_leads(street: Any, robot: Any, start_node: Any, tmp_path: Path) -> None:
    """Without autostart every transition is somebody else's. What does not fit fails configure with a sentence, and
    configure can be tried again once that is fixed.
    """
    corrupt = tmp_path / "corrupt.vprmap"
    corrupt.write_bytes(b"not a map" * 1000)
    node = start_node(autostart=False, **{"search.matches": 0})
    assert robot.state() == "unconfigured"
    good = {"search.matches": 50, "map": str(street.map), "model": "", "publish_tf": False}
    for wrong, words in (
        ({}, "matches is 0; it must lie in 1 .. 10000"),
        ({"search.matches": 50}, "no map given"),
        ({"map": "nowhere.vprmap"}, "no map nowhere.vprmap"),
        ({"map": str(corrupt)}, f"{corrupt} is not a map"),
        (
            {"map": str(street.build_map(tmp_path / "b.vprmap", places=1, fingerprint="b" * 64))},
            "(bbbbbbbbbbbb), not with",
        ),
        ({"map": str(street.map), "model": "nobody"}, "no model called 'nobody'"),
        ({"model": "", "publish_tf": True}, "set odom"),
    ):
        assert robot.set_parameters(**wrong)
        assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert words in node.log
    robot.wait_for_diagnosis("set odom", level=ERROR)

    assert robot.set_parameters(**good)
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert not robot.set_parameters(map="other.vprmap")  # it would change nothing now
    for transition in (
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert robot.change_state(transition)
    assert robot.state() == "active"
    # A transition that is not allowed now must not end the node, and whoever asks wants an answer.
    assert not robot.change_state(Transition.TRANSITION_CLEANUP)
    assert robot.state() == "active"
    assert robot.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert node.stop() == 0
    assert "Traceback" not in node.log
    assert corrupt.read_bytes() == b"not a map" * 1000


def test_silence_is_explained(street: Any, robot: Any, start_node: Any) -> None:
    """The commonest question of all, "why does nothing happen": topic, QoS, and who publishes what."""
    from rclpy.qos import qos_profile_sensor_data

    start_node(map=street.map, image="/camera/image_raw", image_timeout=0.5, reliability="reliable")
    sentence = robot.wait_for_diagnosis("no image for", level=WARN)
    assert (
        "/camera/image_raw (sensor_msgs/msg/Image, reliable, depth 5)" in sentence and "it has no publisher" in sentence
    )

    elsewhere = robot.node.create_publisher(Image, "/other/image", 10)
    robot.wait_for_diagnosis("images are published on /other/image", level=WARN)
    same = robot.node.create_publisher(Image, "/camera/image_raw", qos_profile_sensor_data)
    sentence = robot.wait_for_diagnosis(
        "published by /robot as sensor_msgs/msg/Image (best_effort, volatile)", level=WARN
    )
    assert "set reliability:=best_effort" in sentence
    for publisher in (elsewhere, same):
        robot.node.destroy_publisher(publisher)


MOODY = """
import time

class Moody:
    def __init__(self, node, params):
        self.problem = "the laser is dirty"
        self._slow = False
        node.create_timer(0.2, self._fail)

    def _fail(self):
        raise ZeroDivisionError("in a timer")

    def publish(self, answer):
        time.sleep(8.0 if self._slow else 0.0)
        self._slow = True

    def forget(self):
        pass

    def close(self):
        pass
"""


def test_an_adapter_of_another_package_stops_no_other_output(
    street: Any, robot: Any, start_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timer of its own, or an attribute called problem, ended the node; one that hung was OK on /diagnostics."""
    install(tmp_path / "moody_pkg", monkeypatch, "vpr.adapters", {"moody": "moody:Moody"}, moody=MOODY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'moody_pkg'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    node = start_node(map=street.map, base_frame="''", adapters="[moody]", image_timeout=2.0)
    robot.publish("/image", robot.image(street.draw(3), stamp_s=1.0))
    robot.wait_for_diagnosis("the laser is dirty", level=WARN)
    robot.wait(lambda: int(robot.diagnosis()[2].get("internal errors", 0)) > 2, "counted errors")
    assert "internal error in a callback" in node.log and "ZeroDivisionError: in a timer" in node.log
    number, said = 0, None
    while said is None and number < 600:
        robot.publish("/image", robot.image(street.draw(3), stamp_s=2.0 + 0.1 * number))
        robot.spin(0.1)
        number, said = number + 1, re.search(r"an image has been in progress for (\d+) s", robot.diagnosis()[1])
    assert said and int(said[1]) >= 5  # a slow network is no fault, however soon silence is told
    assert node.process.poll() is None


def test_several_publishers_of_one_topic_are_named(street: Any, robot: Any, start_node: Any) -> None:
    """Two robots of one name, or a bag beside the camera: poses jumped between two places, and all was OK."""
    start_node(map=street.map, base_frame="''", image_timeout=60.0)
    robot.publish("/image", robot.image(street.draw(3), stamp_s=time.time()))
    robot.wait_for_count("images answered", 1)
    assert robot.diagnosis()[0] == 0, robot.diagnosis()
    other = robot.node.create_publisher(Image, "/image", 10)
    robot.wait_for_diagnosis("/image has 2 publishers (/robot, /robot): if more than one sends", level=WARN)
    robot.node.destroy_publisher(other)
    robot.wait(lambda: robot.diagnosis()[0] == 0, "all well again")


def test_the_latest_images_explain_diagnostics(street: Any, robot: Any, start_node: Any) -> None:
    """The problem before, of images that had no content, hid that later ones could not be read."""
    start_node(map=street.map, base_frame="''")
    for number in range(24):
        robot.publish("/image", robot.image(np.zeros((240, 320, 3), np.uint8), stamp_s=1.0 + 0.1 * number))
        robot.spin(0.1)
    robot.wait_for_diagnosis("the image shows nothing", level=WARN)
    for number in range(10):
        image = robot.image(street.draw(3), stamp_s=5.0 + 0.1 * number)
        image.step = 1
        robot.publish("/image", image)
        robot.spin(0.1)
    robot.wait_for_diagnosis("images could not be used: the image's sizes do not agree", level=WARN)


def test_no_pose_without_the_cameras_place(street: Any, robot: Any, start_node: Any) -> None:
    """Never silently identity: without TF and camera_pose the node localises, publishes no pose and says why."""
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    robot.listen(MarkerArray, "/localizer/markers")
    start_node(map=street.map)
    for count in range(1, 4):
        robot.publish("/image", robot.image(street.draw(3), stamp_s=float(count)))
        robot.wait_for_count("images answered", count)
    robot.wait_for_diagnosis("no transform base_link -> camera_optical", level=WARN)
    robot.wait(lambda: robot.heard["/localizer/markers"], "markers")
    assert not robot.heard["/localizer/pose"]


def test_an_invalid_topic_name_fails_configure_with_a_sentence(street: Any, robot: Any, start_node: Any) -> None:
    """A typing error in a topic must be said, not end in a silent node."""
    node = start_node(map=street.map, image="my topic!", base_frame="''")
    robot.wait_for_diagnosis("invalid topic name 'my topic!'", level=ERROR)
    assert robot.state() == "unconfigured"
    assert "Traceback" not in node.log


def test_tiles_take_the_place_of_a_map(
    street: Any, robot: Any, start_node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of tiles as the node's map, then an address; a server that goes down leaves the map it has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, first_place in (("here", 0), ("there", 50)):
        with PlaceMap.open(street.build_map(tmp_path / f"{name}.vprmap", first_place)) as place_map:
            write_tiles(place_map, tmp_path / name, cell_m=100.0)
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    start_node(map=tmp_path / "here", base_frame="''")
    np.testing.assert_allclose(position(ask(robot, street, 4, stamp_s=10.0)), street.pose(4)[:3, 3], atol=1.0)
    robot.wait(lambda: "4 in all" in robot.diagnosis()[2].get("tiles", ""), "tiles in diagnostics")

    with served(tmp_path / "there") as (address, _):
        response = robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=address))
        assert response.result == LoadMap.Response.RESULT_SUCCESS
        np.testing.assert_allclose(position(ask(robot, street, 55, stamp_s=30.0)), street.pose(55)[:3, 3], atol=1.0)
    response = robot.call(LoadMap, "/localizer/load_map", LoadMap.Request(map_url=f"{address}/other"))
    assert response.result == LoadMap.Response.RESULT_INVALID_MAP_DATA
    ask(robot, street, 55, stamp_s=60.0)
