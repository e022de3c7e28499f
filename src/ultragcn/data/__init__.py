"""Interactions: what they are, how they are read, split, made up and fetched."""
