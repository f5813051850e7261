"""What the node does with an image: localise it on a map, or grow a map."""
