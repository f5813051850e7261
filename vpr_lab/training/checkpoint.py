"""Checkpoints: a network together with the recipe it was trained by."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.recipe import Recipe, translate_recipe
from vpr_ros.base.config import from_dict, to_dict
from vpr_ros.base.errors import ConfigError, ModelError, brief
from vpr_ros.base.files import written_whole


@dataclass
class Checkpoint:
    """epoch: epochs done. scores: losses and validation of each. state: optimiser, schedule and RNG, to resume."""

    recipe: Recipe
    network: PlaceNetwork
    epoch: int
    scores: list[dict[str, float]]
    state: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        content = {"recipe": to_dict(self.recipe), "network": self.network.state_dict(), "epoch": self.epoch}
        save_torch({**content, "scores": self.scores, "state": self.state}, path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Rebuild the network from the recipe inside. Raises ModelError if the file is missing or not a checkpoint."""
        if not path.is_file():
            raise ModelError(f"no checkpoint at {path}")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            recipe = from_dict(Recipe, translate_recipe(content["recipe"]), str(path))
            network = recipe.build(with_weights=False)
            network.load_state_dict(content["network"])
        except pickle.UnpicklingError as error:  # torch's advice is to trust the file
            raise ModelError(f"{path} is not a checkpoint: give a .pt file of `vpr train` or `vpr lab`") from error
        except (RuntimeError, LookupError, TypeError, EOFError, OSError) as error:
            raise ModelError(
                f"{path} is damaged, or not a checkpoint of this version ({brief(error)}): remove it, or give another"
            ) from error
        return cls(recipe, network, content["epoch"], content["scores"], content["state"])


def save_torch(content: Any, path: Path) -> None:
    """Write what torch saves, whole or not at all. Raises OSError where it cannot be written, as on a full disk."""
    with written_whole(path) as part, part.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's own, while it handles the file's
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def starting_from(path: Path, on_start: Callable[[list[str]], None] | None = None) -> Callable[[PlaceNetwork], None]:
    """A function that gives a network the parts that it has in common with a checkpoint's.

    on_start: called with the names of the parts it gave, the first time it gives them: training starts a network twice,
    before its head is initialised and after. Raises ModelError if the file is not a checkpoint. The
    function raises ConfigError if no part fits.
    """
    theirs = dict(Checkpoint.load(path).network.named_children())
    reported: list[str] = []

    def load(network: PlaceNetwork) -> None:
        taken = []
        for name, part in network.named_children():
            state = theirs[name].state_dict() if name in theirs else {}
            if state and _sizes(state) == _sizes(part.state_dict()):
                part.load_state_dict(state)
                taken.append(name)
        if not taken:
            raise ConfigError(f"no part of the network fits one of {path}: {', '.join(theirs)}")
        if on_start and taken != reported:
            reported[:] = taken
            on_start(taken)

    return load


def _sizes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
