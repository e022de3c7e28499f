"""Print the lowest versions of the library's own packages that pyproject.toml allows, a requirement a line.

`make test-lowest` installs them. Extras keep the versions of requirements.txt: their lowest versions exclude each other.
"""

import re
import sys
import tomllib
from pathlib import Path


def lowest(requirements: list[str]) -> list[str]:
    """Return `name==version` for each `name>=version`."""
    found = [re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sys.stdout.writelines(f"{line}\n" for line in lowest(project["dependencies"]))
