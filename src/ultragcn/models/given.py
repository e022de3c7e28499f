"""What a model is fitted to: interactions, or anything that they can be read from."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ultragcn.data.datasets import Dataset
from ultragcn.data.had import had_beside
from ultragcn.data.interactions import Interactions
from ultragcn.data.items_table import ItemsTable
from ultragcn.data.options import DataOptions
from ultragcn.data.reading import read_rated, read_together, reading_of
from ultragcn.data.sources import dataset_names
from ultragcn.errors import UsageError


class Given(NamedTuple):
    """What `fit` was given, as interactions over the same ids."""

    train: Interactions
    valid: Interactions | None
    select_on: Interactions | None
    item_titles: np.ndarray | None = None
    log: Interactions | None = None
    """All pairs of a log of one's own, from which train, validation and test were made."""
    items_table: ItemsTable | None = None
    had: Interactions | None = None
    """What users had besides the pairs to train and to choose on, as a model for use knows it; None where nothing is known."""
    had_beside_log: Interactions | None = None
    """What users had besides the pairs in `log`."""
    reading: Mapping[str, Any] = MappingProxyType({})
    """How the log was read (`reading.reading_of`)."""

    @property
    def everything(self) -> Interactions:
        """All pairs that a model may learn when nothing is left to choose."""
        if self.log is not None:
            return self.log
        return self.train if self.valid is None else self.train.union(self.valid)


def given(data: Any, valid: Any = None, select_on: Any = None, **reading: Any) -> Given:
    """Return the interactions in what `fit` was given.

    Parameters
    ----------
    data : Dataset, Interactions, frame, str, Path or sparse matrix
        A `Dataset` has its own validation pairs. Under the protocol `authors` it has none, and choices are made on test, which is what
        that protocol does.
    valid, select_on : Interactions, frame, str, Path or sparse matrix, optional
    **reading
        How files, frames and matrices are read: `reading.READING`.

    Raises
    ------
    UsageError
        Something that cannot be fitted to, or things that contradict each other.
    DataError
        The source cannot be read. The message names the row.
    """
    reading = {name: value for name, value in reading.items() if value is not None}
    if isinstance(data, Dataset):
        if valid is not None:
            raise UsageError("a data set brings its own validation pairs; drop valid, or give data.train as the first argument")
        on_test = data.test if data.protocol == "authors" else None
        _refuse_reading(reading, "a data set")
        log = data.everything if data.one_log and data.known_as is None else None
        # A model that is to be measured knows train alone.
        had, had_beside_log = None if len(data.test) else data.had, None if log is None else data.had
        return Given(
            data.train, data.valid, select_on if select_on is not None else on_test, data.item_titles, log, data.items_table, had,
            had_beside_log, reading_of(data.options),
        )  # fmt: skip
    parts = [data, valid, select_on]
    for part in parts:
        if isinstance(part, Dataset):
            raise UsageError("fit takes held-out pairs, such as data.valid, not a whole Dataset; or give the data set alone: fit(data)")
        if isinstance(part, str) and part in dataset_names() and not Path(part).exists():
            raise UsageError(f"{part!r} is the name of a data set, not a file; give load_dataset({part!r})")
    present = [data, *(part for part in (valid, select_on) if part is not None)]
    if all(isinstance(part, Interactions) for part in present):
        _refuse_reading(reading, "interactions")
    elif any(isinstance(part, Interactions) for part in present):
        raise UsageError("fit takes train and held-out pairs in one form: give all of them as interactions, or none")
    else:
        options = DataOptions().replace(**reading)
        found = iter([read_rated(data, options)] if len(present) == 1 else read_together(present, **reading))
        train, *others = next(found), *(None if part is None else next(found) for part in (valid, select_on))
        held_out, chosen_on = (None if part is None else part.liked for part in others)
        had = had_beside([train.had, None if others[0] is None else others[0].had], train.liked, held_out)
        return Given(train.liked, held_out, chosen_on, had=had, reading=reading_of(options))
    return Given(*parts)


def _refuse_reading(reading: dict[str, Any], what: str) -> None:
    if reading:
        raise UsageError(f"{next(iter(reading))} says how to read files, frames and matrices, and {what} is read already; leave it out")
