"""The executable ``localize``: the node in a process that a signal ends cleanly at any moment."""

from __future__ import annotations

from vpr_ros.ros.runtime.interrupts import run_module


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    run_module("vpr_ros.ros.localizer_node")


if __name__ == "__main__":
    main()
