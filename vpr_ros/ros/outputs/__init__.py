"""Answers with what adapters need, and records as messages."""
