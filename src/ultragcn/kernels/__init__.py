"""Kernels: functions on arrays. `reference` is slow, plain and in float64; each other module has the same names, fast."""
