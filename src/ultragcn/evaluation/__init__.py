"""Evaluation: what the rankings of a model are worth."""
