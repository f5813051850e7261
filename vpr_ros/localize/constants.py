"""Constants of localisation: value, unit, meaning and what each was fitted on.

None is a parameter; what depends on the robot is in ``config``, what depends on the map in ``maps.calibration``.
"By hand" means: chosen while the method was written, without a recorded fit. ``vpr evaluate`` and
``benchmarks/recall.py`` measure what a change does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FilterConstants:
    """The Bayes filter over time (``temporal``). All by hand."""

    sigma_heading: float = np.radians(35.0)
    """Radians, standard deviation of the heading between neighbouring places: in a turn they differ this much."""
    smallest_belief: float = 1e-4
    """Belief below this is background and is not moved."""
    least_weight: float = 1e-12
    """Sum of the weights of the places around a predicted pose, up to which no place is near it."""
    individual: int = 1000
    """Places whose belief and evidence are kept one by one; the others share a value, so that an image takes the same
    time on a map of any size."""
    ignored_belief: float = 1e-6
    """Places of less belief share a value, on a map of many."""
    most_compared: int = 200
    """Places compared with an image because of the images before it."""
    start: float = 0.1
    """Probability of being on the map before the first image: what one view shows often resembles a mapped one."""
    leave: float = 0.02
    """Probability of leaving the map while the robot moves by the spacing of its places,"""
    enter: float = 0.01
    """and of entering it. Streets that were not mapped look like mapped ones for an image or two: with five times this,
    such images bring the robot back onto the map. See "The filter on real recordings" in ``docs/results.md``."""
    entering: float = 0.05
    """Probability of being off the map, below which it does not matter where that would be entered: it takes time."""
    entrance: float = 3.0
    """How many times more likely the map is entered at the pose that odometry predicts than elsewhere. Without
    odometry, half of what enters does so where the map was left, and no more than otherwise: three times as much, and
    streets off the map pass for that place."""
    move_spacings: float = 0.5
    """The belief moves after this distance, in multiples of the map's spacing."""
    fastest: float = 40.0
    """Metres per second, largest speed without odometry."""
    lately: float = 0.2
    """Share of an image's speed in the running mean, for images that show nothing."""
    lapse: float = 3.0
    """Multiples of the usual time between images, after which images were missed. The seconds beyond it"""
    lapse_s: float = 2.0
    """forget 63 % of what the images before said, each time so many, without odometry"""
    shortest_s: float = 0.001
    """Least seconds between two images of a camera that are two."""
    lapse_kept: float = 0.15
    """and if less than this share of the last view is still seen. Views 5 m apart keep 0.46 on simulated streets."""
    longest: float = 2.0
    """Largest motion without odometry, in multiples of the estimated distance."""
    ahead_spread: float = 0.3
    """Standard deviation of the motion ahead, without odometry, as a fraction of the estimated distance,"""
    ahead_spacings: float = 0.5
    """plus this many of the map's spacings."""
    unknown_turn: float = np.radians(120.0)
    """Radians, turn without odometry that a whole change of the view allows."""
    sideways: float = 0.03
    """Probability density of motion in any direction, relative to that of the motion ahead."""
    carried: float = 0.2
    """Probability that the robot was carried, or an image lied, for a whole change of view without motion."""
    seen_spacings: float = 1.5
    """Distance up to which a place shows what a camera of a rig sees, in multiples of the map's spacing."""
    located_belief: float = 0.5
    """Least belief around a place, within this many spacings,"""
    located_spacings: float = 3.0
    """for the distance from it to be compared with what the views say."""
    silent_ns: int = 1_000_000_000
    """Nanoseconds of silence after which another camera of a rig measures the motion without odometry,"""
    clearer: float = 1.0
    """or log-likelihood ratio of the best place by which its images are recognised better;"""
    clarity: float = 0.2
    """of that ratio a running mean is kept, to which each image adds this share."""
    whole_turn: float = np.radians(60.0)
    """Radians, turn after which a camera sees another view;"""
    turned: float = 0.1
    """probability of one without odometry, relative to going on."""
    unseen_m: float = 10.0
    """Largest distance that a change of view counts as, for leaving and entering the map."""
    entrance_spacings: float = 2
    """Standard deviation of the predicted pose at which the map is entered, in multiples of the map's spacing."""


