"""Draws triangles as depth and classes with OpenGL: views of a 3D model."""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.drawing import set_uniform
from vpr_lab.simulation.renderer import GL_FROM_OPTICAL, open_context
from vpr_lab.simulation.triangles import Segment, Triangles
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.geometry import inverse

_NEAR_M = 0.1
_CHUNK = 1024  # triangles that are drawn or left out as one

_VERTEX = """
#version 330
uniform mat4 u_clip_from_map; uniform vec4 u_depth;
in vec3 in_position; in vec2 in_uv; in float in_layer; in float in_segment;
out vec2 v_uv; out float v_depth; flat out float v_layer; flat out float v_segment;
void main() {
    v_uv = in_uv; v_layer = in_layer; v_segment = in_segment;
    v_depth = dot(u_depth, vec4(in_position, 1.0));
    gl_Position = u_clip_from_map * vec4(in_position, 1.0);
}
"""

# The depth buffer is linear, so that far mountains are as sharp as near walls. Leaves far away are thinned less than
# averaging would, as in the photographs' shader.
_FRAGMENT = """
#version 330
uniform sampler2DArray u_masks; uniform float u_far;
in vec2 v_uv; in float v_depth; flat in float v_layer; flat in float v_segment;
out vec2 f_depth_segment;
void main() {
    vec2 texels = fwidth(v_uv) * float(textureSize(u_masks, 0).x);
    float opacity = texture(u_masks, vec3(v_uv, v_layer)).r * (1.0 + 0.3 * max(log2(max(texels.x, texels.y)), 0.0));
    if (v_layer >= 0.0 && opacity < 0.4) discard;
    gl_FragDepth = v_depth / u_far;
    f_depth_segment = vec2(v_depth, v_segment);
}
"""


