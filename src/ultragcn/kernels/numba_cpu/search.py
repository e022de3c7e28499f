"""Where a number stands among ascending ones: how kernels look an item up in a CSR row."""

from numba import njit


@njit(cache=True)
def first_at_least(indices, low, high, wanted):
    """Return the first place from `low` to `high` whose index is not below `wanted`, else `high`; the indices ascend there."""
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low
