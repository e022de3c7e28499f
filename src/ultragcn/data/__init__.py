"""Interactions: what they are, how they are read, split, made up and fetched.

The way of an interaction from a file:

1. `folders` finds the files (a folder, a zip, several files) and tells log and titles apart by their names.
2. `containers` makes each of them readable (unpacked, in UTF-8); `kinds` knows by its first bytes what it is.
3. `tables` opens it: `text` and `dialects` (separator, header), `json_lines`, `databases`, Parquet, frames; `faults` finds what is wrong.
4. `columns` and `names` choose the columns; `where` turns a condition into an expression; `rows` reads what is needed in one pass.
5. `coding` makes rows of id maps of the ids; `look` warns of what is odd; a `Log` is the result (`log`).
6. `events` makes distinct pairs of it, `split` holds some of them out, `interactions` keeps them as a sparse matrix with ids.

`load_dataset` (`datasets`) goes that way with the `options` that it is given, and adds the `titles` and the items table (`items_table`).
"""
