# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # A machine for derivatives
#
# **The question:** training needs to know, for each of a hundred thousand
# numbers, whether to turn it up or down. How can a program find that out
# about any other program?
#
# ## Where we are
#
# In [chapter 0](00_an_image_is_worth_16x16_words.ipynb) a model learned to
# name clothes. At each step it "worked out in which direction each number
# should change". This chapter builds the part that does: an *autograd
# engine*, a machine that computes derivatives. You will write one for
# single numbers, in some forty lines; then see what it takes to make it
# work on arrays, and meet `Tensor` and `Function`, on which all of tinyvit
# stands. At the end you will know how to tell a right gradient from a wrong
# one, which is harder than it sounds.
#
# ## The idea
#
# Take $y = (ab + a)^2$. To differentiate it you would take it apart: a
# product $p = ab$, a sum $s = p + a$, a square $y = s^2$. Each is easy
# alone, and the chain rule puts them together.
#
# A program is taken apart already. Every step of it does one small thing,
# and if each small thing knows its own derivative, the chain rule can be
# applied by walking back through what was computed. Nothing needs to
# understand the program as a whole.

# %%
import numpy as np

from tinyvit.analysis import style

# %% tags=["drawing"]
def draw_graph(boxes, arrows):
    """boxes: {key: (x, y, text)}; arrows: pairs of keys."""
    _, axis = style.new_figure(6.5, 2.6)
    edge = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": "grey"}
    drawn = {
        key: axis.text(x, y, text, ha="center", va="center",
                       fontsize=12, bbox=edge)
        for key, (x, y, text) in boxes.items()
    }
    for start, end in arrows:
        for tail, head, look in (
            (start, end, {"color": style.BLUE}),
            (end, start, {"color": style.VERMILION, "ls": "--",
                          "connectionstyle": "arc3,rad=0.22"}),
        ):
            axis.annotate(
                "", drawn[head].get_position(),
                drawn[tail].get_position(),
                arrowprops={
                    "arrowstyle": "->", "shrinkA": 3, "shrinkB": 3,
                    "patchA": drawn[tail].get_bbox_patch(),
                    "patchB": drawn[head].get_bbox_patch(), **look,
                },
            )
    axis.set_xlim(-0.3, 3.3)
    axis.set_ylim(-0.3, 1.5)
    axis.axis("off")
    return axis


axis = draw_graph(
    {
        "a": (0, 1, "a"), "b": (0, 0, "b"), "p": (1, 0.25, "p = a b"),
        "s": (2, 0.6, "s = p + a"), "y": (3, 0.6, "y = s²"),
    },
    [("a", "p"), ("b", "p"), ("p", "s"), ("a", "s"), ("s", "y")],
)
axis.text(2.5, 0.05, "solid: compute", color=style.BLUE)
axis.text(2.5, -0.2, "dashed: differentiate", color=style.VERMILION)
axis.set_title("Forwards for values, backwards for derivatives");

