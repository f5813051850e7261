"""Answers as adapters take them, and conversions to messages."""
