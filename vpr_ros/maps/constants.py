"""Constants of stored maps: value, unit, meaning and what each was fitted on.

None is a parameter. The constants that turn similarities into probabilities differ from map to map and are in
``calibration``. "By hand" means: chosen while the method was written, without a recorded fit.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CentringConstants:
    """Mean-centring of descriptors (``centring``).

    Chosen while the network was designed, on Gardens Point and Stromovka: not blind. See the section on real recordings
    in ``docs/results.md``.
    """

    share: float = 0.7
    """Fraction of the map's mean that is subtracted."""
    shift_share: float = 1.0
    """Fraction of what a session's mean differs by from the map's: light, season and camera, and no place."""
    prior_images: int = 10
    """Images of the session that weigh as much as the map's mean."""
    memory_images: int = 200
    """Images after which the oldest fade."""
    novelty: float = 0.3
    """1 less the cosine to the last image learnt from must exceed this: standing still teaches nothing."""


@dataclass(frozen=True)
class ScoreConstants:
    """Standard scores of similarities (``scores``). All by hand."""

    background: int = 512
    """Places that stand for the whole map."""
    low_share: float = 0.16
    """Quantile of the background whose distance to the median is one standard score: one sigma of a normal law."""
    smallest_spread: float = 0.01
    """Least spread of cosines, for maps of a few places that are all alike."""


@dataclass(frozen=True)
class NeighbourConstants:
    """The search for places around a pose (``places``). By hand."""

    reach_m: float = 50.0
    """Metres around a pose in which places are looked up, at least,"""
    reach_spacings: float = 4
    """and in multiples of the map's spacing."""


@dataclass(frozen=True)
class LevelConstants:
    """When places lie above each other (``levels``). All by hand."""

    height_m: float = 1.8
    """Metres, least difference of height between two levels: storeys are at least 2.2 m high;"""
    slope: float = 0.1
    """on a slope further places of one level differ more, by this share of their distance."""
    sample: int = 500
    """Places whose surroundings are looked at,"""
    overlap_m: float = 3.0
    """each up to this distance in the plane, or the map's spacing if that is more,"""
    share: float = 0.05
    """and the share of them with another level above or below from which on the map has levels."""


@dataclass(frozen=True)
class SameDriveLimits:
    """When two recordings are the same drive (``map_drives``). All by hand."""

    compared: int = 16
    """Images compared, from the first shared stamp to the last: drives may begin or end at the same place."""
    equal_share: float = 0.9
    """Least fraction of them that are equal. Not all: two backends differ a little."""
    equal_cosine: float = 0.99
    """Least cosine of one image's descriptors on two backends or machines. Neighbouring images are below."""


@dataclass(frozen=True)
class VarietyConstants:
    """How many places of a map differ (``places``). All by hand."""

    enough: int = 20
    """Places that differ, from which on a map stands for the world around it."""
    alike: float = 0.9
    """Cosine from which on two places do not differ."""
    resembling: tuple[float, ...] = (0.7, 0.8)
    """Cosines that are tried before it; neighbours in a corridor have 0.86. With 0.6 too, a park in another season is
    recognised less (`demixvpr_lite0` on Stromovka 0.634 instead of 0.663)."""
    stand_for_all: int = 50
    """Places that must be left, for such a cosine to be taken."""
    pairs: int = 500
    """Pairs of places, at most, whose cosines stand for those of places far apart."""


@dataclass(frozen=True)
class StatisticsConstants:
    """What is known of all places (``places``). By hand."""

    sample: int = 1024
    """Places, spread over the map, of which those that differ stand for all."""
    later: int = 4
    """Places of a drive up to this many apart are compared, for how the view changes with the distance."""
    checked: int = 256
    """Places of a cache that are compared with the map."""
    in_memory: int = 64_000_000
    """Bytes of decoded descriptors up to which they are kept in memory: 5 000 places of three views and 1024 numbers.
    Those of a larger map are read from its file, a few for each image."""
    coarser: float = 1.25
    """Distance between places of a drive that is added, in multiples of the map's spacing, that is told."""


@dataclass(frozen=True)
class AttentionConstants:
    """Where the robot may be, for maps that load a part of themselves (``tiled_map``). By hand."""

    least_belief: float = 1e-3
    """Places of less belief are left out."""
    lookalikes: int = 5
    """Places like an image that a lost robot may be at;"""
    next_lookalike: float = 0.5
    """the first one counts by this share of the probability that it is lost, each next one by this share of that."""


