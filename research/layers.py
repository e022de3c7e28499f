"""Print the floors of the library as a table: modules, lines, and imports between floors.

    python research/layers.py

The floors are the first contract of import-linter in pyproject.toml; the imports are read by grimp, which import-linter brings.
`down` counts imports of floors below, `level` those of another package on the same floor, `up` those of floors above.
"""

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]


def floors() -> list[list[str]]:
    """Return the packages of each floor, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return [[name.strip() for name in layer.split("|")] for layer in contracts[0]["layers"]]


def main() -> None:
    """Print the table, the ground floor last."""
    graph, house = grimp.build_graph("ultragcn"), floors()
    floor_of = {package: number for number, layer in enumerate(reversed(house)) for package in layer}

    def package_of(module: str) -> str | None:
        return next((package for package in floor_of if module == package or module.startswith(f"{package}.")), None)

    print("| floor | packages | modules | lines | down | level | up |\n|---|---|---|---|---|---|---|")
    for layer in house:
        modules = [module for module in graph.modules if package_of(module) in layer]
        files = [ROOT / "src" / Path(*module.split(".")) for module in modules]
        paths = [path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py" for path in files]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        ways = {"down": 0, "level": 0, "up": 0}
        for module in modules:
            own = package_of(module)
            for imported in graph.find_modules_directly_imported_by(module):
                other = package_of(imported)
                if own is not None and other is not None and other != own:
                    difference = floor_of[other] - floor_of[own]
                    ways["down" if difference < 0 else "up" if difference > 0 else "level"] += 1
        names = ", ".join(name.removeprefix("ultragcn.") for name in layer)
        print(f"| {floor_of[layer[0]]} | {names} | {len(modules)} | {lines} | {ways['down']} | {ways['level']} | {ways['up']} |")


if __name__ == "__main__":
    main()
