"""The pass over the cells in Triton: by Triton's interpreter against the twin, and compiled for a GPU that is not there.

Triton decides when it is loaded whether kernels are interpreted, so each test has a process of its own.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("triton")

INTERPRETED = """
import json
import numpy as np, torch
from ultragcn.kernels import reference
from ultragcn.kernels.torch_ops import triton_cells

random, apart = np.random.default_rng(0), {}
for blocks, block, columns, dim in [(1, 1, 1, 1), (2, 16, 90, 5), (1, 70, 33, 64), (3, 64, 32, 16), (2, 1, 100, 17)]:
    for scale in (1.0, 30.0):
        x, y = (random.standard_normal(shape).astype(np.float32) for shape in ((blocks, block, dim), (columns, dim)))
        weights = random.random((blocks, block, 2), np.float32), random.random((2, columns), np.float32)
        weights[0][:, block // 2 + 1 :] = 0  # places without a row
        given = np.float32(scale) * x, y, *weights
        ours = triton_cells.visit_cells(*map(torch.from_numpy, given))
        theirs = reference.visit_cells(*(array.astype(np.float64) for array in given))
        for name, value, exact in zip(theirs._fields, ours, theirs):
            assert value.shape == exact.shape, name
            largest = np.abs(value.numpy() - exact).max() / np.abs(exact).max()
            apart[name] = max(apart.get(name, 0.0), float(largest))
print(json.dumps(apart))
"""

SWEPT = """
import json
import numpy as np
from tests.conftest import random_interactions
from ultragcn.config import Config
from ultragcn.loss.objective import Objective
from ultragcn.solvers import exact
from ultragcn.solvers.torch_sweeper import TorchSweeper

objective = Objective.of(random_interactions(40, 30, 0.2), Config(embedding_dim=6, negatives="full"))
theirs, ours = exact.ExactSolver(objective, 0), exact.ExactSolver(objective, 0, TorchSweeper("cpu", cells="triton"))
theirs.start()
ours.start({name: array.copy() for name, array in theirs.state().items()})
print(json.dumps([[solver.step() for _ in range(2)] for solver in (theirs, ours)]))
"""

COMPILED = """
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ultragcn.kernels.torch_ops import triton_cells

found = {}
for precision in ("ieee", "tf32"):
    for width in (16, 64, 128):
        types = {name: "*fp64" if name == "row_loss" else "*fp32" for name in triton_cells.POINTERS}
        types |= dict.fromkeys(("num_columns", "size", "block", "pieces"), "i32")
        constants = {"M": triton_cells.ROWS, "N": triton_cells.COLUMNS, "WIDTH": width, "PRECISION": precision}
        source = ASTSource(triton_cells.cells_kernel, types | dict.fromkeys(constants, "constexpr"), constants)
        options = {"num_warps": triton_cells.WARPS, "enable_fp_fusion": True}
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        ptx = compiled.asm["ptx"]
        target = next(line for line in ptx.splitlines() if line.startswith(".target"))
        found[f"{precision} {width}"] = [target, len(compiled.asm["cubin"]), ptx.count("wgmma"), compiled.metadata.shared]
print(json.dumps(found))
"""


def result_of(code, tmp_path, **environment):
    """Run code in a process of its own; return what it printed last."""
    given = os.environ | {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(["src", ".", *sys.path])} | environment
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=given)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_interpreted_the_kernel_finds_what_its_twin_finds(tmp_path):
    apart = result_of(INTERPRETED, tmp_path, TRITON_INTERPRET="1")
    assert len(apart) == 5
    for name, largest in apart.items():
        assert largest < 2e-5, name


def test_interpreted_the_kernel_serves_a_sweep_as_numba_does(tmp_path):
    theirs, ours = result_of(SWEPT, tmp_path, TRITON_INTERPRET="1")
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_the_kernel_compiles_for_sm_90_where_there_is_no_gpu(tmp_path):
    found = result_of(COMPILED, tmp_path)
    assert len(found) == 6
    for name, (target, size, tensor_cores, shared) in found.items():
        assert target.startswith(".target sm_90"), name
        assert size > 1000, name
        assert (tensor_cores > 0) == name.startswith("tf32"), name  # products of float32 as written never round their factors
        assert shared <= 227 * 1024, name  # what a multiprocessor of sm_90 has
