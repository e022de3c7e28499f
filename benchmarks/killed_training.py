"""Training under kill -9: are the bits at the end those of a run that was left alone?

    python benchmarks/killed_training.py [KILLS]        default: 30; demo data, no files needed

Runs of both solvers, with and without refit, and of a model that learns everything in the end, are killed at random moments, from the first
import to the last file, and resumed until one lives to its end. Prints a row for each such run; ends with status 1 if one differs.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, report

from ultragcn import UltraGCN, storage

KINDS = {
    "exact": ["--embedding_dim", "64", "--epochs", "30", "--patience", "30"],
    "exact, refit": ["--embedding_dim", "64", "--epochs", "20", "--patience", "20", "--refit", "--negatives", "clusters"],
    "exact, refit, everything": ["--epochs", "20", "--patience", "20", "--refit", "--keep", "everything"],
    "sgd": ["--solver", "sgd", "--epochs", "10", "--evaluate_every", "1"],
    "sgd, refit": ["--solver", "sgd", "--epochs", "6", "--evaluate_every", "1", "--refit"],
}
WHOLE = ["history.tsv", "manifest.json", "metrics.json", "model.safetensors"]


def train(folder: Path, *words: str, kill_after: float | None = None) -> int:
    """Run the command to its end, or kill it after so many seconds; return its exit status."""
    command = [sys.executable, "-m", "ultragcn", "train", "--quiet", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()


def outcome(run: Path) -> tuple:
    """Return all that a run folder says, without what time and memory it took."""
    model = UltraGCN.load(run)
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("train_seconds", "compile_seconds", "peak_memory_mb", "kept_train_seconds"):
        metrics.pop(name, None)
    history = [[cell for name, cell in row.items() if name != "seconds"] for row in storage.read_rows(run / "history.tsv")]
    files = sorted(path.name for path in run.iterdir())
    return files, model.user_embedding_.tobytes(), model.item_embedding_.tobytes(), history, metrics


def main(kills: int) -> int:
    """Kill that often, over the kinds in turn; return 1 if an outcome is not that of the run left alone."""
    draw, done, differ = random.Random(0), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected, seconds = {}, {}
        for kind, words in KINDS.items():
            train(folder, *words, "--out", f"whole {kind}")  # once for the caches
            started = time.perf_counter()
            assert train(folder, *words, "--out", f"whole {kind}", "--overwrite") == 0
            seconds[kind] = time.perf_counter() - started
            expected[kind] = outcome(folder / f"whole {kind}")
            assert expected[kind][0] == WHOLE
        number = 0
        while done < kills:
            kind = list(KINDS)[number % len(KINDS)]
            run, status, moments, before_any_file = folder / f"run {number}", None, [], 0
            while status != 0:
                begun = (run / "manifest.json").exists()
                words = ["--resume", run.name] if begun else [*KINDS[kind], "--checkpoint_every", "1", "--out", run.name, "--overwrite"]
                # What is left of a run gets shorter, and so do the moments; five kills a run at most.
                moment = draw.uniform(0, seconds[kind]) if len(moments) < 5 and done < kills else None
                status = train(folder, *words, kill_after=moment)
                if status not in (0, -signal.SIGKILL):
                    sys.exit(f"{' '.join(words)} ended with status {status}")
                if status:
                    done += 1
                    moments.append(moment)
                    before_any_file += not (run / "manifest.json").exists()
            same = outcome(run) == expected[kind]
            differ += not same
            report("killed_training", {
                "run": number, "kind": kind, "kills": len(moments), "of which before a manifest": before_any_file,
                "seconds of the run alone": round(seconds[kind], 1), "seconds at kills": " ".join(f"{moment:.1f}" for moment in moments),
                "same": same,
            })  # fmt: skip
            number += 1
    print(f"{done} kills over {number} runs, {differ} of which ended otherwise than alone")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
