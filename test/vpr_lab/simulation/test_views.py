"""Views are what photographs are matched with: their geometry must be that of the cameras they claim to be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vpr_lab.simulation import triangles as module
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.triangles import SOLID, Segment, Triangles
from vpr_lab.simulation.view_renderer import ViewRenderer
from vpr_lab.simulation.views import ViewSettings, load_views, render_views, silhouettes, street_positions, view_poses
from vpr_ros.base.errors import ConfigError, DriveError, MissingDependencyError

SETTINGS = ViewSettings(size_px=64, every_m=10.0)
CUBE = """o building_a
v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
v -1 -1 2
v 1 -1 2
v 1 1 2
v -1 1 2
f 1 2 6 5
f 2 3 7 6
o part
f 3 4 8 7
f 4 1 5 8
f 5 6 7 8
"""


def quad(*corners: tuple[float, float, float], segment: Segment = Segment.BUILDING) -> np.ndarray:
    vertices = np.zeros(6, module._TRIANGLE)
    vertices["position"] = np.array(corners)[[0, 1, 2, 0, 2, 3]]
    vertices["layer"], vertices["segment"] = SOLID, segment
    return vertices


def world_of(*quads: np.ndarray, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Triangles:
    return Triangles("wall", np.concatenate(quads), np.array(origin), np.full((1, 1, 1), 255, np.uint8))


def wall_and_ground(half_m: float = 5.0, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Triangles:
    """A wall 10 m east of the origin, 2 half_m wide and 40 m high, on level ground."""
    wall = quad((10, -half_m, 0), (10, half_m, 0), (10, half_m, 40), (10, -half_m, 40))
    far = 100.0
    ground = quad((-far, -far, 0), (far, -far, 0), (far, far, 0), (-far, far, 0), segment=Segment.GROUND)
    return world_of(wall, ground, origin=origin)


def drawn(triangles: Triangles, **options):
    try:
        return ViewRenderer(triangles, **options)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def can_draw() -> None:
    drawn(world_of(quad((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)))).close()


def test_a_wall_has_its_depth_and_fills_its_share_of_the_field_of_view():
    """60 degrees see 2 * 10 m * tan(30) of a wall 10 m away: a wrong focal length would spoil every match."""
    renderer = drawn(wall_and_ground(), size_px=200)
    depth, segments = renderer.render(view_poses(np.array([0.0, 0.0, 1.6]))[0])
    wall = segments == Segment.BUILDING
    assert np.allclose(depth[wall], 10.0, atol=1e-4)
    assert wall[100].sum() == pytest.approx(200 * 5 / (10 * np.tan(np.radians(30))), abs=1)
    row = 180
    below = (row - 99.5) / renderer.camera.focal_px
    assert np.allclose(depth[row][segments[row] == Segment.GROUND], 1.6 / below, rtol=1e-4)
    assert ((segments == Segment.SKY) == (depth == 0)).all() and (depth[0] == 0).any()
    renderer.close()


def test_views_turn_counter_clockwise_from_east_in_equal_steps():
    """The yaw limit of the recall and the right views of a photograph hang on these headings."""
    renderer = drawn(wall_and_ground(half_m=60.0), size_px=101)
    poses = view_poses(np.array([0.0, 0.0, 1.6]))
    middle = [renderer.render(T)[0][50, 50] for T in poses]
    expected = 10 / np.cos(np.radians(30 * np.arange(3)))
    assert np.allclose(middle[:3], expected, rtol=1e-3) and np.allclose(middle[10:], expected[2:0:-1], rtol=1e-3)
    assert middle[3] == middle[6] == 0  # along the wall and away from it there is only the sky
    left, right = renderer.render(poses[1])[0][50, [0, 100]]
    assert left > 11.6 > right  # looking to the north-east, the wall runs away to the left
    renderer.close()


def test_far_from_zero_nothing_is_lost():
    """Meshes in UTM coordinates lie millions of metres from zero, where float32 has steps of half a metre."""
    origin = np.array([620_000.0, 5_735_000.0, 200.0])
    renderer = drawn(wall_and_ground(origin=tuple(origin)), size_px=64)
    depth, segments = renderer.render(view_poses(origin + np.array([0.0, 0.0, 1.6]))[0])
    assert np.allclose(depth[segments == Segment.BUILDING], 10.0, atol=1e-4)
    assert np.allclose(renderer.triangles.bounds[1], origin + np.array([100, 100, 40]))
    renderer.close()


def test_silhouettes_are_edges_of_surfaces_and_the_skyline_only():
    """Ground that runs to the horizon doubles its depth from row to row and yet has no edge but its end."""
    rows = np.arange(64) - 31.0
    depth = np.repeat(np.where(rows > 0, 100.0 / np.maximum(rows, 1), 0.0)[:, None], 64, axis=1)
    depth[20:50, 10:20] = 4.0  # a post, nearer than all behind it
    edges = silhouettes(depth)
    assert edges[:, 40].nonzero()[0].tolist() == [31]  # the horizon
    assert edges[25].nonzero()[0].tolist() == [9, 10, 19, 20] and edges[40:49, 12:18].sum() == 0


def test_town_views_match_its_photographs(town, renderer):
    """Database and photographs must show one town: same depth, and classes that hold what they say."""
    views = drawn(
        Triangles.of_town(town), size_px=120, fov_deg=2 * np.degrees(np.arctan(60 / renderer.camera.focal_px))
    )
    positions = street_positions(town, ViewSettings(every_m=60.0))
    assert len(positions) > 50 and (positions[:, 2] == 1.6).all()
    agree, seen = [], np.zeros(len(Segment))
    for T in view_poses(positions[7], 4):
        depth, segments = views.render(T)
        photographed = renderer.render(T, Condition("plain"))[1][:, 20:140]
        agree.append((np.abs(depth - photographed) <= 0.02 * photographed + 0.01).mean())
        seen += np.bincount(segments.ravel(), minlength=len(Segment))
        assert ((segments == Segment.SKY) == (depth == 0)).all()
    views.close()
    assert np.mean(agree) > 0.85  # the rest is traffic
    assert (seen > 0).all() and seen[Segment.GROUND] > seen[Segment.THING]


def test_a_database_is_written_whole_and_opened_again(tmp_path: Path, can_draw):
    """Hours of rendering: a second call must not render again, one that broke off must not leave half a database."""
    path, positions = tmp_path / "views", np.array([[0.0, 0.0, 1.6], [-20.0, 0.0, 1.6]])

    def broken(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_views(wall_and_ground(), path, SETTINGS, positions, broken)
    assert not path.exists()
    steps = []
    database = render_views(wall_and_ground(), path, SETTINGS, positions, lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)] and len(database) == 24 and database.depth.shape == (24, 64, 64)
    assert (database.depth.dtype, database.segments.dtype) == (np.float16, np.uint8)
    assert np.allclose(database.position[12:], positions[1])
    assert np.allclose(np.degrees(database.heading)[:7], [0, 30, 60, 90, 120, 150, 180])
    assert database.depth[12, 32, 32] == pytest.approx(30.0, rel=1e-3)
    assert 0 < database.silhouettes[12].mean() < 0.3 and database.silhouettes.max() == 1
    assert render_views(wall_and_ground(), path, SETTINGS, on_progress=broken).settings == SETTINGS
    for settings, moved in ((ViewSettings(size_px=32), positions), (SETTINGS, positions + 1)):
        with pytest.raises(ConfigError, match="holds other views"):
            render_views(wall_and_ground(), path, settings, moved)
    with pytest.raises(DriveError, match="not a database"):
        load_views(tmp_path / "nothing")


def test_a_mesh_gets_a_grid_of_positions_on_its_ground(tmp_path: Path, can_draw):
    """Without streets views stand where one can stand: on the ground, none in the wall."""
    hill = quad((0, 0, 5), (40, 0, 5), (40, 20, 15), (0, 20, 15), segment=Segment.GROUND)
    box = quad((0, 0, 30), (10, 0, 30), (10, 10, 30), (0, 10, 30))
    database = render_views(world_of(hill, box), tmp_path / "views", SETTINGS)
    x, y, z = database.position[::12].T
    assert sorted(zip(x, y, strict=True)) == [(5, 15), (15, 5), (15, 15), (25, 5), (25, 15), (35, 5), (35, 15)]
    assert np.allclose(z, 5 + y / 2 + 1.6, atol=1e-3)
    with pytest.raises(ConfigError, match="wider steps"):
        drawn(world_of(hill)).surface(step_m=1e-4)


def test_a_cube_from_a_file_stands_where_it_should(tmp_path: Path):
    """Users bring OBJ and glTF, whose up axes differ: the cube's wall is 8 m from a camera 9 m off its middle."""
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    obj = tmp_path / "ground.obj"  # a file's name says nothing of its parts
    obj.write_text(CUBE)
    cube = Triangles.of_mesh(obj)
    assert cube.world == "ground" and np.allclose(cube.bounds, [[-1, -1, 0], [1, 1, 2]])
    renderer = drawn(cube, size_px=65)
    depth, segments = renderer.render(view_poses(np.array([-9.0, 0.0, 1.0]))[0])
    assert depth[32, 32] == pytest.approx(8.0, abs=1e-4) and depth[0, 0] == 0
    assert (depth[32] > 0).sum() == pytest.approx(65 / 8 / np.tan(np.radians(30)), abs=1)
    assert segments[32, 32] == Segment.BUILDING
    assert renderer.render(view_poses(np.array([0.0, 0.0, 9.0]))[0])[0].max() == 0
    renderer.close()
    trimesh.load_scene(obj, split_objects=True).export(tmp_path / "cube.glb")
    assert np.allclose(Triangles.of_mesh(tmp_path / "cube.glb").bounds, [[-1, -2, -1], [1, 0, 1]])
    assert np.allclose(Triangles.of_mesh(tmp_path / "cube.glb", up="z").bounds, cube.bounds)


