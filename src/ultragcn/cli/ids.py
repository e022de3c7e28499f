"""Ids that are given on the command line or in a file; see `data.id_texts`."""

from ultragcn.data.id_texts import STDIN, Typed, content_of, read_ids, read_items_or_pairs, rows_of, typed

__all__ = ["STDIN", "Typed", "content_of", "read_ids", "read_items_or_pairs", "rows_of", "typed"]