# %% [markdown]
# The picture is called the *graph* of the computation. Solid arrows show
# what was computed from what; the dashed ones run the other way.
#
# ## The mathematics
#
# Let $y$ be the number at the end, and $v$ any number on the way to it. We
# write $\bar v = \partial y / \partial v$ for the derivative of $y$ with
# respect to $v$: change $v$ by a tiny $h$, let all that is computed from
# it follow, and $y$ changes by about $\bar v h$. (The round $\partial$ says
# that there are other numbers, which stay as they are.) For the end
# itself, $\bar y = 1$.
#
# Now go back one step at a time. Suppose we know $\bar s$ and $\bar p$
# already. What is $\bar a$? It is used twice, in $p = ab$ and in
# $s = p + a$. Change $a$ by $h$. Then $p$ changes by about
# $\frac{\partial p}{\partial a} h$, and $y$ by $\bar p$ times that.
# Directly, $s$ changes by about $\frac{\partial s}{\partial a} h$, and $y$
# by $\bar s$ times that. As $h$ is tiny, the two changes add up, so
#
# $$
# \bar a = \bar p \,\frac{\partial p}{\partial a}
#        + \bar s \,\frac{\partial s}{\partial a} .
# $$
#
# You know a case of this from school: in $a \cdot a$ the product rule gives
# $a + a = 2a$, a term for each of the two uses.
#
# So there is **one term for each use**: what has arrived at the result of
# the operation, times the operation's own derivative. Nobody needs to know
# all uses at once. Begin at the end with 1 and everywhere else with 0, go
# back through the graph, and at each operation, such as $s = p + a$, pass
# on to each input
#
# $$
# \bar p \mathrel{+}= \bar s \,\frac{\partial s}{\partial p} ,
# \qquad
# \bar a \mathrel{+}= \bar s \,\frac{\partial s}{\partial a} ,
# $$
#
# where $\mathrel{+}=$ means "add to what is there", as in Python. For our
# example, with $a = 3$ and $b = 2$, so $p = 6$, $s = 9$ and $y = 81$:
#
# $$
# \begin{aligned}
# \bar y &= 1 \\
# \bar s &= \bar y \cdot 2s = 18 \\
# \bar p &= \bar s \cdot 1 = 18 \\
# \bar a &= \bar s \cdot 1 + \bar p \cdot b = 18 + 36 = 54 \\
# \bar b &= \bar p \cdot a = 54
# \end{aligned}
# $$
#
# One walk gives the derivative with respect to *every* input, and all of
# them together are called the *gradient*. This direction is called *reverse
# mode* or *back-propagation*, and it is the one for training: a model has
# very many inputs, its numbers, and one result, the loss. To change each
# number in turn and look would take a run for every one of them.
#
# ## The code, for single numbers
#
# A `Value` is a number that remembers which operation made it: from which
# inputs, and with which derivative for each.

# %%
class Value:
    """A number that remembers how it was made."""

    def __init__(self, data, inputs=(), slopes=()):
        self.data = data
        self.grad = 0.0  # what has arrived so far
        self.inputs = inputs  # the Values it was computed from
        self.slopes = slopes  # its derivative for each of them

    def __add__(self, other):
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        slopes = (other.data, self.data)  # d(ab)/da = b, d(ab)/db = a
        return Value(self.data * other.data, (self, other), slopes)


a, b = Value(3.0), Value(2.0)
s = a * b + a
y = s * s
print(y.data)
assert y.data == 81

# %% [markdown]
# Running the program has built the graph behind its back. To walk it, we
# need an order in which each `Value` comes *after all that were computed
# from it*: only then has everything arrived that it has to pass on. Such
# an order is called *topological*, and so is its reverse. A depth-first
# search finds the reverse: list a value once all its inputs are listed.

# %%
def topological_order(end):
    """All values that `end` depends on, each after its inputs."""
    order, seen, stack = [], set(), [(end, False)]
    while stack:
        value, inputs_done = stack.pop()
        if inputs_done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))  # look again after the inputs
            stack += [(one, False) for one in value.inputs]
    return order


def backward(end):
    """Add to each value's grad the derivative of `end`."""
    end.grad = 1.0
    for value in reversed(topological_order(end)):
        for one, slope in zip(value.inputs, value.slopes):
            one.grad += value.grad * slope


backward(y)
print(f"dy/da = {a.grad}, dy/db = {b.grad}")
assert (a.grad, b.grad) == (54, 54)

# %% [markdown]
# As computed by hand. Here is the graph that Python has built, drawn by
# walking through it: each box says its value, and below it the gradient.

# %%
order = topological_order(y)
level, boxes = {}, {}
for value in order:  # a value stands right of all its inputs
    level[value] = max((level[i] + 1 for i in value.inputs), default=0)
    above = list(level.values()).count(level[value]) - 1
    text = f"{value.data:g}\n({value.grad:g})"
    height = 0.1 + above + 0.65 * (level[value] % 2)
    boxes[value] = (level[value], height, text)
arrows = {(one, value) for value in order for one in value.inputs}
draw_graph(boxes, sorted(arrows, key=lambda pair: (
    order.index(pair[0]), order.index(pair[1])
))).set_title("What was computed, and in brackets its gradient");

