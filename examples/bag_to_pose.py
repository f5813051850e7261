"""A bag becomes a map, and the images of a second bag become poses on it.

    python examples/bag_to_pose.py demo/bags/overcast demo/bags/night

No ROS is needed.
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

from vpr_ros import Localizer, build_map, open_describer, open_drive


def main(reference: str, query: str) -> None:
    map_file = Path(mkdtemp()) / "example.vprmap"
    with build_map(map_file, [open_drive(reference)], open_describer()) as place_map:
        print(f"{place_map.path}: {len(place_map)} places")
    with Localizer.open(map_file) as localizer:
        for recorded in open_drive(query):
            estimate = localizer.localize(recorded.load())
            best = estimate.best  # None if "not on this map" is more probable than any pose
            if best is None:
                print(f"{estimate.stamp_ns}: not on this map ({estimate.off_map_probability:.0%})")
                continue
            x, y = best.T_map_camera[:2, 3]
            sigma = best.covariance[0, 0] ** 0.5
            print(f"{estimate.stamp_ns}: x {x:.1f} m, y {y:.1f} m, +-{sigma:.1f} m ({best.probability:.0%})")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
