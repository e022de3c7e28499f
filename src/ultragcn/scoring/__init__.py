"""Scoring: what a fitted model ranks by. Nothing here trains."""
