"""Logs that are larger than memory: Parquet is read piece by piece, and its pairs are sorted and split on the disk.

1. `size` counts the rows by the headers of the files, and decides whether a log is read so.
2. `disk` keeps columns of numbers in a scratch folder, which goes with the last object that uses it.
3. `reading` reads the rows in pieces, with the same code as the reader in memory, and codes the ids.
4. `pairs` sorts them by user, counts each pair once, takes the k-core, and makes the same pairs by item.
5. `splitting` holds pairs out, the same ones as the split in memory; `interactions` are what training is given.

Memory holds the ids, a few numbers for each of them, and a buffer. It does not grow with the rows.
"""
