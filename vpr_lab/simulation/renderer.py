"""Draws a town through a camera with OpenGL, without a window; software Mesa will do.

Static quads lie in cells; near cells are drawn front to back, so that hidden fragments are never shaded. The shadow map
is drawn again only when the camera has left its middle.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vpr_lab.simulation import shaders
from vpr_lab.simulation.camera import Camera, expose
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drawing import SHADOW_HALF_M, QuadArrays, set_uniform, sun_view, visible_cells
from vpr_lab.simulation.lots import EXTENT_M
from vpr_lab.simulation.town import CELL_M, Cells, Town
from vpr_lab.simulation.traffic import Traffic
from vpr_ros.base.errors import MissingDependencyError
from vpr_ros.base.geometry import inverse

NEAR_M, FAR_M = 0.25, 1200.0
SHADOW_SIZE, SHADOW_STEP_M = 1024, 24.0
_UNIFORMS = (
    *("sun", "ambient", "zenith", "horizon", "clouds", "snow", "wet", "night", "autumn", "foliage"),
    *("lamp", "headlights", "exposure", "white_balance"),
)
_TEXTURES = ("u_layers", "u_noise", "u_field", "u_shadow", "u_ground")


class Renderer:
    """Pictures and depth of one town through one camera.

    Use it from the thread that made it; close() frees the card's memory. samples: 4 smooths edges, at three times the
    cost. Raises MissingDependencyError if moderngl or EGL is missing.
    """

    def __init__(self, town: Town, camera: Camera | None = None, samples: int = 1) -> None:
        self.town, self.camera = town, camera or Camera()
        self._context = open_context()
        self._samples = min(samples, int(self._context.max_samples))
        self._programs()
        self._buffers()
        self._upload()
        self._traffic_seed: int | None = None
        self._moving: list[QuadArrays] = []
        self._blots: Any = None
        self._blot_places: Any = None
        self._blot_count = 0
        self._shadow_key: tuple[Any, ...] | None = None

    def render(
        self, T_map_camera: np.ndarray, condition: Condition, traffic_seed: int = 0, noise_seed: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One photograph and its depth.

        T_map_camera: (4, 4). traffic_seed: of vehicles and people. noise_seed: of the sensor's noise; None leaves the
        sensor out. Returns (H, W, 3) uint8 RGB and (H, W) float32 metres along the optical axis, 0 for the sky.
        """
        with self._context:
            image, depth = self._picture(T_map_camera, condition, traffic_seed)
        if noise_seed is not None:
            image = expose(image, condition, noise_seed)
        return image, depth

    def _picture(
        self, T_map_camera: np.ndarray, condition: Condition, traffic_seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if traffic_seed != self._traffic_seed:
            self._load_traffic(traffic_seed)
        clip = self._projection() @ GL_FROM_OPTICAL @ inverse(T_map_camera)
        quads = self._visible_traffic(T_map_camera)
        self._set_condition(T_map_camera, condition, clip)
        if max(condition.sun) > 0:
            self._draw_shadows(T_map_camera[:3, 3], condition)
        self._draw(T_map_camera, clip, quads)
        return self._read()

    def close(self) -> None:
        """Free everything; the renderer is of no use afterwards."""
        with self._context:
            for thing in (*self._textures, self._plain, self._target, self._shadow_map):
                thing.release()
        self._context.release()

    def _programs(self) -> None:
        make, s = self._context.program, shaders
        cut = s.COMMON.replace("#version 330", "#version 330\n#define CUTOUT")
        self._surface = make(vertex_shader=s.SURFACE_VERTEX, fragment_shader=s.COMMON + s.SURFACE_FRAGMENT)
        self._cutout = make(vertex_shader=s.SURFACE_VERTEX, fragment_shader=cut + s.SURFACE_FRAGMENT)
        self._ground = make(vertex_shader=s.GROUND_VERTEX, fragment_shader=s.COMMON + s.GROUND_FRAGMENT)
        self._sky = make(vertex_shader=s.SKY_VERTEX, fragment_shader=s.COMMON + s.SKY_FRAGMENT)
        self._blot = make(vertex_shader=s.BLOT_VERTEX, fragment_shader=s.BLOT_FRAGMENT)
        self._shadow = make(vertex_shader=s.SURFACE_VERTEX, fragment_shader=s.SHADOW_FRAGMENT)
        self._all = (self._surface, self._cutout, self._ground, self._sky, self._blot, self._shadow)

    def _buffers(self) -> None:
        size, context = (self.camera.width, self.camera.height), self._context
        self._plain = context.framebuffer([context.texture(size, 4)], context.depth_texture(size))
        self._target = self._plain
        if self._samples > 1:
            self._target = context.framebuffer(
                [context.renderbuffer(size, 4, samples=self._samples)],
                context.depth_renderbuffer(size, samples=self._samples),
            )
        depth = context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        depth.compare_func = "<="
        depth.repeat_x = depth.repeat_y = False
        self._shadow_map = depth
        self._shadow_target = context.framebuffer(depth_attachment=depth)

    def _upload(self) -> None:
        context, town = self._context, self.town
        pixels = town.textures.pixels
        layers = context.texture_array((pixels.shape[2], pixels.shape[1], len(pixels)), 4, pixels.tobytes())
        noise = context.texture(town.textures.noise.shape[1::-1], 4, town.textures.noise.tobytes())
        ground = context.texture(town.ground.shape[1::-1], 4, town.ground.tobytes())
        field = context.texture(town.field.shape[1::-1], 4, town.field.tobytes(), dtype="f4")
        for texture in (layers, noise, ground):
            texture.build_mipmaps()
            texture.filter = (context.LINEAR_MIPMAP_LINEAR, context.LINEAR)
        field.repeat_x = field.repeat_y = ground.repeat_x = ground.repeat_y = False
        field.filter = (context.LINEAR, context.LINEAR)
        for unit, texture in enumerate((layers, noise, field, self._shadow_map, ground)):
            texture.use(unit)
        self._textures = (layers, noise, field, ground)
        self._static = [
            self._arrays(cells.vertices, cells, program)
            for cells, program in ((town.opaque, self._surface), (town.cutout, self._cutout))
        ]
        corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], "f4")
        self._ground_quad = context.vertex_array(self._ground, [(context.buffer(corners * 2000), "2f4", "in_position")])
        self._sky_quad = context.vertex_array(self._sky, [(context.buffer(corners), "2f4", "in_position")])
        self._corners = context.buffer(corners)
        style, names = town.style, town.textures.names
        for program in self._all:
            for unit, name in enumerate(_TEXTURES):
                set_uniform(program, name, unit)
            set_uniform(program, "u_extent", EXTENT_M)
            for name in ("asphalt", "pavement", "lawn", "cobbles"):
                set_uniform(program, f"u_{name}", getattr(style, name))
            set_uniform(
                program,
                "u_ground_layers",
                tuple(float(names[name][0]) for name in ("asphalt", "paving", "grass", "cobbles")),
            )
            set_uniform(program, "u_hill_seed", (town.seed * 0.6180339) % 1.0)
            set_uniform(program, "u_hill_height", 0.05 + 0.22 * ((town.seed * 0.7548777) % 1.0))

    def _arrays(self, vertices: np.ndarray, cells: Cells | None, program: Any) -> QuadArrays:
        return QuadArrays(self._context, vertices, cells, program, self._shadow)

    def _load_traffic(self, seed: int) -> None:
        self._traffic: Traffic = self.town.traffic(seed)
        if self._traffic_seed is not None:
            for arrays in self._moving:
                arrays.release()
            self._blots.release(), self._blot_places.release()
        self._moving = [
            self._arrays(self._traffic.opaque, None, self._surface),
            self._arrays(self._traffic.cutout, None, self._cutout),
        ]
        self._blot_places = self._context.buffer(reserve=max(1, len(self._traffic.places)) * 20)
        self._blots = self._context.vertex_array(
            self._blot, [(self._corners, "2f4", "in_corner"), (self._blot_places, "3f4 2f4/i", "in_place", "in_size")]
        )
        self._traffic_seed, self._shadow_key = seed, None

    def _visible_traffic(self, T_map_camera: np.ndarray) -> np.ndarray:
        """Indices of what is near, without vehicles our own car would stand in or run into."""
        places = self._traffic.places
        offset = places[:, :2] - T_map_camera[:2, 3]
        forward = T_map_camera[:2, 2] / np.linalg.norm(T_map_camera[:2, 2])
        ahead, aside = offset @ forward, np.abs(offset @ np.array([-forward[1], forward[0]]))
        is_vehicle = self._traffic.sizes[:, 0] > 0
        in_the_way = (aside < 1.9) & (ahead > -4) & (ahead < 9 + self._traffic.sizes[:, 0] / 2) & is_vehicle
        in_the_way |= (np.hypot(*offset.T) < 1.5 + self._traffic.sizes[:, 0] * 0.3) & is_vehicle
        near = np.flatnonzero((ahead > -15) & (np.hypot(*offset.T) < 130) & ~in_the_way)
        near = near[np.argsort(ahead[near])]
        cars = near[is_vehicle[near]]
        blots = np.concatenate([places[cars], self._traffic.sizes[cars]], 1).astype("f4")
        self._blot_count = len(blots)
        if len(blots):
            self._blot_places.write(blots.tobytes())
        return near

    def _projection(self) -> np.ndarray:
        camera = self.camera
        across = camera.width / (2 * camera.focal_px)
        up = camera.height / (2 * camera.focal_px)
        a, b = (FAR_M + NEAR_M) / (NEAR_M - FAR_M), 2 * FAR_M * NEAR_M / (NEAR_M - FAR_M)
        return np.array([[1 / across, 0, 0, 0], [0, 1 / up, 0, 0], [0, 0, a, b], [0, 0, -1, 0]])

    def _set_condition(self, T_map_camera: np.ndarray, condition: Condition, clip: np.ndarray) -> None:
        c = condition
        azimuth, elevation = np.radians([c.sun_azimuth_deg, c.sun_elevation_deg])
        self._to_sun = np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        values: dict[str, Any] = {f"u_{name}": getattr(c, name) for name in _UNIFORMS}
        values |= {
            "u_eye": T_map_camera[:3, 3],
            "u_forward": T_map_camera[:3, 2],
            "u_to_sun": self._to_sun,
            "u_fog": c.fog_per_m,
            "u_lit": c.lit_windows,
            "u_drive": float(c.seed % 97) * 1.37,
            "u_clip_from_map": clip,
            "u_map_from_clip": np.linalg.inv(clip),
        }
        for program in self._all:
            for name, value in values.items():
                if program is not self._shadow or name != "u_clip_from_map":
                    set_uniform(program, name, value)

    def _draw_shadows(self, eye: np.ndarray, condition: Condition) -> None:
        """The sun's view of the surroundings, in steps, so that most frames reuse the last one."""
        centre = np.round(eye[:2] / SHADOW_STEP_M) * SHADOW_STEP_M
        key = (*centre, condition.sun_azimuth_deg, condition.sun_elevation_deg, condition.foliage)
        if key == self._shadow_key:
            return
        self._shadow_key = key
        clip = sun_view(centre, self._to_sun)
        self._shadow_target.use()
        self._shadow_target.clear(depth=1.0)
        context = self._context
        context.enable_only(context.DEPTH_TEST)
        context.polygon_offset = 2.0, 4.0
        set_uniform(self._shadow, "u_clip_from_map", clip)
        reach = SHADOW_HALF_M + CELL_M
        things = np.flatnonzero(np.linalg.norm(self._traffic.places[:, :2] - centre, axis=1) < SHADOW_HALF_M)
        for part in (0, 1):
            set_uniform(self._shadow, "u_cut", float(part))
            static = self._static[part]
            near = np.flatnonzero(np.abs(static.cells.centres - centre).max(1) < reach)
            static.draw_cells(near, shadow=True)
            self._moving[part].draw_quads(self._traffic.ranges[things, 2 * part : 2 * part + 2], shadow=True)
        context.polygon_offset = 0.0, 0.0
        texture_from_clip = np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 1.0]])
        for program in self._all:
            set_uniform(program, "u_shadow_from_map", texture_from_clip @ clip)

    def _draw(self, T_map_camera: np.ndarray, clip: np.ndarray, things: np.ndarray) -> None:
        context = self._context
        self._target.use()
        self._target.clear(depth=1.0)
        for part in (0, 1):
            context.enable_only(context.DEPTH_TEST | (context.CULL_FACE if part == 0 else context.NOTHING))
            self._moving[part].draw_quads(self._traffic.ranges[things, 2 * part : 2 * part + 2])
            static = self._static[part]
            static.draw_cells(visible_cells(static.cells, T_map_camera, clip))
        context.enable_only(context.DEPTH_TEST)
        self._ground_quad.render(context.TRIANGLE_STRIP)
        context.depth_func = "<="
        self._sky_quad.render(context.TRIANGLE_STRIP)
        context.depth_func = "<"
        if self._blot_count:
            self._target.depth_mask = False
            context.enable_only(context.DEPTH_TEST | context.BLEND)
            self._blots.render(context.TRIANGLE_STRIP, instances=self._blot_count)
            self._target.depth_mask = True

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.camera.height, self.camera.width
        if self._target is not self._plain:
            self._context.copy_framebuffer(self._plain, self._target)
        rgb = np.frombuffer(self._plain.read(components=3, alignment=1), np.uint8).reshape(height, width, 3)
        z = np.frombuffer(self._plain.read(components=1, attachment=-1, dtype="f4", alignment=1), "f4").reshape(
            height, width
        )
        ndc = 2.0 * z[::-1].astype(np.float64) - 1.0
        depth = 2 * FAR_M * NEAR_M / (FAR_M + NEAR_M - ndc * (FAR_M - NEAR_M))
        depth[z[::-1] >= 1.0] = 0.0
        return np.ascontiguousarray(rgb[::-1]), depth.astype(np.float32)


GL_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0, 1.0])


def open_context() -> Any:
    try:
        import moderngl

        options: dict[str, Any] = {"standalone": True, "backend": "egl"}
        return moderngl.create_context(**options)
    except Exception as error:
        raise MissingDependencyError(
            "the simulator draws with OpenGL through EGL: install the extra [sim] and the system packages libegl1 and "
            "libgl1-mesa-dri"
        ) from error
