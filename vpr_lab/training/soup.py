"""Model soups: one network whose weights are the average of several, at the cost of one.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time". Ingredients have one architecture and one start, such as the combinations of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vpr_ros.base.errors import ModelError

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class GreedySoup:
    """A greedy soup.

    state: its weights. members: rows of the ingredients in it, in the order they joined, the best one first.
    scores: the soup's validation score as each of them joined, which never falls; the last is the soup's.
    ingredients: the validation score of every ingredient alone.
    """

    state: State
    members: tuple[int, ...]
    scores: tuple[float, ...]
    ingredients: tuple[float, ...]


def uniform(states: Sequence[State]) -> State:
    """The average of the networks' weights, as new tensors of the first one's dtypes and devices.

    Statistics of batch norm are averaged like weights. Integers, such as its count of batches, are taken from the
    first. Raises ModelError if there is no ingredient or two differ in names or shapes.
    """
    if not states:
        raise ModelError("a soup needs at least one ingredient")
    first = states[0]
    for number, state in enumerate(states[1:], 2):
        _check_alike(first, state, number)
    soup = {}
    for name, value in first.items():
        soup[name] = value.detach().clone()
        if value.is_floating_point():
            same = [state[name].detach().to(value.device, torch.float64) for state in states]
            soup[name].copy_(torch.stack(same).mean(0))
    return soup


def greedy(states: Sequence[State], score: Callable[[State], float]) -> GreedySoup:
    """Start from the best ingredient; add the others from good to bad, each kept if the score does not fall.

    score: the higher the better, of a network's weights on VALIDATION data. Never choose ingredients on the test set:
    the soup's score there would be one it was selected for. On the data it is chosen on, a soup is never worse than
    its best ingredient. An ingredient without a score (NaN) stays out.
    Raises ModelError if no ingredient has a score or two do not fit together.
    """
    for number, state in enumerate(states[1:], 2):
        _check_alike(states[0], state, number)
    alone = tuple(score(state) for state in states)
    order = sorted((row for row in range(len(states)) if not math.isnan(alone[row])), key=lambda row: -alone[row])
    if not order:
        raise ModelError("no ingredient of the soup has a validation score")
    members, scores = order[:1], [alone[order[0]]]
    soup = uniform([states[order[0]]])
    for row in order[1:]:
        tried = uniform([states[member] for member in (*members, row)])
        tried_score = score(tried)
        if tried_score >= scores[-1]:
            soup = tried
            members.append(row)
            scores.append(tried_score)
    return GreedySoup(soup, tuple(members), tuple(scores), alone)


def _check_alike(first: State, other: State, number: int) -> None:
    """Raise ModelError if two ingredients are not of one architecture. number: the other's, counted from 1."""
    for name in [*first, *other]:
        if name not in first or name not in other:
            lacking = number if name not in other else 1
            raise ModelError(f"ingredient {lacking} of the soup lacks {name}: average networks of one architecture")
        if first[name].shape != other[name].shape:
            shapes = f"{tuple(other[name].shape)} instead of {tuple(first[name].shape)}"
            raise ModelError(f"{name} is {shapes} in ingredient {number} of the soup: average networks of one size")
