"""The stored map: places, index and scores; building, editing and reading it."""
