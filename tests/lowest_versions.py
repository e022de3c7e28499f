"""Print the lowest versions that pyproject.toml allows, a requirement a line: `make test-lowest` installs them."""

import re
import sys
import tomllib
from pathlib import Path

EXTRAS = ("torch", "tensorboard", "mlflow", "tune", "workbench", "report", "test")


def lowest(requirements: list[str]) -> list[str]:
    """Return `name==version` for each `name>=version`."""
    found = [re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(name for extra in EXTRAS for name in project["optional-dependencies"][extra])]
    sys.stdout.writelines(f"{line}\n" for line in dict.fromkeys(lowest(wanted)))
