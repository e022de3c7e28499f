"""Ascending numbers: where one stands among others, and how they are put in order."""

from ultragcn.kernels.numba_cpu.compiling import inlined


@inlined
def first_at_least(indices, low, high, wanted):
    """Return the first place from `low` to `high` whose index is not below `wanted`, else `high`; the indices ascend there."""
    count = high - low
    while count > 0:  # without a branch, which would be guessed wrong every other time
        half = (count + 1) // 2
        low += half * (indices[low + half - 1] < wanted)
        count -= half
    return low


@inlined
def sort(values, low, high):
    """Sort values[low:high] in place: Shell's sort, with Knuth's gaps. NumPy's sort takes two seconds to compile, this one none."""
    gap = 1
    while gap < (high - low) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for n in range(low + gap, high):
            value = values[n]
            place = n
            while place >= low + gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3
