"""Operations that act on each element: arithmetic with broadcasting, and functions of one variable."""

import numbers

import numpy as np

from tinyvit import kernels
from tinyvit.autograd.function import Function
from tinyvit.autograd.tensor import Tensor, as_tensor
from tinyvit.device import array_module


class Add(Function):
    broadcasts = True

    def forward(self, x, y):
        return x + y

    def backward(self, dout):
        return dout, dout


class Subtract(Function):
    broadcasts = True

    def forward(self, x, y):
        return x - y

    def backward(self, dout):
        return dout, -dout


class Multiply(Function):
    broadcasts = True

    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, dout):
        # With `needs`, multiplying by a constant (a mask, a scale) costs one product and not two.
        return dout * self.y if self.needs[0] else None, dout * self.x if self.needs[1] else None


class Divide(Function):
    broadcasts = True

    def forward(self, x, y):
        self.x, self.y = x, y
        return x / y

    def backward(self, dout):
        dx = dout / self.y
        return dx, -dx * self.x / self.y if self.needs[1] else None


class Negative(Function):
    def forward(self, x):
        return -x

    def backward(self, dout):
        return (-dout,)


class Power(Function):
    """x to a constant power."""

    def __init__(self, exponent: float):
        self.exponent = exponent

    def forward(self, x):
        self.x = x
        return x**self.exponent

    def backward(self, dout):
        if self.exponent == 0:
            return (dout * 0,)  # the general formula would give 0 * inf at x = 0
        return (dout * self.exponent * self.x ** (self.exponent - 1),)


class Exp(Function):
    def forward(self, x):
        self.y = array_module(x).exp(x)
        return self.y

    def backward(self, dout):
        return (dout * self.y,)


class Log(Function):
    def forward(self, x):
        self.x = x
        return array_module(x).log(x)

    def backward(self, dout):
        return (dout / self.x,)


class Sqrt(Function):
    def forward(self, x):
        self.y = array_module(x).sqrt(x)
        return self.y

    def backward(self, dout):
        return (dout / (2 * self.y),)


class Tanh(Function):
    def forward(self, x):
        self.y = array_module(x).tanh(x)
        return self.y

    def backward(self, dout):
        return (dout * (1 - self.y * self.y),)


class Erf(Function):
    """erf(x) = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    def forward(self, x):
        self.x = x
        return kernels.erf(x)

    def backward(self, dout):
        two_over_sqrt_pi = 1.1283791670955126
        return (dout * two_over_sqrt_pi * array_module(dout).exp(-self.x * self.x),)


class Maximum(Function):
    """The larger of two; where they are equal, each gets half of the gradient."""

    broadcasts = True

    def forward(self, x, y):
        xp = array_module(x)
        self.share = ((x > y) + 0.5 * (x == y)).astype(x.dtype)
        return xp.maximum(x, y)

    def backward(self, dout):
        return dout * self.share, dout * (1 - self.share)


class Relu(Function):
    """The larger of x and 0; at 0 itself the gradient is 0."""

    def forward(self, x):
        self.y = array_module(x).maximum(x, 0)
        return self.y

    def backward(self, dout):
        return (dout * (self.y > 0),)


class Where(Function):
    """x where the condition (a boolean array) holds, y elsewhere."""

    broadcasts = True

    def __init__(self, condition):
        self.condition = condition

    def forward(self, x, y):
        return array_module(x).where(self.condition, x, y)

    def backward(self, dout):
        return dout * self.condition, dout * ~self.condition


def add(x: Tensor, y) -> Tensor:
    """x + y, broadcasting."""
    return Add()(x, as_tensor(y, x))


def subtract(x: Tensor, y) -> Tensor:
    """x - y, broadcasting."""
    return Subtract()(x, as_tensor(y, x))


def multiply(x: Tensor, y) -> Tensor:
    """x * y, element by element, broadcasting."""
    return Multiply()(x, as_tensor(y, x))


def divide(x: Tensor, y) -> Tensor:
    """x / y, element by element, broadcasting."""
    return Divide()(x, as_tensor(y, x))


def negative(x: Tensor) -> Tensor:
    """-x."""
    return Negative()(x)


def power(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent for a constant number ``exponent``.

    Raises:
        TypeError: the exponent is not a number; write exp(y * log(x)) for a tensor y.
    """
    if not isinstance(exponent, numbers.Real):
        raise TypeError(
            f"the exponent must be a number, not {type(exponent).__name__}; for a tensor use exp(y * log(x))"
        )
    # NumPy's own numbers would force their type on x.
    return Power(exponent.item() if isinstance(exponent, np.generic) else exponent)(x)


def exp(x: Tensor) -> Tensor:
    """e ** x."""
    return Exp()(as_tensor(x))


def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return Log()(as_tensor(x))


def sqrt(x: Tensor) -> Tensor:
    """The square root."""
    return Sqrt()(as_tensor(x))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh()(as_tensor(x))


def erf(x: Tensor) -> Tensor:
    """The error function."""
    return Erf()(as_tensor(x))


def maximum(x: Tensor, y) -> Tensor:
    """The larger of x and y, element by element, broadcasting. At a tie each gets half of the gradient."""
    x = as_tensor(x)
    return Maximum()(x, as_tensor(y, x))


def relu(x: Tensor) -> Tensor:
    """The larger of x and 0."""
    return Relu()(as_tensor(x))


def where(condition, x, y) -> Tensor:
    """x where ``condition`` (a boolean array or Tensor) holds, y elsewhere; all three broadcast.

    Raises:
        TypeError: the condition is not boolean.
    """
    condition = as_tensor(condition).data
    if condition.dtype != bool:
        raise TypeError(f"where needs a boolean condition, not {condition.dtype}: compare first, as in x.data > 0")
    like = x if isinstance(x, Tensor) else as_tensor(y)
    return Where(condition)(as_tensor(x, like), as_tensor(y, like))
