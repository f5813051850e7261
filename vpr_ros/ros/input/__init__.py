"""Inputs of the node: odometry, transforms, the camera's calibration, and the image queue."""
