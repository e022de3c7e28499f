"""The place where compiled kernels are kept: one that works for everybody.

Numba keeps them in NUMBA_CACHE_DIR, else beside the package, else in the user's own folder of caches, and raises when it can write to none
of these: a user without a home, in a container whose package is read-only. Then they are kept in a temporary folder, which is said once.
Kernels that were compiled into an image lie beside the package (or in NUMBA_CACHE_DIR), where another user may only read them: they are
copied to where this user can write.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

import numba

_BESIDE = Path(__file__).parent / "__pycache__"


def choose_place() -> bool:
    """Let Numba keep kernels in a folder that can be written to; return whether there is one.

    Nothing changes where Numba finds one by itself.
    """
    config = numba.config
    given = Path(config.CACHE_DIR) / _subfolder() if config.CACHE_DIR else None  # type: ignore[attr-defined]
    candidates = [given] if given is not None else [_BESIDE, _of_user()]
    for number, place in enumerate(candidates):
        if place is not None and _can_write(place):
            if number:
                _copy(_BESIDE, place)
            return True
    unusable = (
        "NUMBA_CACHE_DIR cannot be written to" if given is not None else "neither the package's folder nor the user's can be written to"
    )
    temporary = _temporary()
    if temporary is None:
        warnings.warn(
            f"compiled kernels cannot be kept: {unusable}, nor can the folder of temporary files; every process compiles them anew",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    config.CACHE_DIR = str(temporary)  # type: ignore[attr-defined]
    found = _copy(given or _BESIDE, temporary / _subfolder())
    if not found:
        warnings.warn(
            f"compiled kernels are kept in {temporary}, which may not last: {unusable}; set NUMBA_CACHE_DIR to a folder that can be",
            RuntimeWarning,
            stacklevel=2,
        )
    return True


def _subfolder() -> str:
    """Return the folder, in one for several packages, where Numba keeps what is compiled from the modules here."""
    from numba.core import caching

    name: str = caching._CacheLocator.get_suitable_cache_subpath(__file__)
    return name


def _of_user() -> Path | None:
    """Return the folder of caches of the user; None where there is none to be found."""
    with contextlib.suppress(ImportError, OSError, RuntimeError, KeyError):
        from numba.misc.appdirs import AppDirs

        return Path(AppDirs(appname="numba", appauthor=False).user_cache_dir) / _subfolder()
    return None


def _temporary() -> Path | None:
    """Return a folder for temporary files that belongs to this user alone: what is kept there is run."""
    try:
        place = Path(tempfile.gettempdir()) / f"ultragcn-kernels-{os.getuid() if hasattr(os, 'getuid') else 'own'}"
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        ours = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
        if not ours or not stat.S_ISDIR(found.st_mode) or not _can_write(place):
            place = Path(tempfile.mkdtemp(prefix="ultragcn-kernels-"))
    except OSError:
        return None
    return place


def _can_write(place: Path) -> bool:
    """Return whether files can be made in a folder, which is made if need be."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path) -> bool:
    """Copy compiled kernels that can be read but not written to; return whether there are any."""
    try:
        files = [path for path in source.iterdir() if path.suffix in (".nbi", ".nbc")]
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(files, key=lambda path: path.suffix):  # .nbc before the .nbi that lead to them
            if not (target / path.name).exists():
                part = target / f".{path.name}.{os.getpid()}"
                shutil.copyfile(path, part)
                os.replace(part, target / path.name)
    except OSError:
        return False
    return bool(files)
