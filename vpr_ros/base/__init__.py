"""Records, errors, geometry and files: what all layers use. Imports none of them."""
