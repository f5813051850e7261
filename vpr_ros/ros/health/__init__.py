"""Counters, conditions and diagnostics."""
