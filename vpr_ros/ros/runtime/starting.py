"""Initialising ROS, and a sentence where that fails."""

from __future__ import annotations

import re
import sys

import rclpy

# What rcl says -> what to do about it.
_ADVICE = {
    "log(ging)? directory": "ROS keeps its log there: set HOME, or ROS_LOG_DIR to a folder that can be written",
    "Sequence should be of same type": "a list is all 1.0 or all 1",
    "params file": "give --params-file a YAML file that can be read",
    "log level": "it is debug, info, warn, error or fatal",
    "ROS_DOMAIN_ID": "set ROS_DOMAIN_ID to a number from 0 to 101, or unset it",
}


def init(program: str) -> None:
    """rclpy.init; ends the program with a sentence if it fails. program: its name, for that."""
    try:
        rclpy.init()
    except Exception as error:  # rcl's own errors share no public root
        sys.exit(f"{program}: {explain(error)}")


def explain(error: Exception) -> str:
    """What went wrong, without the places in rcl's source, and what to do."""
    said = re.sub(r", at /\S+:\d+", "", str(error)).splitlines()[0]
    advice = next((advice for cause, advice in _ADVICE.items() if re.search(cause, said)), "check the --ros-args")
    return f"{said}; {advice}"
