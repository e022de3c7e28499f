"""Where PyTorch computes, with how many threads, and how exactly it multiplies."""

import contextlib
import os
from collections.abc import Iterator

from ultragcn import machine
from ultragcn.errors import UsageError

# Threads that wait for each other actively slow down tenfold on a machine that has anything else to do. This must be said before
# PyTorch is loaded, and whoever set it differently knows better.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch


def choose_device(device: str) -> torch.device:
    """Return the device meant by "cpu", "cuda" or "auto" (a GPU when there is one)."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for, but PyTorch finds no GPU here; use --device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that are free where `device` computes; None where the system does not say."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else machine.free_memory()


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Let PyTorch use `number` threads of the processor at most; afterwards, as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(number, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gpu_names() -> list[str]:
    """Return the names of the GPUs that PyTorch can use."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


@contextlib.contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Let a GPU round the factors of float32 products to TF32, or forbid it, whatever the program has set; afterwards, as before.

    TF32 keeps 10 of the 23 bits of a float32's fraction. It has no meaning on a processor.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
