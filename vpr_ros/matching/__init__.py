"""Matching of two images: local features, two-view geometry and verification."""
