"""An exported model, such as the one that ships, for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_lab.systems.rankers import DescriptorRanker, batches
from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench
from vpr_lab.training.datasets import Shard
from vpr_ros.base.config import from_dict, option
from vpr_ros.base.image import preprocess
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer


@dataclass(frozen=True)
class ModelSettings:
    """Which one."""

    model: str = option(DEFAULT_MODEL, "file, or name of a shipped one")


def model(recipe: LabRecipe, bench: Workbench, folder: Path) -> TrainedSystem:
    """Open it; nothing is trained."""
    describer = open_describer(from_dict(ModelSettings, recipe.settings, "settings").model)

    def describe(shard: Shard) -> np.ndarray:
        own = describer.manifest.preprocessing
        images = (np.stack([preprocess(image, own) for image in part]) for part in batches(shard.images))
        return np.concatenate([describer.describe(part).descriptors for part in images])

    facts = {"steps": 0, "seconds": 0.0, "dimension": describer.manifest.dimension, "starts_from": "as it ships"}
    return TrainedSystem(DescriptorRanker(describe), None, facts)
