"""Trials for the tests of sweeps, in a module of their own: every worker imports it anew."""

import os
import signal
import time


def parabola(parameters, seed, report):
    """Best at x = 0.3 and kind a; the curve rises to its value."""
    value = 1 - (parameters["x"] - 0.3) ** 2 - 0.1 * (parameters.get("kind") == "b") + 0.001 * seed
    for step in range(1, 7):
        report(step, {"score": value - 1 / step})
    print(f"x is {parameters['x']}")
    return {"score": value, "best_epoch": 6}


def forgiving(parameters, seed, report):
    """As parabola, which it is also where x is `auto`: then x is 0.6."""
    return parabola({**parameters, "x": 0.6 if parameters["x"] == "auto" else parameters["x"]}, seed, report)


def slow(parameters, seed, report):
    time.sleep(parameters.get("seconds", 0.1))
    return parabola(parameters, seed, report)


def failing(parameters, seed, report):
    if parameters["x"] == 1:
        raise ZeroDivisionError("no such x")
    return parabola(parameters, seed, report)


def suicidal(parameters, seed, report):
    if parameters["x"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return parabola(parameters, seed, report)


def hungry(parameters, seed, report):
    """Hold some memory for a moment; say how many threads libraries take."""
    held = bytearray(parameters["megabytes"] * 2**20)
    for start in range(0, len(held), 4096):
        held[start] = 1
    return {"score": int(os.environ["NUMBA_NUM_THREADS"])}


def odd(parameters, seed, report):
    """Return what no trial should, by name."""
    import numpy as np

    return {
        "none": None, "text": "0.5", "array": np.arange(3), "text in it": {"score": "high"}, "array in it": {"score": np.arange(3)},
        "nothing in it": {}, "epoch": {"score": 0.5, "best_epoch": 1.5}, "seconds": {"score": 0.5, "train_seconds": float("nan")},
        "scalar": {"score": np.array(0.5)}, "fine": {"score": np.float32(0.5)},
    }[parameters["what"]]  # fmt: skip


def talkative(parameters, seed, report):
    return {"score": 1.0, "scroe": 2.0}
