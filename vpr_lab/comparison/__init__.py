"""Networks side by side: accuracy, depth, speed and memory."""