class ViewRenderer:
    """Depth and classes of one world through one level, square camera.

    Use it from the thread that made it; close() frees the card's memory. Raises MissingDependencyError if moderngl
    or EGL is missing.
    """

    def __init__(self, triangles: Triangles, size_px: int = 224, fov_deg: float = 60.0, far_m: float = 1200.0) -> None:
        self.triangles, self.far_m = triangles, far_m
        self.camera = Camera(size_px, size_px, fov_deg)
        self._context = context = open_context()
        self._program = context.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        masks = triangles.masks
        self._masks = context.texture_array((masks.shape[2], masks.shape[1], len(masks)), 1, masks.tobytes())
        self._masks.build_mipmaps()
        self._masks.filter = (context.LINEAR_MIPMAP_LINEAR, context.LINEAR)
        self._masks.use(0)
        corners, self._spheres = _chunks(triangles.corners)
        buffer = context.buffer(corners.tobytes())
        content = [(buffer, "3f4 2f4 1f4 1f4", "in_position", "in_uv", "in_layer", "in_segment")]
        self._array = context.vertex_array(self._program, content)
        self._target = self._framebuffer(size_px, size_px)

    def render(self, T_map_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One view from a (4, 4) pose.

        Returns (H, W) float32 metres along the optical axis, 0 for the sky, and (H, W) uint8 Segment.
        """
        T_camera_map = inverse(T_map_camera - _moved(self.triangles.origin))
        slope = 2 * self.camera.focal_px / self.camera.width
        a, b = (self.far_m + _NEAR_M) / (_NEAR_M - self.far_m), 2 * self.far_m * _NEAR_M / (_NEAR_M - self.far_m)
        projection = np.array([[slope, 0, 0, 0], [0, slope, 0, 0], [0, 0, a, b], [0, 0, -1.0, 0]])
        clip = projection @ GL_FROM_OPTICAL @ T_camera_map
        return self._draw(self._target, clip, T_camera_map[2], self.far_m, self._visible(T_camera_map))

    def surface(self, step_m: float) -> np.ndarray:
        """(N, 3) map metres: points of a grid over the whole world whose highest surface is ground.

        Raises ConfigError if the grid would be larger than the card can draw.
        """
        low, high = self.triangles.bounds - self.triangles.origin
        counts = np.maximum(1, np.round((high - low)[:2] / step_m)).astype(int)
        with self._context as context:
            largest = int(context.info["GL_MAX_TEXTURE_SIZE"])
        if counts.max() > largest:
            raise ConfigError(f"views every {step_m} m are too many for {self.triangles.world}: choose wider steps")
        middle, reach = (low + high)[:2] / 2, counts * step_m / 2
        deep = high[2] - low[2] + 2.0
        clip = np.diag([1 / reach[0], 1 / reach[1], -2 / deep, 1.0])
        clip[:3, 3] = -middle[0] / reach[0], -middle[1] / reach[1], (high[2] + low[2]) / deep
        target = self._framebuffer(*counts)
        depth, segments = self._draw(
            target, clip, np.array([0.0, 0.0, -1.0, high[2] + 1.0]), deep, np.arange(len(self._spheres))
        )
        target.release()
        rows, columns = np.nonzero(segments == Segment.GROUND)
        x = middle[0] - reach[0] + (columns + 0.5) * step_m
        y = middle[1] + reach[1] - (rows + 0.5) * step_m
        return np.stack([x, y, high[2] + 1.0 - depth[rows, columns]], 1) + self.triangles.origin

    def close(self) -> None:
        """Free everything; the renderer is of no use afterwards."""
        with self._context:
            for thing in (self._array, self._masks, self._target):
                thing.release()
        self._context.release()

    def _framebuffer(self, width: int, height: int) -> Any:
        size = (int(width), int(height))
        with self._context:
            return self._context.framebuffer(
                [self._context.texture(size, 2, dtype="f4")], self._context.depth_texture(size)
            )

    def _visible(self, T_camera_map: np.ndarray) -> np.ndarray:
        """Chunks that reach into the field of view."""
        x, y, z = T_camera_map[:3, :3] @ self._spheres[:, :3].T + T_camera_map[:3, 3:]
        half = np.radians(self.camera.fov_deg) / 2
        outside = np.cos(half) * np.maximum(np.abs(x), np.abs(y)) - np.sin(half) * z
        return np.flatnonzero(np.maximum(outside, np.maximum(-z, z - self.far_m)) < self._spheres[:, 3])

    def _draw(
        self, target: Any, clip: np.ndarray, depth: np.ndarray, far_m: float, chunks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """depth: (4,) weights of x, y, z, 1 that tell how far a point is."""
        with self._context as context:
            target.use()
            target.clear()
            context.enable_only(context.DEPTH_TEST)
            set_uniform(self._program, "u_clip_from_map", clip)
            set_uniform(self._program, "u_depth", depth)
            set_uniform(self._program, "u_far", far_m)
            total = len(self.triangles.corners)
            for first in (3 * _CHUNK * chunks).tolist():
                self._array.render(context.TRIANGLES, vertices=min(3 * _CHUNK, total - first), first=first)
            width, height = target.size
            read = np.frombuffer(target.read(components=2, dtype="f4"), np.float32).reshape(height, width, 2)[::-1]
        return np.ascontiguousarray(read[..., 0]), np.round(read[..., 1]).astype(np.uint8)


def _moved(origin: np.ndarray) -> np.ndarray:
    """(4, 4) that is zero but for a translation."""
    out = np.zeros((4, 4))
    out[:3, 3] = origin
    return out


def _chunks(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles in the order of a Z curve over the plane, so that each _CHUNK of them lies close together.

    Returns (3 N,) corners and (C, 4) spheres round the chunks: middle and radius.
    """
    position = corners["position"].reshape(-1, 3, 3)
    middle = position[..., :2].mean(1)
    low, size = middle.min(0), max(float(np.ptp(middle, axis=0).max()), 1e-6)
    steps = ((middle - low) / size * 0xFFFF).astype(np.int64)
    code = np.zeros(len(steps), np.int64)
    for bit in range(16):
        for axis in (0, 1):
            code |= (steps[:, axis] >> bit & 1) << (2 * bit + axis)
    order = np.argsort(code, kind="stable")
    starts = np.arange(0, len(order), _CHUNK)
    lowest = np.minimum.reduceat(position[order].min(1), starts, axis=0)
    highest = np.maximum.reduceat(position[order].max(1), starts, axis=0)
    radius = np.linalg.norm(highest - lowest, axis=1, keepdims=True) / 2
    return corners.reshape(-1, 3)[order].reshape(-1), np.concatenate([(lowest + highest) / 2, radius], axis=1)