@dataclass(frozen=True)
class IndexConstants:
    """The index that suits a map's size (``index.chosen_factory``). By ``benchmarks/index_size.py``."""

    exact: int = 20_000
    """Descriptors up to which the search is exact: some milliseconds on one core."""
    one_bit: int = 500_000
    """Descriptors up to which one bit of all of them is compared."""
    cells: float = 0.6
    """Cells of more, times the root of their number."""
    training: int = 70_000
    """Descriptors of places, spread over the map, that an index is trained on."""
    told_every: int = 50_000
    """Places after which the log says how far the index is."""


@dataclass(frozen=True)
class TileConstants:
    """Maps in tiles (``tiles``, ``tiled_map``). By hand, checked by ``benchmarks/tiles.py``."""

    cell_m: float = 1000.0
    """Metres, side of a tile;"""
    smallest_m: float = 50.0
    """the least"""
    largest_m: float = 100_000.0
    """and the most that can be chosen."""
    largest_file: int = 2**40
    """Bytes, largest file of a folder of tiles."""
    in_memory: int = 9
    """Tiles whose descriptors are held in memory, at most: one and those around it."""
    reach_m: float = 250.0
    """Metres around where the robot may be, in which tiles are loaded, at most half a tile: some seconds of driving."""
    least_weight: float = 0.02
    """Probability that the robot is around a tile, below which that is not loaded."""
    border: float = 0.1
    """Weight of a place for tiles that it does not lie in but that are within reach of it."""
    retry_s: float = 10.0
    """Seconds until a tile that could not be had is tried again."""
    release_s: float = 300.0
    """Seconds between looks for a new release."""
    timeout_s: float = 10.0
    """Seconds of silence after which a server is taken to be down."""
    attempts: int = 3
    """Tries of a transfer that breaks, without a byte more in between."""
    pause_s: float = 0.5
    """Seconds before the next try; twice as long each time, up to"""
    longest_pause_s: float = 8.0
    """so many."""
    patience_s: float = 60.0
    """Seconds that whoever waits for tiles waits for a server that is busy or down."""
    open_files: int = 256
    """Tiles whose files are open, for places that are not in memory."""


@dataclass(frozen=True)
class LookConstants:
    """Which looks of a place a map keeps (``looks``). By hand, with a look at towns 9101 and 9102 of
    ``benchmarks/refresh.py``, not at 9103.
    """

    alike: float = 0.8
    """Cosine from which a kept image stands for one that is dropped, if its drive has no other image near it."""
    near_spacings: float = 1.1
    """Distance up to which two images show one place, in multiples of the map's spacing."""
    least: float = 0.001
    """Similarity of images that are near each other, at least: a place is more than what is seen there."""
    heading: float = 0.8
    """Radians, largest difference of the headings of two images of one place."""
    stretch_spacings: float = 10.0
    """Side of the square whose images of one drive are a look, in multiples of the map's spacing."""
    closest_spacings: float = 0.7
    """Distance between following images of a drive, at least, in multiples of the map's spacing."""
    away: int = 10
    """Images of a drive elsewhere, after which it has left a stretch and comes back: another look."""
    newer_gain: float = 0.002
    """Similarity, in the mean over a stretch, by which an older look must be better than a newer one."""


@dataclass(frozen=True)
class TrajectoryConstants:
    """When a trajectory contradicts a session's odometry, and two maps give an image two poses. By hand."""

    least_step_m: float = 0.1
    """Metres by odometry from one place to the next, that are compared;"""
    least_steps: int = 3
    """of a drive with so many."""
    off: float = 0.5
    """Share of a step, in the median, by which the trajectory's differs: more is another drive or unit."""
    turned_deg: float = 20.0
    """The same of the rotation, degrees."""
    same_m: float = 0.01
    """Metres between the poses of one image in two maps, from which on they differ."""


@dataclass(frozen=True)
class LegacyConstants:
    """Calibrations written until version 0.1."""

    independence_m: float = 15.0
    """Metres, ``independence`` times the former ``correlation_length``, as both were fitted on one town."""


ATTENTION = AttentionConstants()
CENTRING = CentringConstants()
INDEX = IndexConstants()
UNLEARNT = 0.12
"""What a similarity must be larger by in a map of few images, which has the model's own vocabulary: in it images of
different places are more alike. Of maps of 1 to 15 places of the demo's town: with less, streets elsewhere pass for
them; with more, places are not recognised in the sun."""
SCORES = ScoreConstants()
NEIGHBOURS = NeighbourConstants()
LEVELS = LevelConstants()
SAME_DRIVE = SameDriveLimits()
STATISTICS = StatisticsConstants()
VARIETY = VarietyConstants()
TILES = TileConstants()
LEGACY = LegacyConstants()
LOOKS = LookConstants()
TRAJECTORY = TrajectoryConstants()
