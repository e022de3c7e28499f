"""Rules: which items may be listed, and how lists are chosen from them.

`rules` has the one class of rules; `named` reads rules from a file; `bound` makes rows of a model of their ids and columns; `masks` leaves
out items before the best are taken; `choosing` takes the best within limits.
"""

from ultragcn.rules.rules import Rules

__all__ = ["Rules"]
