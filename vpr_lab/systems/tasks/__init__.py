"""Tasks, one file each: a recipe, the bench and a folder -> a trained system.

A task resumes from what the folder holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vpr_lab.systems.recipe import LabRecipe
from vpr_lab.systems.tasks.crosslocate import crosslocate
from vpr_lab.systems.tasks.ensemble import ensemble
from vpr_lab.systems.tasks.geowarp import geowarp
from vpr_lab.systems.tasks.model import model
from vpr_lab.systems.tasks.multiscale import multiscale
from vpr_lab.systems.tasks.soup import soup
from vpr_lab.systems.tasks.train import train
from vpr_lab.systems.tasks.trained_system import TrainedSystem, Workbench

__all__ = ["TASKS", "TrainedSystem"]

TASKS: dict[str, Callable[[LabRecipe, Workbench, Path], TrainedSystem]] = {
    "train": train,
    "soup": soup,
    "geowarp": geowarp,
    "ensemble": ensemble,
    "multiscale": multiscale,
    "model": model,
    "crosslocate": crosslocate,
}
