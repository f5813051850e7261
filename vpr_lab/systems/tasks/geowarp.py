"""GeoWarp on top of a trained network: its first places, ranked again by features warped onto each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from vpr_lab.network.geowarp import GeoWarp
from vpr_lab.systems.data import summary
from vpr_lab.systems.rankers import Ranker, batches, remembered
from vpr_lab.systems.recipe import LabRecipe, recipe_name
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench, finished_facts
from vpr_lab.training.checkpoint import save_torch
from vpr_lab.training.datasets import Shard
from vpr_lab.training.geowarp import GeoWarpSettings, encode, train_geowarp
from vpr_ros.base.config import from_dict, option, to_dict
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import write_json


@dataclass(frozen=True)
class RerankSettings(GeoWarpSettings):
    """How it is trained, and how many places it looks at."""

    candidates: int = option(20, "places of each query to re-rank", low=2, high=1000)


def geowarp(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Train the regression on the ingredient's features, or take what the folder holds."""
    settings = from_dict(RerankSettings, recipe.settings, "settings")
    if len(recipe.ingredients) != 1:
        raise ConfigError(f"GeoWarp needs one recipe, not {len(recipe.ingredients)}: name one ingredient")
    base = bench.make(recipe.ingredients[0])
    if base.network is None:
        raise ConfigError(f"{recipe.ingredients[0]} is not a single network: GeoWarp has no features to warp")
    encoder = base.network.backbone.to(bench.device)
    path, finished = folder / "geowarp.pt", folder / "training.json"
    learning = to_dict(settings)
    del learning["candidates"]  # of the search, not of the training
    trained_by = {
        "settings": learning,
        "seed": bench.seed,
        "encoder": {recipe.ingredients[0]: base.facts.get("trained_by")},
        "training": summary(bench.data.training),
    }
    if not finished.is_file():
        start = perf_counter()
        network = train_geowarp(encoder, bench.data.training, settings, bench.seed)
        save_torch(network.state_dict(), path)
        facts = {
            **base.facts,
            "trained_by": trained_by,
            "steps": settings.steps,
            "seconds": round(perf_counter() - start, 1),
            "encoder": recipe_name(recipe.ingredients[0]),
            "image_size": list(bench.data.training[0].images.shape[1:3]),
        }
        write_json(finished, facts)
    facts = finished_facts(finished, trained_by)
    network = GeoWarp().to(bench.device)
    network.load_state_dict(torch.load(path, map_location=bench.device, weights_only=True))
    ranker = GeoWarpRanker(
        base.searching(recipe.ingredients[0]), encoder, network.eval(), settings.candidates, bench.device
    )
    return TrainedSystem(ranker, None, facts)


class GeoWarpRanker:
    """Another ranker's first places, ranked again."""

    def __init__(self, base: Ranker, encoder: Any, network: GeoWarp, candidates: int, device: str = "cpu") -> None:
        self._base, self._encoder, self._network = base, encoder, network
        self._candidates, self._device = candidates, device
        self._features = remembered(self._encode)

    @torch.inference_mode()
    def rank(self, query: Shard, reference: Shard, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances of the places that were looked at are 1 less their score; those of the others as they were."""
        order, distances = self._base.rank(query, reference, max(count, self._candidates))
        own, theirs = self._features(query), self._features(reference)
        looked = min(self._candidates, order.shape[1])
        for row, features in enumerate(own):
            places = torch.from_numpy(theirs[order[row, :looked]]).float().to(self._device)
            here = torch.from_numpy(features).float().to(self._device).expand_as(places)
            scores = self._network.score(here, places).cpu().numpy()
            best = np.argsort(-scores, kind="stable")
            order[row, :looked] = order[row, :looked][best]
            distances[row, :looked] = 1 - scores[best]
        return order[:, :count], distances[:, :count]

    @torch.inference_mode()
    def _encode(self, shard: Shard) -> np.ndarray:
        parts = (torch.from_numpy(part).to(self._device) for part in batches(shard.images))
        return torch.cat([encode(self._encoder, part) for part in parts]).half().cpu().numpy()
