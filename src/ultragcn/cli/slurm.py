"""A script for Slurm: an array of jobs that run one sweep together."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from ultragcn.data.options import DATA_OPTIONS
from ultragcn.machine import thread_limit
from ultragcn.storage import write_text

_NOT_PASSED_ON = ("command", "given", "run", "study", "slurm", "out", "jobs", "threads", "num_threads", "quiet")
_SCRIPT = """\
#!/bin/bash
# Jobs that share one study. How many is your choice (--array); more can join at any time.
# A job that is stopped, for its time or by another, loses only what it was running: submit this again, and it goes on.
#SBATCH --job-name={name}
#SBATCH --array=1-4
#SBATCH --cpus-per-task={cores}
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --output=%x-%A-%a.log
##SBATCH --partition=NAME
##SBATCH --account=NAME
set -euo pipefail
cd {folder}
{variables}exec {command}
"""


def write_script(arguments: argparse.Namespace, name: str, out: Path) -> None:
    """Write the script that runs `ultragcn sweep` with these arguments, in this folder, into the study's folder `out`."""
    jobs = arguments.jobs
    threads = arguments.threads or max(1, (thread_limit() or jobs) // jobs)
    command = [sys.executable, "-m", "ultragcn", "sweep", *_words(arguments)]
    command += [f"--out={out}", f"--jobs={jobs}", f"--threads={threads}", "--quiet"]
    variables = {variable: value for variable in ("ULTRAGCN_DATA_DIR", "PYTHONPATH") if (value := os.environ.get(variable))}
    text = _SCRIPT.format(
        name=shlex.quote(name), cores=jobs * threads, folder=shlex.quote(str(Path.cwd())), command=shlex.join(command),
        variables="".join(f"export {variable}={shlex.quote(value)}\n" for variable, value in variables.items()),
    )  # fmt: skip
    write_text(Path(arguments.slurm), text)


def _words(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the options as words of a command line again."""
    if arguments.study is not None:
        yield arguments.study
    for name, value in vars(arguments).items():
        if name in _NOT_PASSED_ON or value is None or value is False:
            continue
        of_data = name.removeprefix("data_")
        option = f"--{of_data if of_data in DATA_OPTIONS else name}"
        if value is True:
            yield option
        else:
            yield from (f"{option}={part}" for part in (value if isinstance(value, list) else [value]))
