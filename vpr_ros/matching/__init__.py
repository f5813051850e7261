"""Local features, two-view geometry and verification."""
