"""Starting, stopping and lifecycle transitions."""
