"""Records, errors, geometry and files: what every room uses. Imports nothing of the others."""
