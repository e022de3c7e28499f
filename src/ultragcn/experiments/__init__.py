"""Experiments: one training run and what it leaves behind."""
