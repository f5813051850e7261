"""Ways in which a system comes about, one file each: a recipe, the bench and a folder -> what can be measured.

A task finds in the folder what it made there before, and goes on from it.
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