@dataclass(frozen=True)
class ViewChangeConstants:
    """How much the view has changed (``view_change``), and how evidence counts by it (``temporal``). All by hand."""

    same_view: float = 0.95
    """Share of the view above which an image shows the same view again."""
    stuck_spacings: float = 2.0
    """Distance by odometry over which a view cannot stay the same, in multiples of the map's spacing;"""
    stuck_m: tuple[float, float] = (2.0, 5.0)
    """its bounds, metres. On the real recordings no two frames show the same view."""
    stuck_s: float = 2.0
    """Seconds that this takes at least: cameras repeat an image or two."""
    heard_ns: int = 10_000_000_000
    """Nanoseconds since another camera's last image, up to which it corrects what one that hangs has said."""
    stuck_slowest: float = 0.1
    """Metres a second, up to which a standing robot's odometry drifts."""
    largest_elsewhere: float = 0.95
    """Largest cosine that places far apart are taken to have."""
    neighbour_kept: float = 0.5
    """Share of the view that neighbouring places have in common, for a map without neighbours."""
    window: int = 11
    """Places, over which the change of the view along a map is averaged."""
    rate_range: float = 3.0
    """Most that the view changes faster or slower than is typical of the map."""
    roughness: float = 1.0
    """Exponent of the distance in the view's change, for maps whose places are too far apart to show it. On simulated
    roads it is 0.74, from half a metre to twenty, in the real corridor 1.0, at Gardens Point 0.7. Too small a one takes
    small steps for none, and the belief stays behind;"""
    roughness_range: tuple[float, float] = (0.5, 1.0)
    """smallest and largest one that is taken from a map, from places up to ``STATISTICS.later`` apart"""
    rough_kept: float = 0.1
    """that keep at least this share of the view."""
    speed_places: float = 20.0
    """Places passed, after which a speed that is set is compared with the change of the view,"""
    speed_factor: float = 3.0
    """and the factor between them from which on the user is warned."""
    scale_places: float = 5.0
    """Places passed, after which the distance between places is compared with that of the views,"""
    scale_share: float = 0.3
    """the share by which their ratio then enters the running mean,"""
    largest_scale: float = 2.0
    """and the largest ratio, or smallest inverse, that is believed."""
    least_kept: float = 0.02
    """Smallest share that a distance is taken from: less is another view, however far away."""
    most_kept: float = 0.98
    """Largest share of neighbouring places, so that a map of equal places has a scale."""
    confirming: float = 12.0
    """Power of the share that a view keeps of the last one, as which the last one's images count as images of this
    one. With 6, steps of a metre confirm each other, and streets off the map pass for mapped ones; with 20, noise by
    night keeps a robot that stands from being recognised."""
    single_image: float = 0.5
    """Part of a view's evidence that its first image gives; the rest comes with further images of it."""


@dataclass(frozen=True)
class ObservationConstants:
    """The evidence of an image (``observation``). By hand."""

    outlier: float = 0.05
    """Share of the images at a place that do not show it: a bus drives past, the sun blinds the camera."""


@dataclass(frozen=True)
class NearConstants:
    """When a search of the places near a prior or the belief is enough (``localizer``). By ``benchmarks/city.py``."""

    places: int = 100_000
    """Places of a map from which on the whole of it is not searched for each image;"""
    belief: float = 0.9
    """least belief in the places that are compared, for a map searched near its belief,"""
    evidence: float = 3.0
    """and least log-likelihood ratio of the best of them against "not on this map"."""
    candidates: int = 80
    """Places that are fetched from its index at least, and compared exactly. More find the very best place more often
    (0.93 instead of 0.88 with 200, of a million), and the right one as often."""
    every: int = 10
    """One image in so many is searched everywhere all the same: a belief or a prior may be wrong, and look right."""


@dataclass(frozen=True)
class PriorConstants:
    """Positions by other sources (``prior``). All by hand."""

    spacings: float = 0.5
    """Standard deviation of the camera's distance from the place that shows its view, in multiples of the spacing."""
    margin_m: float = 50.0
    """Metres around the map's places in which a wrong prior may lie."""
    heading: float = np.radians(20.0)
    """Radians, standard deviation between the headings of a camera and of the place that shows its view."""
    turned: float = 4.0
    """Largest evidence of a heading against a place."""
    most_compared: int = 200
    """Places near a prior that are compared exactly."""
    sigmas: float = 5.0
    """Standard deviations beyond which a prior says of all places of a large map that it is wrong."""


@dataclass(frozen=True)
class ClusterConstants:
    """Belief to hypotheses (``hypotheses``). All by hand."""

    heading: float = np.radians(60.0)
    """Radians, largest difference of heading between places of one hypothesis."""
    spacings: float = 5.0
    """Radius of a hypothesis in multiples of the distance of the places there, unless the parameter is set,"""
    largest_m: float = 25.0
    """and at most this many metres: within it a pose counts as right in place recognition."""
    clusters: int = 20
    """Clusters formed: the probabilities of the first few depend on the next ones."""
    smallest_belief: float = 1e-3
    """Belief below this belongs to no cluster."""


@dataclass(frozen=True)
class MetricConstants:
    """Metric pose of the best hypothesis (``metric``)."""

    least_probability: float = 0.9
    """A less probable hypothesis is not measured: a wrong place may have a dozen features in common. Chosen on 9304,
    whose detour passes such places with 0.6 and 0.7."""
    places: int = 2
    """Places that an image is compared with, chosen from 1, 2 and 3 on 9301,"""
    tried: int = 10
    """among this many, as not all may have local features. By hand."""
    cached: int = 500
    """Places whose features are kept in memory, 0.07 MB each. By hand."""
    fading: float = 2.0
    """Factor of the last measured covariance: errors of successive measurements are alike, so that they must not be
    averaged as if they were independent. By hand; 4 is no better on 9301."""
    floor_m: float = 0.02
    """Metres, error of odometry between two images. By hand."""
    floor_rad: float = 0.002
    """Radians, the same of its rotation. By hand."""
    turn_per_m: float = 0.002
    """Radians per metre, standard deviation of odometry's heading. By hand."""
    contradiction: float = 25.0
    """Squared Mahalanobis distance, of 6 dimensions, beyond which hypothesis and last measured pose disagree.
    By hand."""


