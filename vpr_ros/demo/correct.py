"""The executable ``pose_graph``: the example back end in a process that a signal ends cleanly at any moment."""

from __future__ import annotations

from vpr_ros.ros.runtime.interrupts import run_module


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    run_module("vpr_ros.demo.pose_graph_node")


if __name__ == "__main__":
    main()
