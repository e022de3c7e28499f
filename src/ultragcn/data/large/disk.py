"""A scratch folder, and columns of numbers in it."""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ultragcn import storage
from ultragcn.errors import UltraGCNError, UsageError

_NAME = "ultragcn-log"
_LEFT = 256 << 20
"""Bytes that are to be left free on the disk."""


class Scratch:
    """A folder of temporary files. It is removed when nothing uses it any more, and when the process ends or is interrupted.

    What a killed process left is removed when the next scratch folder is made in the same place.

    Parameters
    ----------
    place : Path, optional
        The folder that it is made in; by default the system's folder for temporary files.
    needed : int
        Bytes that will be written.

    Raises
    ------
    UsageError
        The place cannot be written to, or has too little space.
    """

    def __init__(self, place: Path | None, needed: int):
        place = Path(tempfile.gettempdir()) if place is None else place
        stack = contextlib.ExitStack()
        self.folder = stack.enter_context(storage.scratch_folder(place / _NAME))
        self._remove = weakref.finalize(self, stack.close)
        self._count = 0
        self._ones: Column | None = None
        free = shutil.disk_usage(self.folder).free
        if needed + _LEFT > free:
            self.close()
            raise UsageError(
                f"reading this log on disk needs about {(needed + _LEFT) / 1e9:.1f} GB in {place}, but {free / 1e9:.1f} GB are free; "
                "free some space, or give another folder with --scratch DIR (scratch=)"
            )

    def close(self) -> None:
        """Remove the folder."""
        self._remove()

    def column(self, dtype: type[np.generic] | np.dtype, length: int = 0) -> "Column":
        """Return a new column, of `length` numbers that are still to be written."""
        self._count += 1
        return Column(self, self.folder / f"{self._count}.bin", np.dtype(dtype), length)

    def ones(self, length: int) -> np.ndarray:
        """Return so many float32 ones, mapped to a file that all matrices in the folder share."""
        if self._ones is None:
            self._ones = self.column(np.float32)
        while len(self._ones) < length:
            self._ones.append(np.ones(min(1 << 20, length - len(self._ones)), np.float32))
        return self._ones.mapped()[:length]


@contextlib.contextmanager
def on_disk(scratch: Scratch) -> Iterator[None]:
    """Turn what the system says of a disk into one sentence."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise UltraGCNError(
            f"cannot write to {scratch.folder.parent}: {why}; free some space, or give another folder with --scratch DIR (scratch=)"
        ) from error


class Column:
    """Numbers of one kind in a file, as bytes without a header. `Scratch.column` makes one."""

    def __init__(self, scratch: Scratch, path: Path, dtype: np.dtype, length: int):
        self.scratch, self.path, self.dtype = scratch, path, dtype
        self._length = length
        with on_disk(scratch), open(path, "wb") as file:
            file.truncate(length * dtype.itemsize)

    def __len__(self) -> int:
        return self._length

    def append(self, numbers: np.ndarray) -> None:
        """Write numbers behind the last one."""
        self.write(self._length, numbers)
        self._length += len(numbers)

    def write(self, start: int, numbers: np.ndarray) -> None:
        """Write numbers in the place of those from `start` on."""
        with on_disk(self.scratch):
            self._put(start, np.ascontiguousarray(numbers, self.dtype))

    def _put(self, start: int, numbers: np.ndarray) -> None:
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(start * self.dtype.itemsize)
            left = memoryview(numbers).cast("B")
            while len(left):
                left = left[file.write(left) or 0 :]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the numbers from `start` to `stop`, in memory."""
        numbers = np.empty(stop - start, self.dtype)
        left = memoryview(numbers).cast("B")
        with on_disk(self.scratch), open(self.path, "rb", buffering=0) as file:
            file.seek(start * self.dtype.itemsize)
            while len(left):
                count = file.readinto(left)
                if not count:
                    raise OSError(f"{self.path.name} is cut short")
                left = left[count:]
        return numbers

    def pieces(self, most: int) -> Iterator[np.ndarray]:
        """Yield all numbers, `most` at a time."""
        for start in range(0, self._length, most):
            yield self.read(start, min(start + most, self._length))

    def mapped(self) -> np.ndarray:
        """Return the numbers as an array that the system reads from the file where it is used, and that cannot be written to."""
        if not self._length:
            return np.empty(0, self.dtype)
        return np.asarray(np.memmap(self.path, self.dtype, "r", shape=(self._length,)))

    def remove(self) -> None:
        """Remove the file; arrays that are mapped to it stay."""
        self.path.unlink(missing_ok=True)
