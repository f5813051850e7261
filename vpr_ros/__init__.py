"""Visual place recognition and localisation for ROS 2: one camera, ranked poses, calibrated probability.

The names of ``__all__`` are the public API. Each is imported when it is first used, so ``import vpr_ros`` stays quick.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime 1.30 and later sends usage data to its makers, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "DriveOptions",
    "Estimate",
    "Frame",
    "Hypothesis",
    "Localizer",
    "LocalizerConfig",
    "LoopCloser",
    "LoopCloserConfig",
    "LoopClosure",
    "PlaceMap",
    "VprError",
    "build_map",
    "open_describer",
    "open_drive",
]

if TYPE_CHECKING:
    from vpr_ros.base.errors import VprError
    from vpr_ros.base.records import Estimate, Frame, Hypothesis, LoopClosure
    from vpr_ros.drives.open import open_drive
    from vpr_ros.drives.options import DriveOptions
    from vpr_ros.inference.open import open_describer
    from vpr_ros.localize.config import LocalizerConfig
    from vpr_ros.localize.localizer import Localizer
    from vpr_ros.loops.config import LoopCloserConfig
    from vpr_ros.loops.loop_closer import LoopCloser
    from vpr_ros.maps.builder import build_map
    from vpr_ros.maps.place_map import PlaceMap
else:
    _HOMES = {
        "DriveOptions": "vpr_ros.drives.options",
        "Estimate": "vpr_ros.base.records",
        "Frame": "vpr_ros.base.records",
        "Hypothesis": "vpr_ros.base.records",
        "Localizer": "vpr_ros.localize.localizer",
        "LocalizerConfig": "vpr_ros.localize.config",
        "LoopCloser": "vpr_ros.loops.loop_closer",
        "LoopCloserConfig": "vpr_ros.loops.config",
        "LoopClosure": "vpr_ros.base.records",
        "PlaceMap": "vpr_ros.maps.place_map",
        "VprError": "vpr_ros.base.errors",
        "build_map": "vpr_ros.maps.builder",
        "open_describer": "vpr_ros.inference.open",
        "open_drive": "vpr_ros.drives.open",
    }

    def __getattr__(name: str) -> Any:
        """A public name, imported on first use (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
