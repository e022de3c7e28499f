"""What Numba has here: threads, the library that starts them, and the folder where compiled kernels are kept."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

from ultragcn.kernels.numba_cpu.ranking import find_hits
from ultragcn.kernels.numba_cpu.threads import blas_libraries

_LAYERS = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}


def describe() -> dict[str, Any]:
    """Return, by name: `threads`, `threading_layer`, `cache`, `cache_files`, `cache_mb`, `cache_writable` and `blas`.

    Nothing is compiled and no thread is started. The layer is the one that Numba will take, "none" where it finds none. `cache_files` are
    the compiled kernels of one folder; `blas` is a list of (library, version, threads).
    """
    folder = Path(str(find_hits.stats.cache_path))
    files = list(folder.glob("*.nbc")) if folder.is_dir() else []
    return {
        "threads": numba.get_num_threads(),
        "threading_layer": next(filter(_is_there, _layers()), "none"),
        "cache": str(folder),
        "cache_files": len(files),
        "cache_mb": round(sum(file.stat().st_size for file in files) / 2**20, 1),
        "cache_writable": _can_write(folder),
        "blas": blas_libraries(),
    }


def _layers() -> list[str]:
    """Return the layers that Numba looks for, in its order."""
    config: Any = numba.config
    wanted = str(config.THREADING_LAYER).lower()
    return [wanted] if wanted in _LAYERS else list(config.THREADING_LAYER_PRIORITY)


def _is_there(layer: str) -> bool:
    try:
        import_module(f"numba.np.ufunc.{_LAYERS[layer]}")
    except ImportError:
        return False
    return True


def _can_write(folder: Path) -> bool:
    """Return whether files can be made in a folder, or, where it is not there yet, in the nearest one above it."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
