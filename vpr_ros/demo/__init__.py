"""The demo: drives through a small town played to the real node over ROS topics, and a report."""