# %% [markdown]
# The search for an order keeps a list of its own and does not call itself.
# Python allows only so many nested calls (a thousand, if nobody changes
# it), and a graph can be deeper than that:

# %%
x = Value(1.0)
deep = x
for _ in range(100_000):
    deep = deep + x
backward(deep)
print(x.grad)
assert x.grad == 100_001

# %% [markdown]
# How do we know that it is right in general? By asking the definition of
# the derivative: change an input a little, run the program again, and see
# how much the result has changed.

# %%
def program(a, b):
    """Something with many paths from the inputs to the end."""
    for _ in range(3):
        a = a * b + a
        b = b * b + a
    return a * b


a, b = Value(0.3), Value(-0.7)
backward(program(a, b))
step = 1e-6
up = program(Value(0.3 + step), Value(-0.7)).data
down = program(Value(0.3 - step), Value(-0.7)).data
measured = (up - down) / (2 * step)
print(f"walked {a.grad:.8f}, measured {measured:.8f}")
assert abs(a.grad - measured) < 1e-8

# %% [markdown]
# ## What goes wrong: another order
#
# What if we pass gradients on as soon as they arrive, and do not wait for
# the rest? Then, each time that something arrives, a value passes on all
# that it has. Below, $u$ hands 4 to $x$, then 36, which is all that it
# should, and then 36 once more.

# %%
def hasty_backward(end):
    """Walks on at once. Wrong, wherever paths meet again."""
    end.grad = 1.0
    waiting = [end]
    while waiting:
        value = waiting.pop(0)
        for one, slope in zip(value.inputs, value.slopes):
            one.grad += value.grad * slope
            waiting.append(one)


def two_paths():
    """y = u + u², where u = x²: u is used by both terms."""
    x = Value(2.0)
    u = x * x
    y = u + u * u
    return x, y


x, y = two_paths()
backward(y)
hasty, y = two_paths()
hasty_backward(y)
print(f"right {x.grad}, hasty {hasty.grad}")
assert x.grad == 2 * 2 + 4 * 2**3  # the derivative of x² + x⁴
assert hasty.grad == 4 + 36 + 36

# %% [markdown]
# ## From numbers to arrays
#
# The model of chapter 0 has 139,018 numbers, and most of them are
# multiplied with each of 17 vectors. That makes millions of `Value`s for
# one image. NumPy computes with whole arrays at once, so we let an
# operation work on arrays: then a matrix product is one node of the graph,
# however many numbers it multiplies.

# %%
from tinyvit.models import ViTConfig
from tinyvit.models.cost import cost

nano = ViTConfig.named(
    "nano", image_size=28, patch_size=7, channels=1, classes=10
)
# a multiply-add: a multiplication, and the addition of its result
print(f"{cost(nano).multiply_adds:,} multiply-adds for an image")
assert cost(nano).multiply_adds > 2_000_000

# %% [markdown]
# In tinyvit an array with a place in the graph is called `Tensor`, and an
# operation is called `Function`. A Function has two methods that stand
# together: `forward` computes the result and keeps what it will need, and
# `backward` gets the gradient of the result and returns the gradient of
# each input. Each use is a node of its own: `Product()` makes the node, and
# calling that with `(x, y)` computes the result, whose `creator` it is.
# `requires_grad=True` marks a Tensor whose gradient will be asked for; what
# depends on no such Tensor is not recorded. Here is the product once more:

# %%
from tinyvit.autograd import Function, Tensor, gradients


class Product(Function):
    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y

    def backward(self, dout):
        return dout * self.y, dout * self.x


x = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
y = Tensor(np.array([4.0, 5.0, 6.0]), requires_grad=True)
dx, dy = gradients(Product()(x, y).sum(), [x, y])
print(dx, dy)
np.testing.assert_array_equal(dx, y.data)
np.testing.assert_array_equal(dy, x.data)

