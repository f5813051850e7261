"""What the node listens to: odometry, transforms, the camera's calibration, and the queue of images."""
