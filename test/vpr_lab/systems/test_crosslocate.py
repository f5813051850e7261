"""CrossLocate on worlds small enough to be checked by hand: scale, triplets, recall against chance, training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.simulation.triangles import Segment  # noqa: E402
from vpr_lab.simulation.views import ViewDatabase, ViewSettings, render_views, street_positions, view_poses  # noqa: E402
from vpr_lab.systems.bench import Bench  # noqa: E402
from vpr_lab.systems.crosslocate.data import Queries, photograph_town, photographs_of_drive, scale_to_fov  # noqa: E402
from vpr_lab.systems.crosslocate.evaluate import chance_recall, evaluate_crosslocate, score_ranking  # noqa: E402
from vpr_lab.systems.crosslocate.model import CrossLocateConfig, build_crosslocate, view_planes  # noqa: E402
from vpr_lab.systems.crosslocate.pictures import depth_picture, draw_found  # noqa: E402
from vpr_lab.systems.crosslocate.training import (  # noqa: E402
    CrossLocateSettings,
    mine,
    right_views,
    train_crosslocate,
    triplet_loss,
)
from vpr_lab.systems.data import LabData  # noqa: E402
from vpr_ros.base import config, geometry  # noqa: E402
from vpr_ros.base.camera import Intrinsics  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError, MissingDependencyError  # noqa: E402
from vpr_ros.base.records import DriveFrame  # noqa: E402
from vpr_ros.evaluation import style  # noqa: E402

SIZE = 64
NETWORK = CrossLocateConfig(backbone="squeezenet", size_px=SIZE)
SETTINGS = CrossLocateSettings(NETWORK, steps=24, lr=1e-3, pool=72, refresh=16, negative_min_m=50.0, negatives=3)


def pattern(seed: int) -> np.ndarray:
    """(SIZE, SIZE) in 0..1, blocks of a quarter of the image."""
    return np.random.default_rng(seed).random((4, 4)).repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)


@pytest.fixture
def database() -> ViewDatabase:
    """Six positions 60 m apart on a line, twelve views each; every view has its own pattern of depth."""
    poses = np.concatenate([view_poses(np.array([60.0 * i, 0.0, 1.6])) for i in range(6)])
    depth = np.stack([5 + 190 * pattern(i) for i in range(len(poses))]).astype(np.float16)
    segments = np.full(depth.shape, Segment.BUILDING, np.uint8)
    edges = (depth > 100).astype(np.uint8)
    return ViewDatabase("line", ViewSettings(size_px=SIZE), depth, segments, edges, poses)


@pytest.fixture
def queries(database: ViewDatabase) -> Queries:
    """A photograph a little beside each of the views: what is far in the view is dark and blue in it."""
    rng = np.random.default_rng(1)
    near = np.stack([1 - pattern(i) for i in range(len(database))])[..., None]
    images = near * [250.0, 180.0, 90.0] + [0.0, 20.0, 60.0]
    position = database.position + rng.uniform(-5, 5, (len(database), 3))
    heading = database.heading + np.radians(rng.uniform(-10, 10, len(database)))
    return Queries("line", images.astype(np.uint8), position, heading, ("overcast",) * len(database))


@pytest.mark.parametrize("fov_deg", [90.0, 66.0, 40.0])
def test_a_bar_of_known_angle_lands_on_its_pixel(fov_deg: float) -> None:
    """Photograph and view must agree pixel by pixel: 15 degrees aside lie at tan(15) focal lengths in both."""
    width, height, size = 400, 300, 257
    focal = width / 2 / np.tan(np.radians(fov_deg) / 2)
    target = size / 2 / np.tan(np.radians(30))
    aside = np.tan(np.radians(15))
    image = np.full((height, width, 3), 40, np.uint8)
    column, row = (width - 1) / 2 + focal * aside, (height - 1) / 2 - focal * aside / 2
    image[:, round(column) - 3 : round(column) + 4] = 240
    image[round(row) - 3 : round(row) + 4] = 240
    scaled = scale_to_fov(image, fov_deg, 60.0, size)
    assert scaled.shape == (size, size, 3) and scaled.dtype == np.uint8
    middle = (size - 1) / 2
    across, down = scaled[round(middle) + 20, :, 0] > 140, scaled[:, round(middle) - 20, 0] > 140
    assert across.nonzero()[0].mean() == pytest.approx(middle + target * aside, abs=1.0)
    assert down.nonzero()[0].mean() == pytest.approx(middle - target * aside / 2, abs=1.0)
    seen = (scaled[round(middle) + 20, :, 0] > 20).sum()
    assert seen == pytest.approx(min(size, size * np.tan(np.radians(fov_deg / 2)) / np.tan(np.radians(30))), abs=2)


def test_an_image_that_fits_already_stays_as_it_is() -> None:
    """Scaling must not soften or shift what needs neither."""
    image = np.random.default_rng(0).integers(0, 255, (50, 50, 3)).astype(np.uint8)
    assert np.array_equal(scale_to_fov(image, 60.0, 60.0), image)
    with pytest.raises(ConfigError, match="field of view"):
        scale_to_fov(image, 180.0)


def test_triplet_loss_by_hand() -> None:
    """d2(q, p) = 2 - 2 cos 60 = 1; the negatives lie at d2 = 2 and 1.05: only the second costs, 1 + 0.1 - 1.05."""

    def at(cosine: float) -> list[float]:
        return [cosine, float(np.sqrt(1 - cosine**2))]

    query = torch.tensor([at(1.0), at(1.0)], requires_grad=True)
    positive = torch.tensor([at(0.5), at(1.0)])
    negatives = torch.tensor([[at(0.0), at(1 - 1.05 / 2)], [at(0.0), at(0.1)]])
    loss = triplet_loss(query, positive, negatives, margin=0.1)
    assert loss.item() == pytest.approx((0.05 + 0.0) / 2, abs=1e-5)
    loss.backward()
    assert torch.isfinite(query.grad).all() and query.grad[0].abs().sum() > 0
    both = triplet_loss(query, positive, negatives.roll(1, 0) * 0 + torch.tensor(at(0.8)), margin=0.1)
    assert both.item() == pytest.approx(
        (2 * (1 + 0.1 - 0.4)) / 2, abs=1e-5
    )  # a sum over the wrong, a mean over the rest


def test_triplets_are_near_and_hard(database: ViewDatabase, queries: Queries) -> None:
    """A view of the next street as a right one, or of the same place as a wrong one, would teach nonsense."""
    network = build_crosslocate(NETWORK).eval()
    rows = np.array([3, 40, 71])
    triplets = mine(network, database, queries, rows, SETTINGS, np.random.default_rng(0))
    assert [t.query for t in triplets] == rows.tolist()
    with torch.inference_mode():
        views = network.describe_views(database, np.arange(len(database)))
        alike = (network.describe_queries(queries, rows) @ views.T).numpy()
    far = np.linalg.norm(database.position[None, :, :2] - queries.position[rows, None, :2], axis=2) > 50
    for number, triplet in enumerate(triplets):
        assert triplet.positive == triplet.query  # the one view within 20 m and 15 degrees
        hardest = [row for row in np.argsort(-alike[number]) if far[number, row]][:3]
        assert triplet.negatives.tolist() == hardest
    near = replace(SETTINGS, positive_max_m=100.0, positive_max_deg=45.0)
    found = right_views(database, queries, 40, near)
    assert 40 in found and len(found) == 9  # three directions at three positions
    assert mine(network, database, queries, rows, replace(SETTINGS, negative_min_m=1e4), np.random.default_rng(0)) == []


def test_a_short_training_lowers_the_loss(database: ViewDatabase, queries: Queries) -> None:
    """Photographs and views become alike, and the found places right, far above chance."""
    losses: list[float] = []
    before = evaluate_crosslocate(build_crosslocate(NETWORK), database, queries)
    network = train_crosslocate(SETTINGS, database, queries, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == SETTINGS.steps and np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    after = evaluate_crosslocate(network, database, queries)
    found, chance = after.at(20.0)["recall_yaw@1"], after.at(20.0)["chance_yaw@1"]
    assert found > 2 * before.at(20.0)["recall_yaw@1"] and found > 5 * chance
    again = train_crosslocate(replace(SETTINGS, steps=1), [database, database], [queries, queries], network)
    assert again is network


def test_both_modalities_give_descriptors(database: ViewDatabase) -> None:
    """Depth is metres in all channels, the sky the farthest; segments, silhouettes and depth have one channel each."""
    database.depth[0, 0, 0], database.depth[0, 0, 1] = 0, 100
    planes = view_planes(database, np.array([0]), NETWORK)
    assert planes.shape == (1, 3, SIZE, SIZE) and planes.dtype == np.float32
    assert planes[0, :, 0, 0].tolist() == [1, 1, 1] and planes[0, :, 0, 1].tolist() == [0.5, 0.5, 0.5]
    three = replace(NETWORK, modality="seg_sil_dep")
    both = view_planes(database, np.array([0]), three)
    assert both.dtype == np.float32 and build_crosslocate(three).describe_views(database, np.array([0])).shape[0] == 1
    assert both[0, :, 0, 1].tolist() == [0.5, database.silhouettes[0, 0, 1], 0.5]
    network = build_crosslocate(NETWORK).eval()
    rows = np.arange(2)
    with torch.inference_mode():
        described = network.describe_views(database, rows)
        grey = np.clip(np.round(255 * view_planes(database, rows, NETWORK)), 0, 255).astype(np.uint8)
        photographed = network(torch.from_numpy(grey.transpose(0, 2, 3, 1).copy()))
    assert torch.allclose(described.norm(dim=1), torch.ones(2), atol=1e-5)
    assert (described * photographed).sum(1).min() > 0.99  # one branch: a grey photograph of depth is that depth


def test_chance_is_that_of_a_random_order() -> None:
    """Against a level that is too low every method looks good: compare with orders drawn at random."""
    rng = np.random.default_rng(0)
    views, right = 40, np.array([0, 1, 7, 40])
    orders = np.argsort(rng.random((20_000, views)), axis=1)
    for count in (1, 5, 100):
        simulated = [(orders[:, :count] < r).any(1).mean() for r in right]
        assert np.allclose(chance_recall(right, views, count), simulated, atol=0.015)
    assert chance_recall(np.array([3]), 40, 1)[0] == pytest.approx(3 / 40)


def test_recall_by_hand(database: ViewDatabase, queries: Queries, tmp_path: Path) -> None:
    """The best view may be near but look elsewhere: that counts only without the yaw limit."""
    two = Queries(
        "line",
        queries.images[:2],
        np.array([[3.0, 4.0, 0.0], [300.0, 0.0, 0.0]]),
        np.radians([-10, -10]),
        ("sun", "sun"),
    )
    ranking = np.array([[6, 0, 66], [0, 12, 61]])  # 5 m but backwards, then right; 300 and 240 m, then 40 deg off
    scores = score_ranking(ranking, database, two, counts=(1, 2, 3), distances_m=(5.0, 6.0, 250.0))
    assert scores.recall.tolist() == [[0, 0.5, 0.5], [0, 0.5, 1], [0.5, 1, 1]]  # nearer than 5 m is not at 5 m
    assert scores.recall_yaw.tolist() == [[0, 0, 0], [0, 0.5, 1], [0, 0.5, 1]]
    assert scores.chance[0].tolist() == pytest.approx([6 / 72, 12 / 72, 60 / 72])
    assert scores.chance_yaw[0].tolist() == pytest.approx([1 / 72, 2 / 72, 10 / 72])
    assert scores.at(6.0)["recall@2"] == 0.5 and scores.numbers()["recall"]["1"] == [0, 0.5, 0.5]
    json.dumps(scores.numbers())
    with pytest.raises(ConfigError, match=r"not measured at 7"):
        scores.at(7.0)
    scores.save_picture(tmp_path / "recall.png")
    assert (tmp_path / "recall.png").stat().st_size > 5000


def test_near_views_are_framed_green(database: ViewDatabase, queries: Queries, tmp_path: Path) -> None:
    """The picture must judge as the figures do: nearer than the limit is right, whatever the direction."""
    cv2 = pytest.importorskip("cv2", reason="reading the picture needs OpenCV")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows = np.arange(len(database))
    backwards, away = rows // 12 * 12 + (rows + 6) % 12, (rows + 36) % 72
    ranking = np.stack([rows, away, backwards, away, away, rows], axis=1)
    scores = score_ranking(ranking, database, queries, counts=(1, 5))
    picture = cv2.imread(str(draw_found(scores, database, queries, tmp_path / "top5.png", 20.0)))[..., ::-1]
    shares = {}
    for colour in (style.RIGHT, style.WRONG):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        framed = (np.abs(picture.astype(int) - rgb).max(2) <= 2).sum(0)
        shares[colour] = [part.sum() for part in np.array_split(framed, 6)]
    right, wrong = shares.values()
    assert [r > 5 * w for r, w in zip(right, wrong, strict=True)][1:] == [True, False, True, False, False]
    assert [w > 5 * r for r, w in zip(right, wrong, strict=True)][1:] == [False, True, False, True, True]


def test_depth_is_seen_in_a_picture() -> None:
    """Near must not look like far, nor the sky like either."""
    picture = depth_picture(np.array([[0, 3, 30, 300]], np.float16))
    assert picture.shape == (1, 4, 3) and picture.dtype == np.uint8 and picture[0, 0].tolist() == [0, 0, 0]
    red, _, blue = picture[0, 1:].astype(int).T
    assert red[0] > blue[0] and blue[2] > red[2] and len(np.unique(picture[0], axis=0)) == 4


class TwoFrames:
    """A drive east with a camera of 60 or an unknown number of degrees."""

    world, name = "line", "2014_sun"

    def __init__(self, focal_px: float | None) -> None:
        self.intrinsics = None if focal_px is None else Intrinsics.pinhole(100, 80, focal_px)

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[DriveFrame]:
        for i in range(2):
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([10.0 * i, 0.0, 1.5]))
            yield DriveFrame(i, lambda: np.full((80, 100, 3), 99, np.uint8), T, intrinsics=self.intrinsics)


def test_any_drive_with_poses_gives_photographs() -> None:
    """Real drives bring cameras of their own: 100 px at 60 degrees fill the view across, 80 px leave bars."""
    found = photographs_of_drive(TwoFrames(50 / np.tan(np.radians(30))), ViewSettings(size_px=100))
    assert found.images.shape == (2, 100, 100, 3) and found.conditions == ("sun", "sun")
    assert (found.images[0, :, 50, 0] > 50).sum() == 80 and (found.images[0, 50, :, 0] > 50).all()
    assert found.position[1].tolist() == [10.0, 0.0, 1.5] and np.allclose(found.heading, 0)
    with pytest.raises(DriveError, match="field of view"):
        photographs_of_drive(TwoFrames(None))


def test_mistakes_are_told(database: ViewDatabase, queries: Queries) -> None:
    """Pairs that do not fit would train on nonsense for hours, or for ever."""
    elsewhere = replace(queries, world="elsewhere")
    with pytest.raises(ConfigError, match="one world"):
        train_crosslocate(SETTINGS, database, elsewhere)
    with pytest.raises(ConfigError, match="make them equal"):
        train_crosslocate(replace(SETTINGS, network=replace(NETWORK, size_px=96)), database, queries)
    with pytest.raises(DriveError, match="negative_min_m"):
        train_crosslocate(replace(SETTINGS, negative_min_m=1e4), database, queries)
    with pytest.raises(ConfigError, match="modality"):
        config.from_dict(CrossLocateSettings, {"network": {"modality": "colour"}})


def test_a_town_is_photographed_and_rendered_alike(tmp_path: Path) -> None:
    """From a town to scores with nothing in between made up; photographs lie near streets and look everywhere."""
    pytest.importorskip("cv2", reason="the simulator needs OpenCV")
    from vpr_lab.simulation.town import Town

    town, views = Town(5), ViewSettings(size_px=SIZE, every_m=40.0)
    positions = street_positions(town, views)
    try:
        queries = photograph_town(town, ["snow", "night"], 3, views)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert queries.images.shape == (6, SIZE, SIZE, 3) and queries.conditions[2:4] == ("snow", "night")
    assert queries.images[:3].mean() > queries.images[3:].mean()
    assert np.ptp(queries.heading) > 2 and 1.4 <= queries.position[0, 2] <= 1.9
    lines = np.concatenate([street.line for street in town.streets.streets])
    off = np.linalg.norm(lines[None] - queries.position[:, None, :2], axis=2).min(1)
    assert off.max() < max(street.corridor_m for street in town.streets.streets) and off.max() > 1.0
    near = np.linalg.norm(positions[None, :, :2] - queries.position[:, None, :2], axis=2).argmin(1)
    database = render_views(town, tmp_path / "views", views, positions[np.unique(near)[:3]])
    scores = evaluate_crosslocate(build_crosslocate(NETWORK), database, queries)
    assert scores.recall.shape == (3, 40) and (scores.recall >= scores.recall_yaw).all()
    assert scores.ranking.shape == (6, 36)


TINY = {  # one step on one town, seen from few places
    "settings.training": {
        "network": {"backbone": "squeezenet", "weights": "", "size_px": SIZE},
        "steps": 1,
        "pool": 20,
        "positive_max_m": 150.0,
        "positive_max_deg": 45.0,
        "negatives": 3,
    },
    "settings.views": {"size_px": SIZE, "every_m": 200.0, "views": 6, "across_m": [0.0]},
    "settings.towns": [11],
    "settings.photographs": 2,
    "settings.conditions": ["overcast"],
}


def boxes(path: Path) -> Path:
    """Ground of 400 x 240 m with two rows of houses 60 m apart along a street from west to east, as a mesh, z up."""
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    scene = trimesh.Scene()
    middles = [((0, 0, -0.5), (400, 240, 1))]
    middles += [((60 * i - 120, side, 4 + i), (20 + 4 * i, 16, 8 + 2 * i)) for i in range(5) for side in (-24, 24)]
    for number, (middle, size) in enumerate(middles):
        name = f"building_{number}" if number else "ground"
        part = trimesh.creation.box(size, trimesh.transformations.translation_matrix(middle))
        scene.add_geometry(part, name, name)
    scene.export(path)
    return path


def drive_through(mesh: Path, folder: Path) -> Path:
    """Images 20 m apart along the street, which show depth, with poses.csv: a drive as vpr map build reads it."""
    cv2 = pytest.importorskip("cv2", reason="writing images needs OpenCV")
    from vpr_lab.simulation.triangles import Triangles
    from vpr_lab.simulation.view_renderer import ViewRenderer

    try:
        renderer = ViewRenderer(Triangles.of_mesh(mesh), 96, 70.0)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    folder.mkdir()
    lines = ["file,stamp,x,y,z,yaw"]
    for i in range(6):
        x = 20.0 * i - 60
        depth, _ = renderer.render(view_poses(np.array([x, 0.0, 1.6]))[0])
        cv2.imwrite(str(folder / f"{i}.png"), depth_picture(depth)[..., ::-1])
        lines.append(f"{i}.png,{i},{x},0,1.6,0")
    renderer.close()
    (folder / "poses.csv").write_text("\n".join(lines))
    return folder


def test_a_mesh_of_your_own_is_measured_on(tmp_path: Path) -> None:
    """The point of the system is a model of a real place: mesh and drive by two settings, and no training anew."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    mesh = boxes(tmp_path / "street.obj")
    own = {"settings.mesh": str(mesh), "settings.photos": str(drive_through(mesh, tmp_path / "drive_sun"))}

    def bench(**changes: object) -> Bench:
        return Bench(LabData([], [], []), tmp_path / "lab", overrides={**TINY, **changes})

    with pytest.raises(ConfigError, match="go together"):
        bench(**{"settings.mesh": str(mesh)}).run("crosslocate_depth")
    with pytest.raises(DriveError, match="field of view"):
        bench(**own).run("crosslocate_depth")
    row = bench(**own, **{"settings.fov_deg": 70.0, "settings.within_m": 65.0}).run("crosslocate_depth")
    folder = tmp_path / "lab" / "crosslocate_depth"
    assert row["measured_on"] == str(mesh) and row["scores"]["any direction"]["queries"] == 6
    assert row["numbers"]["views"] == 12 and row["scores"]["any direction"]["recall"][100] == 0.5  # at -100 and 100 m
    assert (folder / "recall.png").is_file() and (folder / "top5.png").is_file()
    before = (folder / "network.pt").stat().st_mtime_ns
    mesh.write_text(mesh.read_text() + "v 0 0 90\nv 9 0 90\nv 0 9 90\nf -3 -2 -1\n")
    bench(**own, **{"settings.fov_deg": 70.0}).run("crosslocate_depth")
    assert (folder / "network.pt").stat().st_mtime_ns == before
    assert len(list((tmp_path / "lab" / "views").glob("street_*"))) == 2, "a mesh that changed is rendered anew"