# %% [markdown]
# In code we write `dx` for $\bar x$, the gradient of `x`: an array of the
# same shape, in which each number says how the end changes with that number
# of `x`. And `dout` is the gradient of the operation's output, which has
# arrived from behind. Here the end is the sum of all products, `.sum()`.
#
# In tinyvit the product is written in the same way. It also leaves out a
# gradient that nobody needs, and says that it *broadcasts*, which we come
# to next.

# %%
import inspect

from tinyvit.autograd.elementwise import Multiply

print(inspect.getsource(Multiply))
theirs = gradients((x * y).sum(), [x, y])  # * is Multiply
np.testing.assert_array_equal(theirs, [dx, dy])

# %% [markdown]
# The walk is the one that you wrote, with a few checks. (It is in
# `tinyvit/autograd/function.py`, which you can read now.) Give our program
# with many paths to both:

# %%
mine = [Value(0.3), Value(-0.7)]
backward(program(*mine))
tensors = [
    Tensor(np.array(value.data), requires_grad=True) for value in mine
]
theirs = gradients(program(*tensors), tensors)
np.testing.assert_allclose(theirs, [value.grad for value in mine])

# %% [markdown]
# ### A gradient for each shape
#
# Arrays bring one complication. NumPy *broadcasts*: it adds an array of
# shape (3,) to one of shape (2, 3) by using it for both rows.

# %%
rows = Tensor(np.ones((2, 3)), requires_grad=True)
bias = Tensor(np.array([10.0, 20.0, 30.0]), requires_grad=True)
total = rows + bias
print(total.data)
d_rows, d_bias = gradients(total.sum(), [rows, bias])
print("gradient of the bias:", d_bias)
assert d_bias.shape == (3,) and (d_bias == 2).all()

# %% [markdown]
# Each number of `bias` was used twice, once in each row. And what is used
# twice gets the sum of both gradients: that is the $\mathrel{+}=$ of the
# chain rule again. So wherever an input was repeated along an axis, its
# gradient is *summed* along that axis. tinyvit does this in one place for
# all operations; you will write it in exercise 1.2.
#
# ### A product of matrices
#
# One operation does nearly all the work of a Transformer: $Y = XW$, with
# $X$ of shape $(n, k)$, $W$ of shape $(k, m)$ and $Y$ of shape $(n, m)$.
# Each number of $Y$ is
#
# $$
# Y_{ij} = \sum_l X_{il} W_{lj}.
# $$
#
# Let $\bar Y$, of the shape of $Y$, hold the gradient that has arrived.
# The number $X_{il}$ is used in row $i$ of $Y$, once in each column $j$,
# and each time the slope is $W_{lj}$. Add up all uses:
#
# $$
# \bar X_{il} = \sum_j \bar Y_{ij} W_{lj}
# \quad\text{that is}\quad
# \bar X = \bar Y W^\top ,
# $$
#
# where $W^\top$, of shape $(m, k)$, is $W$ with rows and columns exchanged.
# In the same way $W_{lj}$ is used in column $j$, once in each row, with
# the slope $X_{il}$:
#
# $$
# \bar W_{lj} = \sum_i X_{il} \bar Y_{ij}
# \quad\text{that is}\quad
# \bar W = X^\top \bar Y .
# $$
#
# Shapes help to remember it: $\bar X$ must be $(n, k)$, and of $(n, m)$ and
# $(k, m)$ one can make that in one way only.

# %%
class MatrixProduct(Function):
    def forward(self, x, w):  # (n, k), (k, m) -> (n, m)
        self.x, self.w = x, w
        return x @ w

    def backward(self, dout):  # (n, m)
        return dout @ self.w.T, self.x.T @ dout


random = np.random.default_rng(0)
x = Tensor(random.normal(size=(4, 3)), requires_grad=True)
w = Tensor(random.normal(size=(3, 5)), requires_grad=True)
cotangent = random.normal(size=(4, 5))
mine = gradients(MatrixProduct()(x, w), [x, w], cotangent)
theirs = gradients(x @ w, [x, w], cotangent)  # tinyvit's own
for one, other in zip(mine, theirs):
    np.testing.assert_allclose(one, other)

