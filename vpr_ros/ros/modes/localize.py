"""Mode localize: each image becomes a pose on a map."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nav_msgs.srv import LoadMap
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import MapError, VprError, explained
from vpr_ros.base.records import Estimate, Frame
from vpr_ros.inference.open import open_describer
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.tile_files import is_address
from vpr_ros.ros import typed_messages
from vpr_ros.ros.adapters.answers_file import AnswersFile
from vpr_ros.ros.adapters.depth import DepthOutput
from vpr_ros.ros.adapters.map_to_odom import MapToOdom
from vpr_ros.ros.adapters.open import check_adapters, open_adapters
from vpr_ros.ros.adapters.pose import PoseOutput
from vpr_ros.ros.adapters.standard import StandardOutputs
from vpr_ros.ros.adapters.status import StatusOutput
from vpr_ros.ros.health.condition import Condition
from vpr_ros.ros.health.odometry_check import OdometryCheck
from vpr_ros.ros.input.camera_calibration import CameraCalibration
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.modes.mode import ImageSample, Reply
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Adapter, Answer
from vpr_ros.ros.outputs.live_outbox import LiveOutbox
from vpr_ros.ros.outputs.status import SURE
from vpr_ros.ros.params import NodeParams
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.services import map_url
from vpr_ros.ros.services.serving import create_service


class _Camera:
    """What the mode keeps of one camera: its calibration, and what is wrong with its images."""

    def __init__(self, node: ResponsiveNode, name: str, calibration: CameraCalibration) -> None:
        """name: its topic, where there are several cameras; else empty."""
        self.calibration = calibration
        self.content = Condition(node.get_logger(), "images have content again", name)
        self.measuring = Condition(node.get_logger(), "poses can be measured now", name)


class LocalizeMode:
    """See LiveMode. Services: ~/relocalize, ~/load_map, and ~/query and the action ~/localize if vpr_msgs is built."""

    needs_odometry = False
    queue_size = 1  # the newest image gives the current pose

    def __init__(self, node: ResponsiveNode, params: NodeParams, mount: CameraMount, localizer: Localizer) -> None:
        """Raises ConfigError or MissingDependencyError for an adapter that cannot be opened."""
        self.localizer = localizer
        self._stateless: Localizer | None = None  # for ~/query, created by the first call
        self._node = node
        self._params = params
        self._using = threading.Lock()  # one thread at a time uses the localiser
        self._odometry_start = 0
        self._compare_anew()
        self._standard = StandardOutputs(node)
        self._pose = PoseOutput(node)
        self._cameras: dict[str, _Camera] = {}
        for topic in params.image_topics:
            name = topic if len(params.image_topics) > 1 else ""
            calibration = CameraCalibration(node, params, localizer.metric is not None, topic)
            self._cameras[name] = _Camera(node, name, calibration)
        self._depth_camera, first = next(iter(self._cameras.items()))
        self._depth = DepthOutput(node, first.calibration)
        self._adapters: list[Adapter] = [self._pose, self._standard]
        self._services: list[Any] = []
        self._outbox: LiveOutbox | None = None
        try:
            self._status = StatusOutput(node, params.image_timeout)
            self._adapters.append(self._status)
            self._adapters += _optional_adapters(node, params)
            self._outbox = _open_outbox(node, params, localizer)
        except BaseException:
            self._close_adapters()
            raise
        self._services.append(create_service(node, Trigger, "~/relocalize", self._relocalize))
        load_map = create_service(node, LoadMap, "~/load_map", self._load_map, callback_group=node.slow_group)
        self._services.append(load_map)
        if typed_messages.available():
            from vpr_ros.ros.services.query import QueryService

            self._services.append(QueryService(node, self, mount).service)
        self._show_map()

    @classmethod
    def open(cls, node: ResponsiveNode, params: NodeParams, mount: CameraMount) -> LocalizeMode:
        """Open the map that the parameters name. Raises a VprError, one sentence, if that fails."""
        check_adapters(params.adapters, params.mode)  # the cheap check first
        localizer = _open_localizer(params, params.map)
        try:
            return cls(node, params, mount, localizer)
        except BaseException:
            localizer.close()
            raise

    @property
    def description(self) -> str:
        """See LiveMode."""
        return f"localising on {self.localizer.place_map.path}"

    @property
    def problem(self) -> str:
        """See LiveMode."""
        outbox = self._outbox
        of_outbox = "" if outbox is None else outbox.problem
        content = [camera.content.lasting for camera in self._cameras.values()]
        measuring = [camera.measuring.lasting for camera in self._cameras.values()]
        of_adapters = [getattr(adapter, "problem", "") for adapter in self._adapters]
        of_map = self.localizer.place_map.problem
        return "; ".join(filter(None, (*content, self._odometry.lasting, of_map, *measuring, *of_adapters, of_outbox)))

    @property
    def map_frame(self) -> str:
        """frame_id of the poses published."""
        return self._params.map_frame or self.localizer.place_map.frame_id

    def answer(self, sample: ImageSample) -> Reply:
        """Localise one image and publish."""
        with self._using:  # until all is published: another map, or a start anew, must not come between
            if sample.T_odom_camera is not None and sample.odometry_start != self._odometry_start:
                self._odometry_start = sample.odometry_start
                self.localizer.restart_odometry()
                self._compare_anew()
            camera = self._cameras[sample.camera]
            estimate = self.localizer.localize(sample.frame(self._intrinsics_of(sample, camera)))
            answer = self._answer(estimate, sample)
            self._pose.publish(answer)  # first, as most users wait for it
            sent_ns = time.monotonic_ns()
            for adapter in self._adapters[1:]:
                adapter.publish(answer)
            camera.content.report(estimate.problem)
            self._compare_odometry(answer, sample)
            if sample.camera == self._depth_camera:
                self._depth.publish(estimate.depth, sample)
            if self._outbox is not None:
                self._outbox.take(sample.stamp_ns, sample.image_rgb, sample.camera, estimate)
        return Reply(in_words(estimate), sent_ns, estimate.timings_ms)

    def odometry_restarted(self, start: int) -> None:
        """See LiveMode."""
        for adapter in self._adapters:
            if isinstance(adapter, MapToOdom):
                adapter.odometry_restarted(start)

    def leave_out(self, camera: str, why: str) -> None:
        """See Mode."""
        self._status.leave_out(camera, why)

    def lookup(self, sample: ImageSample) -> Answer:
        """The places that one image resembles. Does not use or update the temporal filter."""
        with self._using:
            if self._stateless is None:
                self._stateless = self.localizer.alone()
            return self._answer(self._stateless.localize(Frame(sample.stamp_ns, sample.image_rgb)), sample)

    def forget(self, localizer: Localizer | None = None) -> None:
        """Clear the temporal filter and the adapters' state. localizer: replaces the current one, which is closed."""
        with self._using:
            if localizer is not None:
                self.localizer.close()
                self.localizer, self._stateless = localizer, None
            self.localizer.reset()
            self._compare_anew()
            if self._outbox is not None:
                self._outbox.forget()
            for adapter in self._adapters:
                adapter.forget()

    def on_timer(self) -> None:
        """Listen to CameraInfo while poses are measured or depth has a subscriber."""
        for name, camera in self._cameras.items():
            depth = name == self._depth_camera and self._depth.wanted
            camera.calibration.on_timer(self.localizer.metric is not None or depth)
        if (outbox := self._outbox) is not None:
            outbox.on_timer()

    def values(self) -> dict[str, str]:
        """See LiveMode."""
        outbox = self._outbox
        return {
            "map": str(self.localizer.place_map.path),
            "places": str(len(self.localizer.places)),
            "model": self.localizer.describer.manifest.name,
            "backend": self.localizer.describer.backend,
            **self.localizer.place_map.status(),
            **({} if outbox is None else outbox.values()),
        }

    def close(self) -> None:
        """See LiveMode."""
        for service in self._services:
            self._node.destroy_service(service)
        self._close_adapters()
        self._close_outbox()
        self.localizer.close()

    def _intrinsics_of(self, sample: ImageSample, camera: _Camera) -> Intrinsics | None:
        """Of an image, if poses are measured; None if they cannot be, which is reported."""
        if self.localizer.metric is None:
            camera.measuring.report(self.localizer.unmeasurable)
            return None
        height, width = sample.image_rgb.shape[:2]
        intrinsics = camera.calibration.of_image(width, height)
        camera.measuring.report(camera.calibration.problem)
        return intrinsics

    def _compare_anew(self) -> None:
        """Compare odometry with later poses only."""
        self._odometry_check = OdometryCheck()
        self._odometry = Condition(self._node.get_logger(), "odometry fits the poses on the map now")

    def _compare_odometry(self, answer: Answer, sample: ImageSample) -> None:
        """Report odometry that contradicts the poses on the map."""
        best = answer.estimate.best
        if best is None or best.probability < SURE or answer.obstacle:
            return
        T_camera_base, T_odom_base = sample.T_camera_base, sample.T_odom_base
        if T_camera_base is None or T_odom_base is None:
            return
        if self._odometry_check.add(best.T_map_camera @ T_camera_base, T_odom_base, self.localizer.places.spacing):
            self._odometry.report(self._odometry_check.problem)

    def _answer(self, estimate: Estimate, sample: ImageSample) -> Answer:
        """The estimate of an image as adapters take it."""
        best = estimate.best
        return Answer(
            arrived_ns=sample.arrived_ns,
            estimate=estimate,
            image_header=convert.header(sample.stamp_ns, sample.frame_id),
            map_header=convert.header(sample.stamp_ns, self.map_frame),
            T_camera_base=sample.T_camera_base,
            T_odom_base=sample.T_odom_base,
            odom_frame=sample.odom_frame,
            spacing=0.0 if best is not None and best.measured else self.localizer.places.spacing,
            gap=self.localizer.place_map.gap,
            clock_problem=sample.clock_problem,
            odometry_start=self._odometry_start,
            camera=sample.camera,
        )

    def _close_adapters(self) -> None:
        for camera in self._cameras.values():
            camera.calibration.close()
        self._depth.close()
        for adapter in self._adapters:
            adapter.close()

    def _close_outbox(self) -> None:
        with self._using:
            outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.close()

    def _show_map(self) -> None:
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self.map_frame)
        self._standard.show_map(self.localizer.places.positions, header)

    def _relocalize(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.forget()
        response.success, response.message = True, "the temporal filter is reset"
        return response

    async def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        """Switch to another map; if it cannot be opened, keep the current one."""
        response.result = LoadMap.Response.RESULT_UNDEFINED_FAILURE
        try:
            where = map_url.location_of(request.map_url)
            if not (is_address(where) or os.path.exists(where)):
                response.result = LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST
            await self._node.exclusively("load_map", lambda: self._switch_to(_open_localizer(self._params, where)))
        except (VprError, OSError) as error:
            missing = response.result == LoadMap.Response.RESULT_MAP_DOES_NOT_EXIST
            if isinstance(error, MapError) and not missing:
                response.result = LoadMap.Response.RESULT_INVALID_MAP_DATA
            self._node.get_logger().error(f"{explained(error)}; keeping the current map")
            return response
        response.result = LoadMap.Response.RESULT_SUCCESS
        return response

    def _switch_to(self, localizer: Localizer) -> None:
        self._close_outbox()  # its keyframes are of the other map
        outbox = None
        try:
            outbox = _open_outbox(self._node, self._params, localizer)
        except VprError as error:
            self._node.get_logger().error(f"{error}; no keyframes are stored")
        self.forget(localizer)
        gc.collect()  # reference cycles keep the map before, and the outbox's network, alive
        self._outbox = outbox
        self._show_map()
        self._node.get_logger().info(self.description)


def in_words(estimate: Estimate) -> str:
    """The answer as one short line."""
    best = estimate.best
    if best is None:
        return f"not on this map ({estimate.off_map_probability:.0%})"
    x, y, z = best.T_map_camera[:3, 3]
    measured = f", {best.inliers} features agree" if best.measured else ""
    return f"camera at {x:.1f} {y:.1f} {z:.1f} m ({best.probability:.0%}{measured})"


def _open_localizer(params: NodeParams, where: str) -> Localizer:
    """A localiser whose images do not wait for tiles."""
    return Localizer.open(where, params.model, params.backend, params.localizer, params.network_threads, wait=False)


def _open_outbox(node: ResponsiveNode, params: NodeParams, localizer: Localizer) -> LiveOutbox | None:
    """The outbox that the parameters name, with a network of its own on one core: images must not wait for it."""
    if not params.outbox.path:
        return None
    place_map = localizer.place_map
    describer = open_describer(params.model or place_map.model.name, params.backend, threads=1)
    place_map.prepare(describer)
    return LiveOutbox(
        Path(params.outbox.path), params.outbox.most_mb, place_map, localizer.places, describer, node.get_logger()
    )


def _optional_adapters(node: ResponsiveNode, params: NodeParams) -> Sequence[Adapter]:
    """The adapters that the parameters choose, and ~/matches and ~/localize if vpr_msgs is built."""
    adapters: list[Adapter] = []
    try:
        if params.publish_tf:
            adapters.append(MapToOdom(node, params.transform_tolerance, params.image_timeout))
        if params.answers_file:
            adapters.append(AnswersFile(Path(params.answers_file)))
        if not typed_messages.available():
            missing = "~/status, ~/localize, ~/matches and ~/query are not available"
            node.get_logger().info(f"package vpr_msgs is not built, or too old: {missing}")
        else:
            from vpr_ros.ros.adapters.vpr_msgs import TypedMatches
            from vpr_ros.ros.services.localize import LocalizeAction

            adapters += [TypedMatches(node), LocalizeAction(node)]
        return [*adapters, *open_adapters(params.adapters, params.mode, node, params)]
    except BaseException:
        for adapter in adapters:
            adapter.close()
        raise
