"""CrossLocate: photographs of simulated towns, or of a user's own, found among views rendered from their geometry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from vpr_lab.simulation.town import Town
from vpr_lab.simulation.triangles import Triangles
from vpr_lab.simulation.views import ViewDatabase, ViewSettings, render_views
from vpr_lab.systems.crosslocate.data import Queries, photograph_town, photographs_of_drive
from vpr_lab.systems.crosslocate.evaluate import evaluate_crosslocate
from vpr_lab.systems.crosslocate.model import CrossLocate, build_crosslocate
from vpr_lab.systems.crosslocate.pictures import draw_found
from vpr_lab.systems.crosslocate.training import CrossLocateSettings, train_crosslocate
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench, finished_facts
from vpr_lab.training.checkpoint import save_torch
from vpr_ros.base.config import from_dict, option, to_dict
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import write_json
from vpr_ros.drives.open import open_drive


@dataclass(frozen=True)
class TownSettings:
    """The towns, and how they are seen. Learnt from and measured on different ones.

    A mesh and a drive of your own stand in for the test town; what is learnt from stays the simulated towns. The drive
    is anything that vpr map build reads, and its poses have to be in the mesh's frame: metres, z up, where of a mesh
    whose y points up the drive's x, y, z are the mesh's x, -z, y.
    """

    training: CrossLocateSettings = field(default_factory=CrossLocateSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    towns: tuple[int, ...] = option((11, 12), "seeds of the training towns")
    test_town: int = option(5, "seed of the test town")
    conditions: tuple[str, ...] = option(("overcast", "sun", "autumn"), "of the photographs")
    photographs: int = option(50, "photographs of a town in each condition", low=1)
    within_m: float = option(20.0, "maximum distance of a correct view", "m", low=0.1)
    mesh: str = option("", "glTF, OBJ or other mesh to test on instead of the test town; needs photos")
    photos: str = option("", "drive whose images are searched in views of the mesh")
    fov_deg: float | None = option(
        None, "horizontal field of view of the drive's images; by default the drive's own", "deg", 1.0, 170.0
    )


_MEASURED_ON = ("test_town", "within_m", "mesh", "photos", "fov_deg")  # what the training does not depend on


def crosslocate(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Render, train and measure; views and weights in the folder are taken as they are. Needs the simulator."""
    settings = from_dict(TownSettings, recipe.settings, "settings")
    if bool(settings.mesh) != bool(settings.photos):
        raise ConfigError("settings.mesh and settings.photos go together: a mesh, and a drive with poses in its frame")
    network, facts = _trained(settings, bench, folder)
    views, photographs = _measured_on(settings, bench.folder)
    scores = evaluate_crosslocate(network, views, photographs)
    scores.save_picture(folder / "recall.png")
    if bench.pictures:
        draw_found(scores, views, photographs, folder / "top5.png", settings.within_m)
    found = scores.at(settings.within_m)
    row = {
        name: {"queries": scores.photographs, "recall": {count: found[f"{kind}@{count}"] for count in scores.counts}}
        for name, kind in (("any direction", "recall"), ("within 30 degrees", "recall_yaw"), ("chance", "chance_yaw"))
    }
    measured_on = settings.mesh or scores.world
    return TrainedSystem(None, None, {**facts, "measured_on": measured_on, "numbers": scores.numbers()}, row)


def _trained(settings: TownSettings, bench: Workbench, folder: Path) -> tuple[CrossLocate, dict[str, Any]]:
    """The network and what its training was. Raises ConfigError for a folder that was trained otherwise."""
    training = replace(settings.training, seed=settings.training.seed + bench.seed)
    if own := training.network.weights:
        training = replace(training, network=replace(training.network, weights=str(bench.weights / own)))
    path, finished = folder / "network.pt", folder / "training.json"
    learning = {name: value for name, value in to_dict(settings).items() if name not in _MEASURED_ON}
    trained_by = {**learning, "seed": training.seed}
    if not finished.is_file():
        worlds = [_town(seed, settings, bench.folder) for seed in settings.towns]
        start = perf_counter()
        network = train_crosslocate(training, [v for v, _ in worlds], [q for _, q in worlds], device=bench.device)
        facts = {
            "trained_by": trained_by,
            "seconds": round(perf_counter() - start, 1),
            "steps": training.steps,
            "dimension": network.head.dimension,
            "starts_from": Path(own).stem if own else "random",
        }
        save_torch(network.state_dict(), path)
        write_json(finished, facts)
    facts = finished_facts(finished, trained_by)
    network = build_crosslocate(replace(training.network, weights="")).to(bench.device)
    network.load_state_dict(torch.load(path, map_location=bench.device, weights_only=True))
    return network, facts


def _measured_on(settings: TownSettings, folder: Path) -> tuple[ViewDatabase, Queries]:
    """Views and photographs of the user's mesh, or of the test town. Raises ConfigError, DriveError."""
    if not settings.mesh:
        return _town(settings.test_town, settings, folder)
    photographs = photographs_of_drive(open_drive(settings.photos), settings.views, fov_deg=settings.fov_deg)
    path = Path(settings.mesh).expanduser()
    world = Triangles.of_mesh(path, world=photographs.world)
    shape = hashlib.sha256(world.corners.tobytes() + world.origin.tobytes()).hexdigest()[:8]
    views = render_views(world, _views(folder, f"{path.stem}_{shape}", settings.views), settings.views)
    return views, photographs


def _town(seed: int, settings: TownSettings, folder: Path) -> tuple[ViewDatabase, Queries]:
    """A town's views, rendered once for all recipes, and its photographs."""
    town = Town(seed)
    views = render_views(town, _views(folder, f"town_{seed}", settings.views), settings.views)
    return views, photograph_town(town, settings.conditions, settings.photographs, settings.views, seed)


def _views(folder: Path, world: str, views: ViewSettings) -> Path:
    return folder / "views" / f"{world}_{views.size_px}_{views.every_m:g}"
