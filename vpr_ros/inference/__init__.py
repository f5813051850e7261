"""Running a shipped network on the robot, without torch."""
