"""Files of settings: a table of hyper-parameters for each model."""

import tomllib
from pathlib import Path
from typing import Any

from ultragcn.errors import UsageError


def read_settings(path: str) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters that a .toml file has in a table for each model.

    Raises
    ------
    UsageError
        The file cannot be read, something in it stands outside a table, or a table is empty.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    wrong = [name for name, table in document.items() if not isinstance(table, dict)]
    if wrong:
        raise UsageError(f"{path}: {wrong[0]} stands outside a table; put it into the table of its model, such as [ease]")
    if empty := [name for name, table in document.items() if not table]:
        raise UsageError(
            f"{path}: the table [{empty[0]}] is empty, so it sets no hyper-parameter; leave the table out, or give "
            f"hyper-parameters of {empty[0]} in it"
        )
    return document
