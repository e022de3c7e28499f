"""What ranking by exported vectors is worth, as dimensions for the item graph are appended, beside the model itself.

    ultragcn train --dataset gowalla --out runs/gowalla
    python benchmarks/export.py runs/gowalla [--ranks 32 64 256] [--data_dir DIR]

Prints a table in Markdown: Recall@20 on the test pairs of the run, the share of the model's own lists of 20 that the vectors list too, and
the seconds of the whole export to Parquet, with reading back and measuring.
"""

import argparse
import tempfile
import time
from pathlib import Path

from ultragcn import evaluate, export, load_model
from ultragcn.experiments.runs.manifest import load_manifest, load_run_data


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[32, 64, 256])
    parser.add_argument("--data_dir")
    arguments = parser.parse_args()
    model = load_model(arguments.run_folder)
    test = load_run_data(load_manifest(arguments.run_folder), arguments.data_dir).test
    print("| vectors | dimensions | Recall@20 | overlap@20 | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rank in (None, *arguments.ranks):
            started = time.perf_counter()
            done = export(model, Path(folder) / "measured", "parquet", extended=rank, held_out=test, overwrite=True)
            seconds = time.perf_counter() - started
            overlap = export(model, Path(folder) / "compared", "parquet", extended=rank, overwrite=True).figures["overlap@20"]
            name = "the embeddings" if rank is None else f"`--extended {rank}`"
            cells = [name, sum(done.dimensions.values()), f"{done.figures['recall@20']:.4f}", f"{overlap:.3f}", f"{seconds:.0f}"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print(f"| the model itself |  | {evaluate(model, test, ['recall@20'])['recall@20']:.4f} | 1 |  |")


if __name__ == "__main__":
    main()
