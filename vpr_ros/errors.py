"""The errors a user can cause. Each message is one sentence that says what to do; the command line prints it alone."""


class VprError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigError(VprError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class DriveError(VprError):
    """A drive lacks a file, a column or a topic, or one of them cannot be read."""


class ImageError(VprError):
    """An image is empty, truncated or in an encoding nobody knows."""


class MapError(VprError):
    """A map is missing, corrupt, of another format or of another model."""


class ModelError(VprError):
    """A model or its manifest is missing, corrupt or does not fit what is asked of it."""


class MissingDependencyError(VprError):
    """An optional part (an extra, a ROS package) is needed and not installed."""
