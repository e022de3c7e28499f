"""Interactions: what they are, how they are read, split, made up and fetched.

The way of an interaction: a row of a file (tables.py, or a number of a user line, user_lines.py) becomes a pair of codes with a time
(log.py), one distinct pair among the events that a split holds out or leaves (split.py), and an entry of a sparse matrix with ids and
titles (interactions.py, ids.py, titles.py). `load_dataset` (datasets.py) goes that way with the options.py it is given.
"""