@dataclass(frozen=True)
class ThumbnailConstants:
    """Re-ranking by local features of thumbnails (``thumbnails``).

    Features and geometry were chosen among about 100 variants on Gardens Point and Stromovka. ``trust`` and the two
    after it are fitted on 24 drives through simulated towns and corridors of equal doors, each described well and
    badly. Of those that cost no set more than two images in a hundred and gain as much as the best less a tenth of a
    point, they lose least. See the sections on the closer look in ``docs/results.md`` and ``docs/tried.md``.
    """

    cached: int = 500
    """Places whose features are kept in memory, 0.05 to 0.3 MB each. By hand."""
    side_px: int = 320
    """Pixels, longer side of the image that features are found in. Thumbnails hold no more."""
    features: int = 500
    """Features kept of each image."""
    least_cosine: float = 0.82
    """Least cosine of two XFeat descriptors that match. The XFeat authors' value."""
    least_matches: int = 8
    """Matches that a fundamental matrix needs."""
    longer_px: float = 640.0
    """Pixels that the longer side is scaled to, for the geometry alone: OpenCV's search fails in large units."""
    inlier_px: float = 4.0
    """Largest error of an inlier in these pixels."""
    confidence: float = 0.99
    """Of OpenCV's search."""
    iterations: int = 500
    """Of OpenCV's search."""
    trust: float = 0.8
    """Standard scores of the search that a candidate gains for each spread that its count stands out by,"""
    smallest_spread: float = 0.2
    """of logarithms of counts, at least,"""
    chance: float = 5.0
    """after this many inliers were added to each count: small counts differ by chance."""
    sure: float = 2.5
    """Standard scores between the first candidate and the one after ``sure_rank`` others from which on nothing is
    looked at. On the same drives it spares 43 % of the images (on roads by day 80 %) and costs 0.0005 of the recall."""
    sure_rank: int = 9
    """The first places are often neighbours, as good as each other. By hand."""


@dataclass(frozen=True, eq=False)
class CalibrationGrid:
    """Values that ``calibrator`` tries, and limits of its result. All by hand."""

    slopes: np.ndarray = field(default_factory=lambda: np.geomspace(0.25, 12.0, 32))
    """``Calibration.slope``."""
    off_map_scores: np.ndarray = field(default_factory=lambda: np.linspace(1.0, 14.0, 66))
    """``Calibration.off_map_score``."""
    z_weights: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    """``Calibration.z_weight``."""
    similarity_weights: tuple[float, ...] = (10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 65.0)
    """``Calibration.similarity_weight``."""
    thresholds: np.ndarray = field(default_factory=lambda: np.linspace(2.0, 25.0, 93))
    """``Calibration.threshold``."""
    shifts: tuple[float, ...] = (0.5, -0.5, 1.0, -1.0, 1.5, 2.0, 3.0)
    """Changes of the default's threshold, in the order of trial;"""
    observed_shifts: tuple[float, ...] = (0.0, -1.0, -2.0, -3.0)
    """and of the threshold that fits single images best."""
    temperatures: tuple[float, ...] = (0.35, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
    """``Calibration.temperature``."""
    floors: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
    """``Calibration.floor``."""
    holes: tuple[tuple[float, float], ...] = ((0.15, 0.4), (0.6, 0.85))
    """Stretches of the drive that are hidden from the map, as fractions of the drive."""
    clearly_better: float = 0.02
    """Share of wrong answers that a fit must save, or the model's default is kept: a drive shows one condition. With
    less, a drive by day made a map with a place every 2 m so strict that it lost 5 % of the sun and the night."""
    far_better: float = 0.1
    """Share of wrong answers that a fit must save to be chosen although it misses more images off the map."""
    images_alike: float = 5.0
    """Images in a row that err together: an error of a share counts them as one."""
    few_images: int = 50
    """Images on the map, below which a calibration keeps the default's certainty and covariance, and says so."""
    least_places: int = 10
    """A map with a hole must keep more places than this."""
    least_sigma: tuple[float, ...] = (0.5, 0.5, 0.2, 0.01, 0.01, 0.02)
    """Metres and radians (forward, left, up, roll, pitch, yaw): no pose is more certain than this."""


FILTER = FilterConstants()
VIEW_CHANGE = ViewChangeConstants()
NEAR = NearConstants()
OBSERVATION = ObservationConstants()
PRIOR = PriorConstants()
CLUSTERS = ClusterConstants()
METRIC = MetricConstants()
THUMBNAILS = ThumbnailConstants()
CALIBRATION_GRID = CalibrationGrid()
