"""Loop closures: the growing keyframe store, candidates, agreement."""
