"""Seeds. One number fixes everything random; each use draws from its own stream, so that adding a use changes no other."""

import zlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator of `purpose` ("init", "split", ...) under `seed` (>= 0)."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def fresh_seed() -> int:
    """Return a seed nobody chose, in [0, 2**31), for those who did not give one. It is recorded, so the run can be repeated."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def given_or_fresh(seed: int | None) -> int:
    """Return `seed`, or a fresh one for None."""
    return fresh_seed() if seed is None else seed