# %% [markdown]
# Here the end, $Y$, is no single number, so we must say what gradient to
# begin with. `cotangent` is that $\bar Y$; what comes out is the gradient of
# the single number $\sum_{ij} \bar Y_{ij} Y_{ij}$. Random numbers are the
# best choice, as you will see in a moment.
#
# ## Never believe a gradient
#
# A wrong backward pass rarely fails. Training goes worse, or it goes well
# and could go better, and nobody knows. So every backward pass in tinyvit
# is checked against measured derivatives, as we did above. How small should
# the step be? Guess before you look: the smaller the better?
#
# A computer keeps only so many digits: NumPy's `float64` about 16, and
# `float32`, which is half as wide and with which models are trained, about
# 7. Let us measure the slope of $e^x$ at 1, which is $e$, in both.

# %%
def error_of_step(step, dtype):
    """Relative error of the measured slope of exp at 1."""
    x, step = dtype(1), dtype(step)
    measured = (np.exp(x + step) - np.exp(x - step)) / (2 * step)
    return abs(float(measured) / np.e - 1)


steps = np.logspace(-12, 0, 97)
wide = [error_of_step(step, np.float64) for step in steps]
narrow = np.logspace(-6, 0, 49)
short = [error_of_step(step, np.float32) for step in narrow]

# %% tags=["drawing"]
figure, axis = style.new_figure(6.5, 3)
axis.loglog(steps, np.maximum(wide, 1e-13), color=style.BLUE)
axis.loglog(narrow, short, color=style.ORANGE)
axis.text(1e-9, 3e-10, "float64", color=style.BLUE)
axis.text(1.5e-6, 1e-4, "float32", color="#8A5F00")
axis.set_xlabel("step")
axis.set_ylabel("relative error of the slope")
axis.set_title("A step can be too large, and too small");

# %%
best = steps[np.argmin(wide)]
print(f"float64 is best with steps near {best:.0e}: {min(wide):.0e}")
print(f"float32 reaches {min(short):.0e} at its best")
assert 1e-7 < best < 1e-4 and min(wide) < 1e-9
assert min(short) > 100 * min(wide)
assert error_of_step(1e-12, np.float64) > 1e-7
bend = [error_of_step(step, np.float64) for step in (1e-2, 1e-3)]
assert 90 < bend[0] / bend[1] < 110

# %% [markdown]
# On the right the step is so large that the function bends within it: with
# a tenth of the step the error is a hundredth. On the left it is so small
# that the two results agree in nearly all their digits, and their
# difference is made of rounding errors. In float32 no step is good.
# Therefore gradients are checked in float64, with steps near $10^{-5}$.
#
# Here is such a check, for every number of every input.

# %%
def measured_gradient(function, arrays, which, cotangent):
    """Change each number of arrays[which] in turn, and look."""
    slopes, step = np.empty(arrays[which].shape), 1e-5
    for place in np.ndindex(slopes.shape):
        ends = []
        for change in (step, -step):
            moved = [array.copy() for array in arrays]
            moved[which][place] += change
            result = function(*[Tensor(array) for array in moved])
            ends.append(np.sum(result.data * cotangent))
        slopes[place] = (ends[0] - ends[1]) / (2 * step)
    return slopes


def check_gradients(function, arrays, cotangent):
    """AssertionError if backward and measurement disagree."""
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    found = gradients(function(*tensors), tensors, cotangent)
    for which, gradient in enumerate(found):
        right = measured_gradient(function, arrays, which, cotangent)
        np.testing.assert_allclose(
            gradient, right, rtol=1e-6, atol=1e-8
        )


# %% [markdown]
# tinyvit's is called `gradcheck`; it draws the cotangent itself. Both say
# nothing when all is well.

# %%
from tinyvit import gradcheck

arrays = [random.normal(size=(4, 3)), random.normal(size=(3, 5))]
check_gradients(
    lambda x, w: MatrixProduct()(x, w), arrays,
    random.normal(size=(4, 5)),
)
gradcheck(lambda x, w: MatrixProduct()(x, w), arrays)

