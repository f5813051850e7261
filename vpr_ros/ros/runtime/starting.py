"""Initialises ROS; explains a failure in one sentence."""

from __future__ import annotations

import re
import sys

import rclpy
import rclpy.utilities
from rclpy.signals import SignalHandlerOptions

# Pattern of rcl's message -> what to do.
_ADVICE = {
    "log(ging)? directory": "ROS writes its log there: set HOME, or set ROS_LOG_DIR to a writable folder",
    "Sequence should be of same type": "write a list of all floats or all integers, not both",
    "params file": "give --params-file a readable YAML file",
    "log level": "use debug, info, warn, error or fatal",
    "ROS_DOMAIN_ID": "set ROS_DOMAIN_ID to a number from 0 to 101, or unset it",
}


def init(program: str, signals: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Call rclpy.init; exit with one sentence if it fails, or if arguments are not ROS's.

    program: name for it. signals: at which rclpy ends all communication at once.
    """
    usage = f"{program} --ros-args -p NAME:=VALUE ... (a parameter), -r NAME:=NAME ... (a topic)"
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"usage: {usage}")
        sys.exit(0)
    try:
        strange = [argument for argument in rclpy.utilities.remove_ros_args(sys.argv)[1:] if argument]
    except Exception:  # rclpy.init says what is wrong with them
        strange = []
    if strange:
        sys.exit(f"{program}: {strange[0]} is no argument of ROS; usage: {usage}")
    try:
        rclpy.init(signal_handler_options=signals)
    except Exception as error:  # rcl's errors have no public base class
        sys.exit(f"{program}: {explain(error)}")


def explain(error: Exception) -> str:
    """The error without locations in rcl's source, and what to do."""
    message = re.sub(r", at /\S+:\d+", "", str(error)).splitlines()[0]
    advice = next((advice for cause, advice in _ADVICE.items() if re.search(cause, message)), "check the --ros-args")
    return f"{message}; {advice}"
