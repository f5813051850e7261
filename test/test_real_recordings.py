"""Real photographs, which the shipped network was never trained on: what it learnt in simulated towns must carry over.

Needs the recordings; skipped where they are absent. VPR_TEST_DATA names their folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive
from vpr_ros.evaluation.record import Tolerance
from vpr_ros.evaluation.run_report import run_drive
from vpr_ros.evaluation.summary import assess
from vpr_ros.localize.config import LocalizerConfig, RerankConfig, SearchConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.rerank import RerankContext, open_rerankers
from vpr_ros.maps.builder import build_map

DATA = Path(os.environ.get("VPR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.parametrize("closer", [False, True], ids=["session's mean", "a closer look at each image alone"])
@pytest.mark.parametrize(
    ("database", "query", "tolerance", "least"),  # with the session's mean, and alone with a closer look
    [
        ("gardens_point/day_right", "gardens_point/day_left", 3, (0.95, 0.975)),
        ("stromovka/season_00", "stromovka/season_01", 1, (0.65, 0.61)),
        ("corridor/ref", "corridor/query", 2, (0.89, 0.80)),
    ],
    ids=["gardens point, other side of the path", "stromovka, snow on autumn", "a corridor through a fisheye"],
)
def test_single_frame_recall(tmp_path, describer, database, query, tolerance, least, closer):
    """R@1 of single frames, tolerance in frames, through the same map, localiser and judge as everything else."""
    for name in (database, query):
        if not (DATA / name).is_dir():
            pytest.skip(f"the recording {name} is not here: set VPR_TEST_DATA to the folder that has it")
    reference, drive = (NumberedDrive(open_drive(DATA / name)) for name in (database, query))
    with build_map(tmp_path / "real.vprmap", [reference], describer, every_m=0.0) as place_map:
        config = LocalizerConfig(
            SearchConfig(mean_centring=not closer), rerank=RerankConfig(("local_features",) if closer else ())
        )
        localizer = Localizer(
            place_map.places, describer, config, rerankers=open_rerankers(RerankContext(place_map, config))
        )
        run, _ = run_drive(localizer, place_map, drive, tolerance=Tolerance(tolerance, tolerance, tolerance))
    # Alone and without the closer look it is 0.965, 0.574 and 0.802.
    assert assess(run).summary.single.at_n[1] >= least[closer]
