"""Where frames with poses come from. Every kind of drive yields DriveFrame records; ``open_drive`` finds the kind."""
