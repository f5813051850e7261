"""A network that another package runs is checked: what it does wrong is one sentence, and the next image works."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, ImageError
from vpr_ros.base.records import Frame
from vpr_ros.inference.describer import Description
from vpr_ros.inference.guard import GuardedDescriber
from vpr_ros.localize.localizer import Localizer

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
UNIT = np.eye(4, dtype=np.float32)[:2]


def guarded(description: Any) -> GuardedDescriber:
    """A network of 4 numbers that gives this description, or raises it."""

    def describe(images: np.ndarray) -> Any:
        if isinstance(description, Exception):
            raise description
        return description

    manifest = SimpleNamespace(name="net", dimension=4, vocabulary="")
    network: Any = SimpleNamespace(manifest=manifest, backend="own", batch_sizes=(1,), describe=describe)
    return GuardedDescriber(network, "backend", "theirs")


@pytest.mark.parametrize(
    ("description", "kind", "says"),
    [
        (Description(100 * UNIT, None), ConfigError, "backend 'theirs'.*length 100, expected 1"),
        (Description(UNIT[:1], None), ConfigError, "backend 'theirs'.*of shape"),
        (Description(np.full_like(UNIT, np.nan), None), ImageError, "not a number"),
        (UNIT, ConfigError, "backend 'theirs'.*gives ndarray, expected a Description"),
        (ValueError("no memory"), ConfigError, "backend 'theirs' failed: ValueError: no memory"),
    ],
)
def test_wrong_output_is_one_sentence(description: Any, kind: type[Exception], says: str) -> None:
    """Descriptors a hundred times too long made every answer certain; the others were tracebacks.

    It names the backend: to export the model again, as was said, is of no use.
    """
    with pytest.raises(kind, match=says):
        guarded(description).describe(IMAGES)
    assert guarded(Description(UNIT, None)).describe(IMAGES).descriptors is UNIT
    assert guarded(None).manifest.name == "net"


def test_one_image_without_a_descriptor_harms_no_other(describer: Any, toy_world: Any) -> None:
    """It made the belief NaN, for all images after it."""

    class Sometimes:
        manifest, backend, batch_sizes = describer.manifest, "own", (1,)

        def describe(self, images: np.ndarray) -> Description:
            found = np.zeros((1, self.manifest.dimension), np.float32)
            found[:, 0] = np.nan if images.max() > 200 else 1.0
            return Description(found, None)

    places = toy_world.places()
    wide = np.zeros((len(places), 1, describer.manifest.dimension), np.float32)
    wide[np.arange(len(places)), 0, np.arange(len(places))] = 1.0
    places = type(places)(places.ids, places.drives, places.stamps_ns, places.T_map_camera, wide)
    localizer = Localizer(places, GuardedDescriber(Sometimes(), "backend", "theirs"))  # type: ignore[arg-type]
    good = np.random.default_rng(0).integers(0, 100, (64, 64, 3), np.uint8)
    before = localizer.localize(Frame(0, good))
    with pytest.raises(ImageError):
        localizer.localize(Frame(10**9, good + np.uint8(150)))
    after = localizer.localize(Frame(2 * 10**9, good))
    assert np.isfinite([before.off_map_probability, after.off_map_probability]).all()


def test_what_is_no_network_is_refused_when_it_is_opened() -> None:
    """A factory that returned something else was a traceback at the first image."""
    with pytest.raises(ConfigError, match="describer 'theirs' opens object, which lacks manifest, backend"):
        GuardedDescriber(object(), "describer", "theirs")  # type: ignore[arg-type]
