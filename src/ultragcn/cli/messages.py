"""What the command says beside its data: a line on stderr."""

import sys


def tell(sentence: object) -> None:
    """Say a sentence on stderr, with the program's name before it."""
    print(f"ultragcn: {sentence}", file=sys.stderr)
