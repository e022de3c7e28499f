"""What the command says beside its data: a line on stderr."""

import contextlib
import os
import sys

silent = False
"""Whether this process says nothing: another one speaks for it."""


def tell(sentence: object) -> None:
    """Say a sentence on stderr, with the program's name before it."""
    if sys.stderr is not None and not silent:  # closed (2>&-), or a program without a console; print would take stdout instead
        print(f"ultragcn: {sentence}", file=sys.stderr)


def fill_streams() -> None:
    """Open what leads nowhere in place of standard streams that are closed, so that no file that is opened later takes their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