# %% [markdown]
# ### An experiment: why random?
#
# The easiest way to get a single number at the end is to sum up the
# output, which means a cotangent of ones. Here is a *softmax*: it turns a
# row of $K$ numbers $x_1 \dots x_K$ into positive numbers that sum to 1,
# such as the probabilities of chapter 0: $y_k = e^{x_k} / \sum_j e^{x_j}$.
# Its backward pass below is nonsense: it returns zeros. We check it with a
# cotangent of ones, and with a random one. Which of them notices?

# %%
class WrongSoftmax(Function):
    def forward(self, x):  # (rows, K)
        e = np.exp(x)
        return e / e.sum(axis=-1, keepdims=True)

    def backward(self, dout):
        return (np.zeros_like(dout),)  # nothing at all!


def verdict(check, *given):
    try:
        check(lambda x: WrongSoftmax()(x), *given)
    except AssertionError:
        return "wrong!"
    return "all is well"


x = random.normal(size=(2, 5))
ones = verdict(check_gradients, [x], np.ones((2, 5)))
numbers = verdict(check_gradients, [x], random.normal(size=(2, 5)))
print("a cotangent of ones:", ones)
print("random cotangents:  ", numbers)
assert ones == "all is well"
assert numbers == verdict(gradcheck, [x]) == "wrong!"

# %% [markdown]
# The outputs of a softmax always sum to 1, whatever its inputs. So the
# derivative of their sum *is* zero, and a backward pass that returns zeros
# is right for this one question: ones through a softmax prove nothing. Ask
# with random numbers and there is nowhere to hide. That is why `gradcheck`
# draws its own.
#
# ## Exercises
#
# ### Exercise 1.1: another operation
#
# Write `tanh` for our `Value`. The hyperbolic tangent of $x$ is `np.tanh`,
# and its derivative is $1 - \tanh^2 x$.

# %% tags=["exercise"]
def tanh(x):
    """tanh of a Value, as a Value."""
    ...


# %% tags=["check"]
def check_tanh(tanh):
    """Says whether the function is right, and if not, why."""
    x = Value(0.5)
    try:
        y = tanh(x)
    except (TypeError, AttributeError):
        print("Not yet: NumPy knows no Values. x is one; its number is "
              "x.data.")
        return False
    if y is None:
        print("Not yet: the function returns nothing.")
        return False
    if not isinstance(y, Value):
        print("Not yet: return a Value, so that it has a place in the "
              "graph.")
        return False
    if abs(y.data - np.tanh(0.5)) > 1e-12:
        print("Not yet: its data should be np.tanh(x.data).")
        return False
    if not isinstance(y.inputs, tuple | list) or not isinstance(
        y.slopes, tuple | list
    ):
        print("Not yet: inputs and slopes are tuples, even if they "
              "hold one thing: (x,).")
        return False
    backward(y * y)  # twice the value times the slope
    if x.grad == 0:
        print("Not yet: the result does not know that it was made from "
              "x: give Value its inputs and slopes.")
        return False
    slope = 1 - np.tanh(0.5) ** 2
    if abs(x.grad - 2 * np.tanh(0.5) * slope) > 1e-12:
        found = x.grad / (2 * y.data)
        print(f"Not yet: at 0.5 the slope is {slope:.4f}, and yours "
              f"{found:.4f}. The square is of tanh(x), not of x.")
        return False
    print("Right!")
    return True


check_tanh(tanh);

# %% tags=["solution"]
def tanh(x):
    """tanh of a Value, as a Value."""
    y = np.tanh(x.data)
    return Value(y, (x,), (1 - y**2,))


check_tanh(tanh);

# %% [markdown]
# ### Exercise 1.2: undo a broadcast
#
# An array of shape `shape` was broadcast by NumPy to the shape of
# `gradient`. Return the gradient that it gets: summed over every axis
# along which it was repeated. Broadcasting puts missing axes in front, and
# repeats axes of length 1.

# %% tags=["exercise"]
def unbroadcast(gradient, shape):
    """Sum `gradient` to `shape`."""
    ...


