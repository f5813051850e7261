"""CrossLocate: photographs of simulated towns, found among views rendered from the towns' geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch

from vpr_ros.config import from_dict, option, to_dict
from vpr_ros.files import write_json, written_whole
from vpr_ros.lab.crosslocate.data import Queries, photograph_town
from vpr_ros.lab.crosslocate.evaluate import evaluate_crosslocate
from vpr_ros.lab.crosslocate.model import build_crosslocate
from vpr_ros.lab.crosslocate.training import CrossLocateSettings, train_crosslocate
from vpr_ros.lab.recipe import LabRecipe
from vpr_ros.lab.tasks.made import Made, Workbench, finished_facts
from vpr_ros.simulation.town import Town
from vpr_ros.simulation.views import ViewDatabase, ViewSettings, render_views


@dataclass(frozen=True)
class TownSettings:
    """The towns, and how they are seen. Learnt from and measured on different ones."""

    training: CrossLocateSettings = field(default_factory=CrossLocateSettings)
    views: ViewSettings = field(default_factory=ViewSettings)
    towns: tuple[int, ...] = option((11, 12), "seeds of the towns to learn from")
    test_town: int = option(5, "seed of the town to be measured on")
    conditions: tuple[str, ...] = option(("overcast", "sun", "autumn"), "of the photographs")
    photographs: int = option(50, "photographs of a town in each condition", low=1)
    within_m: float = option(20.0, "a view this near is a right one", "m", low=0.1)


def crosslocate(recipe: LabRecipe, bench: Workbench, folder: Path) -> Made:
    """Render, train and measure; views and weights in the folder are taken as they are. Needs the simulator."""
    settings = from_dict(TownSettings, recipe.settings, "settings")
    training = replace(settings.training, seed=settings.training.seed + bench.seed)
    if own := training.network.weights:
        training = replace(training, network=replace(training.network, weights=str(bench.weights / own)))
    path, finished = folder / "network.pt", folder / "training.json"
    trained_by = {**to_dict(settings), "seed": training.seed}
    if not finished.is_file():
        worlds = [_world(seed, settings, bench.folder) for seed in settings.towns]
        start = perf_counter()
        network = train_crosslocate(training, [v for v, _ in worlds], [q for _, q in worlds], device=bench.device)
        facts = {
            "trained_by": trained_by,
            "seconds": round(perf_counter() - start, 1),
            "steps": training.steps,
            "dimension": network.head.dimension,
            "starts_from": Path(own).stem if own else "random",
        }
        with written_whole(path) as part:
            torch.save(network.state_dict(), part)
        write_json(finished, facts)
    facts = finished_facts(finished, trained_by)
    network = build_crosslocate(replace(training.network, weights="")).to(bench.device)
    network.load_state_dict(torch.load(path, map_location=bench.device, weights_only=True))
    scores = evaluate_crosslocate(network, *_world(settings.test_town, settings, bench.folder))
    scores.save_picture(folder / "recall.png")
    found = scores.at(settings.within_m)
    row = {
        name: {"queries": scores.photographs, "recall": {count: found[f"{kind}@{count}"] for count in scores.counts}}
        for name, kind in (("any direction", "recall"), ("within 30 degrees", "recall_yaw"), ("chance", "chance_yaw"))
    }
    return Made(None, None, {**facts, "numbers": scores.numbers()}, row)


def _world(seed: int, settings: TownSettings, folder: Path) -> tuple[ViewDatabase, Queries]:
    """A town's views, rendered once for all recipes, and its photographs."""
    town = Town(seed)
    size = settings.views.size_px
    views = render_views(town, folder / "views" / f"town_{seed}_{size}_{settings.views.every_m:g}", settings.views)
    return views, photograph_town(town, settings.conditions, settings.photographs, settings.views, seed)
