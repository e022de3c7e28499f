"""Evaluation: ranking all items, and what the ranking is worth."""
