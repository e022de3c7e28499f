"""What an export is made of: the vectors, what ranking by them is worth, and the formats, one file a family."""
