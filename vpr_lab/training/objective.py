"""The loss of a batch: every term by name, and their weighted total."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.place_network import Output, PlaceNetwork
from vpr_lab.training.adapt import DomainClassifier
from vpr_lab.training.classes import ClassLoss, Group
from vpr_lab.training.losses import PlaceLoss, depth_l1, relational_loss
from vpr_lab.training.recipe import Recipe
from vpr_ros.base.errors import ConfigError


class Objective(nn.Module):
    """Terms of the loss as a recipe asks for them. Its own weights, of classifiers, are trained and left behind."""

    def __init__(self, recipe: Recipe, network: PlaceNetwork, groups: Sequence[Group] = ()) -> None:
        """groups: CosPlace's, for a recipe that learns classes."""
        super().__init__()
        self.recipe = recipe
        self.place = PlaceLoss(recipe.loss, recipe.miner) if recipe.objective == "places" else None
        self.classes: ClassLoss | None = None
        if recipe.objective == "classes":
            counts = [len(group.classes) for group in groups]
            self.classes = ClassLoss(recipe.classes.loss, network.dimension, counts)
        self.domain: DomainClassifier | None = None
        if recipe.target_conditions and recipe.adaptation.reversal_weight > 0:
            self.domain = DomainClassifier(network.backbone.channels[3], strength=recipe.adaptation.reversal_lambda)
        # In a list, so that the teacher's weights are not this module's.
        self._teacher = [copy.deepcopy(network).requires_grad_(False).eval()] if recipe.relational_weight > 0 else []

    def forward(self, network: PlaceNetwork, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """images (B, H, W, 3), depth (B, h, w), labels, drives: see PlaceBatches -> scalars by name, and "total".

        The networks run in the arithmetic they are called in, losses always in float32: they tell descriptors apart by
        less than bfloat16 holds.
        """
        recipe = self.recipe
        output: Output = network.analyse(network.sized(batch["images"]), batch["depth"])
        target = self._teacher_descriptors(batch, output) if self._teacher else None
        features = None
        if self.domain is not None:
            other = network.analyse(network.sized(batch["domain_images"])).features
            features = torch.cat([output.features, other])
        with torch.autocast(output.descriptors.device.type, enabled=False):
            terms = self._terms(output, target, features, batch)
        if not terms:
            raise ConfigError("the recipe has no loss for this network: set an objective, or depth_weight")
        weights = {
            "depth": recipe.depth_weight,
            "imitation": recipe.imitation_weight,
            "relational": recipe.relational_weight,
            "domain": recipe.adaptation.reversal_weight,
        }
        return {**terms, "total": sum((weights.get(name, 1.0) * term for name, term in terms.items()), torch.zeros(()))}

    def _terms(
        self, output: Output, target: Tensor | None, features: Tensor | None, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Every term that the recipe asks for. target: the teacher's descriptors. features: of all domains' images."""
        terms = {}
        descriptors = output.descriptors.float()
        if self.place is not None:
            joined = [descriptors, *(part.float() for part in output.parts.values() if self.recipe.parts)]
            terms["place"] = torch.stack([self.place(part, batch["labels"]) for part in joined]).sum()
        if self.classes is not None:
            terms["classes"] = self.classes(descriptors, batch["labels"], batch["group"])
        if output.log_depth is not None:
            terms["depth"] = depth_l1(output.log_depth, batch["depth"], self.recipe.depth_loss, self.recipe.sky)
        if output.imitation is not None:
            hallucinated, true = output.imitation
            terms["imitation"] = F.l1_loss(hallucinated.float(), true.float())
        if target is not None:
            terms["relational"] = relational_loss(descriptors, target.float(), batch["drives"])
        if self.domain is not None and features is not None:
            terms["domain"] = self.domain.loss(features.float(), batch["domains"])
        return terms

    def _teacher_descriptors(self, batch: dict[str, Tensor], output: Output) -> Tensor:
        """The teacher's descriptors; from the network's own features if the backbone is frozen."""
        teacher = self._teacher[0].to(output.descriptors.device)
        with torch.no_grad():
            if output.log_depth is not None and not self.recipe.trainable_blocks:
                return teacher.describe(output.features, output.log_depth)
            return teacher.analyse(teacher.sized(batch["images"]), batch["depth"]).descriptors
