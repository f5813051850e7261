"""Two ranked lists become one, as worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_lab.plugins.ensemble import nearest_indices_first, shared_indices_first


def nearest(first: dict[int, float], second: dict[int, float]) -> tuple[list[int], list[float]]:
    arguments = [np.array(list(part)) for lists in (first, second) for part in (lists.keys(), lists.values())]
    ids, distances = nearest_indices_first(*arguments)
    return ids.tolist(), distances.tolist()


def test_nearest_first_sorts_and_drops_repeats() -> None:
    """NIF believes whoever is surer of a place: it keeps the smaller of its two distances, whichever list it is in."""
    ids, distances = nearest({7: 0.1, 3: 0.4, 5: 0.9}, {3: 0.2, 8: 0.3, 7: 0.5})
    assert ids == [7, 3, 8, 5] and distances == [0.1, 0.2, 0.3, 0.9]


def test_nearest_first_is_stable_and_takes_lists_that_are_not_sorted() -> None:
    """Of equal distances the first network's comes first; a re-ranked list need not be sorted by distance."""
    assert nearest({4: 0.5, 1: 0.2}, {9: 0.2, 2: 0.5}) == ([1, 9, 4, 2], [0.2, 0.2, 0.5, 0.5])
    assert nearest({4: 0.5}, {4: 0.5}) == ([4], [0.5])


def test_shared_first_believes_what_both_found() -> None:
    """SIF: what both found in the first one's order, then the first one's own, then the second one's."""
    assert shared_indices_first(np.array([1, 2, 3, 4]), np.array([9, 4, 2, 8])).tolist() == [2, 4, 1, 3, 9, 8]
    assert shared_indices_first(np.array([1, 2]), np.array([3, 4])).tolist() == [1, 2, 3, 4]
    assert shared_indices_first(np.array([2, 1]), np.array([1, 2])).tolist() == [2, 1]
    assert shared_indices_first(np.array([5, 5, 6]), np.array([6, 6])).tolist() == [6, 5]


def test_a_list_may_be_empty() -> None:
    """A network that answers nothing leaves the other's list as it is."""
    nothing, some, distances = np.array([], int), np.array([3, 1]), np.array([0.1, 0.2])
    assert shared_indices_first(nothing, some).tolist() == shared_indices_first(some, nothing).tolist() == [3, 1]
    assert nearest_indices_first(nothing, np.array([]), some, distances)[0].tolist() == [3, 1]
    with pytest.raises(ValueError, match="2 ids cannot have 1 distances"):
        nearest_indices_first(nothing, np.array([]), some, distances[:1])
