"""The error function, which NumPy lacks."""

import math

import numpy as np

_c_library_erf = np.frompyfunc(math.erf, 1, 1)

# half_erfc(z) = exp(-z^2) (C1 t + C2 t^2 + ... + C6 t^6) with t = 1 / (1 + P z): the form of Abramowitz and Stegun
# 7.1.26 with one more term, fitted to the least largest error: 4e-9 for z >= 0, a tenth of float32's rounding.
P = 0.39
C = (0.1176625764, 0.0456944150, 0.3247791816, -0.3176994984, 0.4433317907, -0.1137684662)


def erf(x: np.ndarray) -> np.ndarray:
    """erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, element by element, in x's type.

    float32: off by at most 4e-7, from a fit. Other types: the C library's, element by element and some hundred times
    slower; only tests compute in float64.
    """
    if x.dtype != np.float32:
        return np.asarray(_c_library_erf(x), dtype=x.dtype)
    tail, _ = half_erfc(np.abs(np.atleast_1d(x)))
    return np.copysign(1 - 2 * tail, x).reshape(x.shape)


def half_erfc(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 - erf(z)) / 2 for float32 z >= 0 of at least one axis, and exp(-z^2), which it needs on the way and GELU's
    derivative does too."""
    t = z * P
    t += 1
    np.divide(1, t, out=t)
    gaussian = z * z
    np.negative(gaussian, out=gaussian)
    np.exp(gaussian, out=gaussian)
    tail = t * C[5]
    for coefficient in reversed(C[:5]):  # Horner's rule: five multiply-adds
        tail += coefficient
        tail *= t
    tail *= gaussian
    return tail, gaussian
