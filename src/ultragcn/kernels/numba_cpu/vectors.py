"""What the solver's kernels need of the processor and Numba does not offer: wide vectors, and a sigmoid that vectorises."""

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.extending import intrinsic

WIDE = bool(get_host_cpu_features().get("avx512f"))  # 512-bit vectors
LANES = 16  # float32 numbers in a 512-bit vector; two or four vectors on narrower machines

ZERO, ONE, TWO, HALF, QUARTER = (np.float32(v) for v in (0.0, 1.0, 2.0, 0.5, 0.25))
TINY, HUGE = np.float32(1e-30), np.float32(1e30)
LOG2_E = np.float32(1.4426950408889634)
_SHIFT = np.float32(1.5 * 2**23 + 127)  # so large that adding it to a small number rounds that to an integer
MAX_ABS_SCORE = np.float32(87.0)  # exp(-87) is the smallest power of e that float32 holds as a normal number
# Chebyshev fits: 2^f on [-1/2, 1/2] (error 8e-8), 1 / (1 + e) on [0, 1] (9e-3, before two Newton steps: 6e-9),
# log(1 + e) / e on [0, 1] (2e-7).
E0, E1, E2, E3, E4, E5 = (np.float32(v) for v in (1.0000001, 0.6931472, 0.24022107, 0.05550327, 0.009676037, 0.0013400433))
R0, R1, R2 = (np.float32(v) for v in (0.991378, -0.8183259, 0.33304447))
L0, L1, L2, L3, L4, L5, L6, L7 = (
    np.float32(v) for v in (0.9999998, -0.4999745, 0.33276176, -0.24499612, 0.17757024, -0.10785369, 0.044214193, -0.0085746758)
)


@intrinsic
def _split_power(typing_context, a):
    """Return f and 2^n of exp(-a) = 2^f 2^n, |f| <= 1/2, for a float32 a in [0, 87].

    Adding _SHIFT to -a log2(e) rounds it, and leaves n + 127 in the lowest bits: shifted to those of the exponent they are 2^n.
    Written out because LLVM, allowed to reassociate, would take the sum and its difference for nothing.
    """
    signature = numba.types.UniTuple(numba.float32, 2)(numba.float32)

    def generate(context, builder, signature, arguments):
        real, integer = ir.FloatType(), ir.IntType(32)
        factor, shift = (ir.Constant(real, float(v)) for v in (-LOG2_E, _SHIFT))
        shifted = builder.fma(arguments[0], factor, shift)
        fraction = builder.fma(arguments[0], factor, builder.fsub(shift, shifted))
        power = builder.bitcast(builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, 23)), real)
        return context.make_tuple(builder, signature.return_type, (fraction, power))

    return signature, generate


@intrinsic
def prefer_wide_vectors(typing_context):
    """Lets LLVM use 512-bit vectors in the calling function: twice as fast here, and ignored where the processor has none."""
    signature = numba.none()

    def generate(context, builder, signature, arguments):
        # llvmlite's own ``add`` knows only a fixed list of attribute names.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return signature, generate


@numba.njit(inline="always")
def exp_minus_abs(s):
    """exp(-|s|) of one float32, not below 1e-38; NaN stays NaN."""
    a = abs(s)
    f, power = _split_power(MAX_ABS_SCORE if a > MAX_ABS_SCORE else a)
    return (E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * E5))))) * power


@numba.njit(inline="always")
def logistic(s, e):
    """sigmoid(s), sigmoid'(s), softplus(s) of one float32 whose exp(-|s|) is e; relative error below 1e-6, also in the tails."""
    q = ONE + e
    r = R0 + e * (R1 + e * R2)
    r = r * (TWO - q * r)
    r = r * (TWO - q * r)
    log = e * (L0 + e * (L1 + e * (L2 + e * (L3 + e * (L4 + e * (L5 + e * (L6 + e * L7)))))))
    other = e * r
    return (r if s > ZERO else other), other * r, HALF * (abs(s) + s) + log


@numba.njit(inline="always")
def sigmoid_softplus(s):
    """sigmoid(s), sigmoid'(s), softplus(s) of one float32; NaN stays NaN."""
    return logistic(s, exp_minus_abs(s))


@intrinsic
def subtract_multiples(typing_context, flat, target, source, stride, factors):
    """``flat[target + l] -= sum_q factors[q] * flat[source + q * stride + l]`` for l < LANES, in vectors.

    Written out because LLVM cannot know that the rows of one matrix do not overlap, and falls back to scalars: six times slower.
    """
    signature = numba.void(flat, numba.int64, numba.int64, numba.int64, factors)

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.FloatType(), LANES)

        def at(offset):
            return builder.bitcast(builder.gep(array.data, [offset]), vector.as_pointer())

        place = at(arguments[1])
        total = builder.load(place, align=4)
        offset = arguments[2]
        for q in range(signature.args[4].count):
            factor = builder.extract_value(arguments[4], q)
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            spread = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)
            product = builder.fmul(spread, builder.load(at(offset), align=4), flags=("contract",))
            total = builder.fsub(total, product, flags=("contract",))
            offset = builder.add(offset, arguments[3])
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return signature, generate
