"""Measure answers against the truth: figures, charts and a report."""
