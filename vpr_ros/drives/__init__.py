"""Readers of recordings, one file a format. Each gives frames with poses; ``open_drive`` recognises the format."""
