"""The stored map, the search in it, and what a match says about the pose."""
