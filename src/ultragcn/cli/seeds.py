"""The option --seeds, which the commands that train more than once have in common."""

import argparse


def add_argument(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", usual: str) -> None:
    """Declare the option."""
    parser.add_argument(
        "--seeds",
        metavar="LIST|N",
        help=f"0,1,2 means these seeds; 3 means three seeds, 0,1,2; 3, with a comma means the seed 3 (default: {usual})",
    )


def seeds_of(text: str) -> list[int]:
    """Return the seeds that `text` says, as a study file does: a list of them, or how many; 0 alone is a seed.

    Raises
    ------
    UsageError
        Something in the list is not a seed.
    """
    from ultragcn.errors import UsageError

    first, *rest = (word.strip() for word in text.split(","))
    words = [first] if rest == [""] else [first, *rest]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise UsageError(
            f"--seeds is a list separated by commas of whole numbers of 0 or more, such as 0,1,2, with nothing empty in it, or how many, "
            f"not {text!r}"
        )
    seeds = [int(word) for word in words]
    return list(range(seeds[0])) if not rest and seeds[0] > 0 else seeds
