"""Loop closing: a map that grows keyframe by keyframe, candidates, verification and agreement."""
