"""Write the lists of files in docs/architecture.md, benchmarks/README.md and research/README.md: each module with its first line.

python docs/tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
BENCHMARKS = ROOT / "benchmarks/README.md"
RESEARCH = ROOT / "research/README.md"
BEGIN = "<!-- made by docs/tree.py -->"

BENCHMARKS_HEAD = """# Benchmarks

These scripts measure what ultragcn does: how well it recommends, how fast it is, how much memory it takes, and what it survives. Figures of
the documentation were printed by them, or by the studies in [research/](../research/README.md). Run them from the root of the repository:

    ULTRAGCN_DATA_DIR=datasets python benchmarks/comparison.py

Each script says at its beginning which data it needs and what it prints. `make bench` runs the three that matter most.
`python docs/tree.py` writes this page from the first line of each script.

| script | what it does |
|---|---|
"""

RESEARCH_HEAD = """# Research

Each of these scripts answers a question about the model, once. Its answer decided something: a default, a term of the model, or a sentence
of the documentation. What measures every new version is in [benchmarks/](../benchmarks/README.md). Run a study from the root of the
repository:

    ULTRAGCN_DATA_DIR=datasets python research/defaults.py

Each script says at its beginning which data it needs and what it prints. `python docs/tree.py` writes this page from the first line of each
script.

| script | what it asks |
|---|---|
"""


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, without its full stop."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0].rstrip(".")


def lists() -> str:
    """Return the lists: a heading a folder, a line a file."""
    parts = []
    for folder in ("src/ultragcn", "src", "benchmarks", "research"):
        files = sorted((ROOT / folder).rglob("*.py"), key=lambda path: (path.parent.as_posix(), path.name))
        if folder == "src":
            files = [path for path in files if "ultragcn" not in path.relative_to(ROOT / "src").parts[:1]]
        for parent in dict.fromkeys(path.parent for path in files):
            lines = [f"| `{path.name}` | {first_line(path)} |" for path in files if path.parent == parent and first_line(path)]
            if lines:
                parts.append(f"### {parent.relative_to(ROOT).as_posix()}/\n\n| file | what it has |\n|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def whole(page: str) -> str:
    """Return the page with the lists made anew."""
    return page.partition(BEGIN)[0] + f"{BEGIN}\n\n{lists()}"


def scripts(page: Path, head: str) -> str:
    """Return the page on a folder of scripts: its head, which says how to run one, and a line a script."""
    lines = [f"| [{path.name}]({path.name}) | {first_line(path)} |" for path in sorted(page.parent.glob("*.py"))]
    return head + "\n".join(lines) + "\n"


PAGES = {BENCHMARKS: BENCHMARKS_HEAD, RESEARCH: RESEARCH_HEAD}
"""Pages that are made whole, and their heads."""


if __name__ == "__main__":
    for page, head in PAGES.items():
        page.write_text(scripts(page, head), encoding="utf-8")
    PAGE.write_text(whole(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
