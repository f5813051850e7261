"""Initialises ROS; explains a failure in one sentence."""

from __future__ import annotations

import re
import sys

import rclpy

# Pattern of rcl's message -> what to do.
_ADVICE = {
    "log(ging)? directory": "ROS writes its log there: set HOME, or set ROS_LOG_DIR to a writable folder",
    "Sequence should be of same type": "write a list of all floats or all integers, not both",
    "params file": "give --params-file a readable YAML file",
    "log level": "use debug, info, warn, error or fatal",
    "ROS_DOMAIN_ID": "set ROS_DOMAIN_ID to a number from 0 to 101, or unset it",
}


def init(program: str) -> None:
    """Call rclpy.init; exit with one sentence if it fails. program: name for that sentence."""
    try:
        rclpy.init()
    except Exception as error:  # rcl's errors have no public base class
        sys.exit(f"{program}: {explain(error)}")


def explain(error: Exception) -> str:
    """The error without locations in rcl's source, and what to do."""
    message = re.sub(r", at /\S+:\d+", "", str(error)).splitlines()[0]
    advice = next((advice for cause, advice in _ADVICE.items() if re.search(cause, message)), "check the --ros-args")
    return f"{message}; {advice}"
