"""Localisation: search, Bayes filter over time, hypotheses, re-ranking, calibration."""
