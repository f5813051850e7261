"""A town, its seasons and its cameras, rendered here and written as drives."""
