"""What kernels have here: threads, BLAS, and the folder where compiled ones are kept."""

import os
from pathlib import Path
from typing import Any

from ultragcn.kernels.numba_cpu import cache_folder
from ultragcn.kernels.numba_cpu.threads import blas_libraries, num_threads


def describe() -> dict[str, Any]:
    """Return, by name: `threads`, `cache`, `cache_files`, `cache_mb`, `cache_writable` and `blas`.

    Nothing is compiled and no thread is started. `cache_files` are the compiled kernels of one folder; `blas` is a list of (library,
    version, threads).
    """
    where = cache_folder()
    if where is None:
        return {
            "threads": num_threads(),
            "cache": "nowhere",
            "cache_files": 0,
            "cache_mb": 0.0,
            "cache_writable": False,
            "blas": blas_libraries(),
        }
    folder = where
    files = list(folder.glob("*.nbc")) if folder.is_dir() else []
    return {
        "threads": num_threads(),
        "cache": str(folder),
        "cache_files": len(files),
        "cache_mb": round(sum(file.stat().st_size for file in files) / 2**20, 1),
        "cache_writable": _can_write(folder),
        "blas": blas_libraries(),
    }


def _can_write(folder: Path) -> bool:
    """Return whether files can be made in a folder, or, where it is not there yet, in the nearest one above it."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