# %% tags=["check"]
def check_unbroadcast(unbroadcast):
    """Says whether the function is right, and if not, why."""
    gradient = np.arange(24.0).reshape(2, 3, 4)
    for shape, hint in [
        ((2, 3, 4), "nothing was repeated here: leave it as it is"),
        ((4,), "missing axes come in front, so count from there"),
        ((3, 4), "one axis is missing, the first"),
        ((2, 1, 4), "an axis of length 1 was repeated, and it should "
                    "still be there afterwards (see keepdims)"),
        ((1, 4), "one axis is missing and another was repeated: deal "
                 "with the one kind, then with the other"),
        ((), "a single number was repeated along all axes"),
    ]:
        try:
            found = unbroadcast(gradient, shape)
        except (ValueError, IndexError) as error:
            print(f"Not yet: for shape {shape}, {hint}. ({error})")
            return False
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        x = Tensor(np.zeros(shape), requires_grad=True)
        (right,) = gradients(x * np.ones((2, 3, 4)), [x], gradient)
        if np.shape(found) != shape or not np.allclose(found, right):
            print(f"Not yet: for shape {shape}, {hint}.")
            return False
    print("Right!")
    return True


check_unbroadcast(unbroadcast);

# %% tags=["solution"]
def unbroadcast(gradient, shape):
    """Sum `gradient` to `shape`."""
    missing = gradient.ndim - len(shape)
    gradient = gradient.sum(axis=tuple(range(missing)))
    repeated = tuple(
        axis for axis, length in enumerate(shape)
        if length == 1 and gradient.shape[axis] != 1
    )
    return gradient.sum(axis=repeated, keepdims=True)


check_unbroadcast(unbroadcast);

# %% [markdown]
# ### Exercise 1.3: find the mistake
#
# The backward pass of this division, $x / y$, is wrong in one place. Derive
# $\partial (x/y) / \partial y$ and mend it.

# %% tags=["exercise"]
class Quotient(Function):
    def forward(self, x, y):
        self.x, self.y = x, y
        return x / y

    def backward(self, dout):
        return dout / self.y, dout * self.x / self.y  # mend me


# %% tags=["check"]
def check_quotient(quotient):
    """Says whether the Function is right, and if not, why."""
    x, y = np.array([1.0, -2.0, 3.0]), np.array([0.5, 2.0, -1.5])
    dout = np.array([0.3, -1.1, 0.7])  # no ones: they hide mistakes
    tensors = [Tensor(array, requires_grad=True) for array in (x, y)]
    dx, dy = gradients(quotient()(*tensors), tensors, dout)
    if not np.allclose(dx, dout / y):
        print("Not yet: the first of the two gradients was right.")
        return False
    if np.allclose(dy, -x / y**2):
        print("Not yet: the slope is right, but what has arrived from "
              "behind is missing.")
        return False
    if np.allclose(dy, dout * x / y**2):
        print("Not yet: the sign. A larger y makes x / y smaller, if x "
              "and y are positive.")
        return False
    if not np.allclose(dy, -dout * x / y**2):
        print("Not yet: write x / y as x times y to the power -1, and "
              "use the rule for powers.")
        return False
    print("Right!")
    return True


check_quotient(Quotient);

# %% tags=["solution"]
class Quotient(Function):
    def forward(self, x, y):
        self.x, self.y = x, y
        return x / y

    def backward(self, dout):
        return dout / self.y, -dout * self.x / self.y**2


check_quotient(Quotient);

# %% [markdown]
# ## Further reading
#
# - `tinyvit/autograd/function.py` and `tensor.py`: you can read both now.
#   Look for what ours lacks: nodes are freed on the way back, a second
#   walk is refused, and shapes are checked.
# - Baydin et al., *Automatic differentiation in machine learning: a
#   survey* (2018), [arXiv:1502.05767](https://arxiv.org/abs/1502.05767),
#   sections 2 and 3.
# - Andrej Karpathy's *micrograd*, from which the idea of starting with
#   single numbers comes.
#
# Next: [layers by hand](02_layers_by_hand.ipynb).
