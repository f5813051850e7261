"""Visual place recognition and localisation for ROS 2: one camera, ranked poses, calibrated probability."""

__version__ = "0.1.0"
