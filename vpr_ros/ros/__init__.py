"""The ROS 2 node: convert, call the localiser, publish."""
