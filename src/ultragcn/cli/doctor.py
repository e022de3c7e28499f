"""Say what there is here to compute with: versions, cores, memory, BLAS, compiled kernels, GPU, optional packages."""

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from ultragcn.cli.messages import tell

_NEEDED = ("numpy", "scipy", "numba", "polars", "safetensors", "threadpoolctl", "tqdm")
_OPTIONAL = {
    "torch": "solver sgd and LightGCN", "matplotlib": "plots and ultragcn report", "optuna": "sweeps with sampler tpe",
    "tensorboard": "--track tensorboard", "mlflow-skinny": "--track mlflow",
}  # fmt: skip
"""Optional packages -> what needs them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder in which data sets are searched (default: $ULTRAGCN_DATA_DIR or datasets)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile all kernels first, for example into a container image; nothing is trained"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, not lines of TSV")


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn doctor`."""
    if arguments.compile:
        from ultragcn.models.compiling import compile_all

        tell(f"all kernels were compiled, or loaded from the cache, in {compile_all():.1f} s")
    found, advice = _examined(arguments.data_dir)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name}\t{_in_words(value)}")
    for sentence in advice:
        tell(sentence)
    return 0


def _examined(data_dir: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return what there is, by name, and what could be better, a sentence each."""
    import ultragcn
    from ultragcn.data.sources import data_folder
    from ultragcn.machine import cpu_quota, free_memory, num_cores

    folder, free, quota = data_folder(data_dir), free_memory(), cpu_quota()
    found: dict[str, Any] = {
        "ultragcn": ultragcn.__version__,
        "installed_in": str(Path(ultragcn.__file__).parent),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores_allowed": num_cores(),
        "cores_present": os.cpu_count(),
        "cpu_quota": None if quota is None else round(quota, 2),
        "memory_free_gb": None if free is None else round(free / 1e9, 1),
        "data_folder": str(folder.resolve()),
        "data_folder_present": folder.is_dir(),
    }
    found |= {name: _version(name) for name in _NEEDED}
    kernels, advice = _kernels()
    found |= kernels
    found |= {name: _version(name) for name in _OPTIONAL}
    gpus, more_advice = _gpus()
    found["gpus"] = gpus
    lacking = [f"{name} ({use})" for name, use in _OPTIONAL.items() if found[name] is None]
    return found, advice + more_advice + ([f"not installed, and needed for some things only: {', '.join(lacking)}"] if lacking else [])


def _kernels() -> tuple[dict[str, Any], list[str]]:
    """Return what Numba and BLAS have here, and what could be better."""
    try:
        from ultragcn.kernels.numba_cpu.about import describe

        about = describe()
    except (ImportError, RuntimeError, OSError) as error:  # a package that does not load, or no place for the cache
        return {"kernels": "cannot be loaded"}, [f"the kernels cannot be loaded: {' '.join(str(error).split())}"]
    advice = []
    if not about["cache_writable"]:
        advice.append(
            f"compiled kernels cannot be kept in {about['cache']}, so every process compiles them; set NUMBA_CACHE_DIR to a "
            "folder that can be written to"
        )
    elif not about["cache_files"]:
        advice.append("no kernel is compiled yet; ultragcn doctor --compile does it now, else the first training does, for about a minute")
    return {
        "blas": [f"{name} {version}, {threads} threads" for name, version, threads in about["blas"]],
        "kernel_threads": about["threads"],
        "numba_threading_layer": "none: kernels start threads of their own",
        "kernel_cache": about["cache"],
        "kernel_cache_writable": about["cache_writable"],
        "kernels_compiled": about["cache_files"],
        "kernel_cache_mb": about["cache_mb"],
    }, advice


def _gpus() -> tuple[list[str], list[str]]:
    """Return the names of the GPUs that PyTorch can use, and what could be better."""
    if _version("torch") is None:
        return [], []
    try:
        from ultragcn.kernels.torch_ops import gpu_names

        return gpu_names(), []
    except (ImportError, RuntimeError, OSError) as error:
        return [], [f"PyTorch is installed and cannot be loaded: {' '.join(str(error).split())}"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
