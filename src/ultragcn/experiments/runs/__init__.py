"""Runs: one training and the folder that it leaves behind."""
