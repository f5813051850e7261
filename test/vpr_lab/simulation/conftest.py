"""One town for all tests of the simulator, and a renderer where the machine can draw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("cv2", reason="the simulator needs OpenCV")

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.renderer import Renderer
from vpr_lab.simulation.town import Town
from vpr_ros.base.errors import MissingDependencyError


@pytest.fixture(scope="session")
def town() -> Town:
    return Town(5)


@pytest.fixture(scope="session")
def renderer(town: Town) -> Iterator[Renderer]:
    try:
        renderer = Renderer(town, Camera(width=160, height=120))
    except MissingDependencyError as error:
        pytest.skip(str(error))
    yield renderer
    renderer.close()
