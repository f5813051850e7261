"""Model soups, worked by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from vpr_lab.training.soup import greedy, uniform  # noqa: E402
from vpr_ros.base.errors import ModelError  # noqa: E402


def weights(*values: float) -> dict:
    return {"w": torch.tensor(values)}


def test_uniform_is_the_average() -> None:
    """The soup is the mean of the weights, and the ingredients stay as they were: they may go into the next soup."""
    ingredients = [weights(0.0, 3.0), weights(1.0, 0.0), weights(5.0, 0.0)]
    soup = uniform(ingredients)
    assert soup["w"].tolist() == [2.0, 1.0] and soup["w"].dtype == torch.float32
    soup["w"].zero_()
    assert ingredients[0]["w"].tolist() == [0.0, 3.0]
    alone = uniform(ingredients[:1])["w"]
    assert torch.equal(alone, ingredients[0]["w"]) and alone.data_ptr() != ingredients[0]["w"].data_ptr()


def test_a_soup_of_real_layers_loads_and_runs() -> None:
    """Batch norm counts batches in an integer, whose mean is none: it is the first one's; statistics are averaged."""
    networks = [torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)) for _ in range(2)]
    for steps, network in zip((1, 4), networks, strict=True):
        for _ in range(steps):
            network(torch.randn(2, 3, 4, 4) + steps)
    first, second = (network.state_dict() for network in networks)
    soup = uniform([first, second])
    assert soup["1.num_batches_tracked"].item() == 1 and soup["1.num_batches_tracked"].dtype == torch.int64
    assert torch.allclose(soup["1.running_mean"], (first["1.running_mean"] + second["1.running_mean"]) / 2)
    networks[1].load_state_dict(soup)
    assert torch.isfinite(networks[1].eval()(torch.randn(1, 3, 4, 4))).all()


def test_half_precision_is_averaged_exactly() -> None:
    """Summed in its own type, float16 overflows at 65504."""
    soup = uniform([{"w": torch.full((2,), 60000.0, dtype=torch.float16)} for _ in range(3)])
    assert soup["w"].dtype == torch.float16 and soup["w"].tolist() == [60000.0, 60000.0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"w": torch.zeros(3)}, r"w is \(3,\) instead of \(2,\) in ingredient 2"),
        ({"v": torch.zeros(2)}, "ingredient 2 of the soup lacks w"),
        ({"w": torch.zeros(2), "v": torch.zeros(1)}, "ingredient 1 of the soup lacks v"),
    ],
)
def test_networks_that_differ_are_refused(other: dict, message: str) -> None:
    """Average what fits by chance and the soup is a network nobody trained."""
    for cook in (uniform, lambda states: greedy(states, lambda state: 1.0)):
        with pytest.raises(ModelError, match=message):
            cook([weights(0.0, 0.0), other])


def test_no_ingredient_is_an_error() -> None:
    """An empty list is a user's mistake: a pattern of files that matches none."""
    with pytest.raises(ModelError, match="at least one"):
        uniform([])
    with pytest.raises(ModelError, match="validation score"):
        greedy([], lambda state: 1.0)


def closeness(state: dict) -> float:
    """A toy validation score: how near the weights are to (1, 1); the best there is is 0."""
    return -float((state["w"] - 1).norm())


def test_greedy_leaves_out_what_spoils_the_soup() -> None:
    """Two that err to either side make a perfect soup; the third, in order of score, would spoil it and stays out."""
    bad, left, right = weights(9.0, 9.0), weights(0.5, 1.0), weights(1.6, 1.0)
    soup = greedy([bad, right, left], closeness)
    assert soup.members == (2, 1)
    assert soup.state["w"].tolist() == pytest.approx([1.05, 1.0])
    assert soup.ingredients == pytest.approx((-math.sqrt(128), -0.6, -0.5))
    assert soup.scores == pytest.approx((-0.5, -0.05))
    assert closeness(uniform([bad, right, left])) < closeness(left), "the uniform soup would have been worse"


def test_greedy_is_never_worse_than_its_best_ingredient() -> None:
    """The promise of a greedy soup, on the data it was chosen on, whatever the ingredients."""
    torch.manual_seed(0)
    for _ in range(50):
        states = [{"w": torch.randn(3)} for _ in range(5)]
        soup = greedy(states, closeness)
        assert soup.scores[0] == max(soup.ingredients) and closeness(soup.state) == soup.scores[-1] >= soup.scores[0]
        assert list(soup.scores) == sorted(soup.scores)


def test_an_ingredient_without_a_score_stays_out() -> None:
    """A run that diverged validates to NaN, which compares with nothing and must not become the soup."""
    soup = greedy([weights(math.nan, 1.0), weights(0.9, 1.0), weights(math.nan, 0.0)], closeness)
    assert soup.members == (1,) and soup.state["w"].tolist() == pytest.approx([0.9, 1.0])
    with pytest.raises(ModelError, match="validation score"):
        greedy([weights(math.nan, 1.0)], closeness)
