"""Experiments: single runs, studies of many, and their reports."""
