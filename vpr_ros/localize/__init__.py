"""One image in, ranked poses out: search, filter over time, hypotheses, re-ranking, calibration."""