def test_parts_are_classed_by_name_and_else_by_slope(tmp_path: Path):
    """Segments of a user's mesh may only say what the mesh tells: a part's name, or how steep it is."""
    pytest.importorskip("trimesh", reason="trimesh is not installed")
    path = tmp_path / "mesh.obj"
    path.write_text(CUBE.replace("building_a", "Old_Vegetation"))
    classes = Triangles.of_mesh(path).corners["segment"][::3]
    counts = {segment: int((classes == segment).sum()) for segment in Segment}
    assert counts == {Segment.SKY: 0, Segment.GROUND: 2, Segment.BUILDING: 4, Segment.VEGETATION: 4, Segment.THING: 0}


def test_a_file_that_is_no_mesh_is_one_sentence(tmp_path: Path, monkeypatch):
    """A user's mistake must not be a traceback out of trimesh, nor must its absence."""
    pytest.importorskip("trimesh", reason="trimesh is not installed")
    with pytest.raises(ConfigError, match="no mesh"):
        Triangles.of_mesh(tmp_path / "missing.obj")
    (tmp_path / "broken.glb").write_bytes(b"not a mesh")
    with pytest.raises(ConfigError, match="cannot be read as a mesh"):
        Triangles.of_mesh(tmp_path / "broken.glb")
    with pytest.raises(ConfigError, match="'y' or 'z'"):
        Triangles.of_mesh(tmp_path / "missing.obj", up="x")
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingDependencyError, match="pip install trimesh"):
        Triangles.of_mesh(tmp_path / "missing.obj")
