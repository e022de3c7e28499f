"""Check a release: build wheel and sdist, install the wheel in an empty environment, run the demo from it; print sizes and seconds.

    make release-check        or: python benchmarks/release.py [--keep]

The wheel is built from the sdist, so what is missing from the sdist is missing from both. The environment is made in a temporary folder
outside the checkout, and no path of the checkout is known to it. Packages come from where pip is told to get them. The seconds to install
are those of pip without its cache, so they depend on the network. --keep leaves wheel and sdist in dist/.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_SDIST = ("README.md", "README.ko.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "configs/", "src/ultragcn/")
NEVER = ("tests/", "benchmarks/", "docs/", ".venv", "__pycache__", ".so", ".nbi", ".nbc")
"""What no wheel may hold."""


def run(*command: object, folder: Path, environment: dict[str, str] | None = None) -> tuple[str, float]:
    """Run a command; return what it prints to stdout, and its seconds. A command that fails ends the check."""
    begun = time.perf_counter()
    done = subprocess.run([str(word) for word in command], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(f"release-check: this failed with status {done.returncode}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout, time.perf_counter() - begun


def check_contents(wheel: Path, sdist: Path) -> None:
    """End the check where wheel or sdist lack something, or hold what does not belong there."""
    names = zipfile.ZipFile(wheel).namelist()
    package = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/ultragcn").rglob("*.py")}
    package |= {f"ultragcn/configs/{path.relative_to(ROOT / 'configs').as_posix()}" for path in (ROOT / "configs").rglob("*.toml")}
    wrong = sorted(package - set(names))
    if wrong:
        sys.exit(f"release-check: the wheel lacks {', '.join(wrong)}; see [tool.hatch] in pyproject.toml")
    wrong = [name for name in names if not name.startswith("ultragcn") or any(part in name for part in NEVER)]
    if wrong:
        sys.exit(f"release-check: the wheel holds {', '.join(wrong)}, which does not belong there; see [tool.hatch] in pyproject.toml")
    with tarfile.open(sdist) as archive:
        inside = [name.partition("/")[2] for name in archive.getnames()]
    wrong = [name for name in IN_SDIST if not any(have == name or have.startswith(name) for have in inside)]
    if wrong:
        sys.exit(f"release-check: the sdist lacks {', '.join(wrong)}; see [tool.hatch.build.targets.sdist] in pyproject.toml")


def megabytes(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> None:
    """Build, check, install, run; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave wheel and sdist in dist/")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ultragcn-release-") as name:
        folder = Path(name)
        built = folder / "dist"
        run(sys.executable, "-m", "build", "--outdir", built, ROOT, folder=folder)
        (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
        run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, folder=folder)
        check_contents(wheel, sdist)

        # Nothing of this environment or of the checkout is known to the new one.
        unknown = ("PYTHONPATH", "VIRTUAL_ENV", "NUMBA_CACHE_DIR", "ULTRAGCN_DATA_DIR", "PYTHONHOME")
        environment = {key: value for key, value in os.environ.items() if key not in unknown} | {"PYTHONNOUSERSITE": "1"}
        run(sys.executable, "-m", "venv", folder / "env", folder=folder)
        python, command = folder / "env/bin/python", folder / "env/bin/ultragcn"
        where, _ = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder, environment=environment)
        site = Path(where.strip())
        empty = megabytes(site)
        pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--no-compile", wheel)
        _, installing = run(*pip, folder=folder, environment=environment)
        core = megabytes(site) - empty
        run(python, "-m", "pip", "check", folder=folder, environment=environment)
        where, _ = run(python, "-c", "import ultragcn; print(ultragcn.__file__)", folder=folder, environment=environment)
        if not Path(where.strip()).resolve().is_relative_to(folder.resolve()):
            sys.exit(f"release-check: ultragcn was imported from {where.strip()}, not from the new environment")
        package = megabytes(site / "ultragcn")

        train = (command, "train", "--dataset", "demo", "--seed", "0", "--out")
        trained, training = run(*train, "runs/demo", folder=folder, environment=environment)
        recall = float(next(line for line in trained.splitlines() if line.startswith("test\trecall@20")).split("\t")[2])
        if not 0.45 < recall < 0.5757:
            sys.exit(f"release-check: the demo reaches a Recall@20 of {recall} on test; between .45 and .5757 was to be expected")
        ask = (command, "recommend", "runs/demo", "--users", "user-0001", "user-0002", "user-0003", "--top_k", "5")
        lists, first = run(*ask, folder=folder, environment=environment)
        again, second = run(*ask, folder=folder, environment=environment)
        if len(lists.splitlines()) != 16 or lists != again:
            sys.exit(f"release-check: 3 lists of 5 items were to be expected twice, these came:\n{lists}\n{again}")
        _, once_more = run(*train, "runs/again", folder=folder, environment=environment)
        largest = sorted(((megabytes(part), part.name) for part in site.iterdir() if part.is_dir()), reverse=True)[:5]
        rows = [
            (f"{wheel.name}, MB", wheel.stat().st_size / 1e6), (f"{sdist.name}, MB", sdist.stat().st_size / 1e6),
            ("ultragcn, installed, MB", package), ("the core with all that it needs, installed, MB", core),
            *((f"of that {part}, MB", size) for size, part in largest),
            ("seconds to install, without pip's cache", installing),
            ("seconds from there to the first recommendation, with compiling and training", training + first),
            ("seconds to train the demo once more", once_more), ("seconds to recommend once more", second),
            ("Recall@20 of the demo on test", recall),
        ]  # fmt: skip
        print(f"| Python {sys.version.split()[0]} | |\n|---|---|")
        for what, value in rows:
            print(f"| {what} | {value:.3g} |")
        if arguments.keep:
            (ROOT / "dist").mkdir(exist_ok=True)
            for path in (wheel, sdist):
                shutil.copy2(path, ROOT / "dist" / path.name)


if __name__ == "__main__":
    main()
