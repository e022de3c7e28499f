"""Items by a part of their title or id, as somebody types it."""

import numpy as np

_MOST_LOOKED_AT = 20_000
"""Places of a text that are looked at for one question, so that a short text costs no more than a long one."""
_BREAK = "\n"


class Titles:
    """The titles and ids of all items as one text, those that most users have first.

    Parameters
    ----------
    ids : (I,)
        Item ids.
    titles : (I,) array of str, optional
    degrees : (I,)
        How many users have each item.

    Examples
    --------
    >>> titles = Titles(np.array([7, 8, 9]), np.array(["Amber Avenue", "Quiet River", "River"]), np.array([5, 1, 3]))
    >>> titles.find("river", 5)
    [2, 1]
    """

    def __init__(self, ids: np.ndarray, titles: np.ndarray | None, degrees: np.ndarray) -> None:
        self._rows = np.argsort(-np.asarray(degrees), kind="stable")
        lines = []
        for row in self._rows.tolist():
            title = "" if titles is None else str(titles[row])
            lines.append(_plain(f"{title}\t{ids[row]}"))
        starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
        self._text = _BREAK + _BREAK.join(lines) + _BREAK
        self._starts = starts[:-1] + 1

    def find(self, text: str, most: int) -> list[int]:
        """Return the rows of at most so many items that have `text` in their title or id; first those in which a word begins with it."""
        wanted = _plain(text).strip()
        if not wanted:
            return [int(row) for row in self._rows[:most]]
        first: list[int] = []
        others: list[int] = []
        position = -1
        for _ in range(_MOST_LOOKED_AT):
            position = self._text.find(wanted, position + 1)
            if position < 0 or len(first) >= most:
                break
            line = int(np.searchsorted(self._starts, position, side="right")) - 1
            begins = not self._text[position - 1].isalnum()
            (first if begins else others).append(line)
            position = int(self._starts[line + 1]) - 2 if line + 1 < len(self._starts) else len(self._text)
        return [int(self._rows[line]) for line in [*first, *others][:most]]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split(_BREAK))
