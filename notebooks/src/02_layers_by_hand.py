# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Layers by hand
#
# **The question:** what are the parts of the network, and how does each of
# them pass its gradient back?
#
# ## Where we are
#
# In [chapter 1](01_a_machine_for_derivatives.ipynb) you built a machine
# that differentiates whatever is made of its operations: sums, products,
# a matrix product. This chapter makes the parts of a network, its
# *layers*, and gives them to that machine. There are only four, and
# attention, which gets [chapter 4](04_attention.ipynb) for itself:
#
# - *linear*: mix the numbers of a vector, with weights that are learned;
# - *GELU*: bend each number, so that two layers are more than one;
# - *layer norm*: bring each vector to the same size;
# - *softmax cross-entropy*: say by one number how wrong the answer is.
#
# ## The idea
#
# The machine could take each of them apart into sums and products. We
# derive their backward passes by hand all the same, each as one operation.
# It keeps less memory, it is safe where the parts are not, and what comes
# out is so short that it explains the layer. Here are the four, made into
# the small network that you train at the end. Below each part stands what
# it has to keep for the way back; each letter gets its meaning in what
# follows.

# %%
import math
import tracemalloc

import numpy as np

from tinyvit import Tensor, autograd, gradcheck
from tinyvit.analysis import style
from tinyvit.autograd import Function, gradients

# %% tags=["drawing"]
parts = {
    "linear": "$x, W$", "layer\nnorm": r"$n, r, \gamma$",
    "GELU": "$y'$",
    "linear ": "$x, W$", "softmax\nloss": "$p, t$",
}
box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": style.GREY}
centre = {"ha": "center", "va": "center"}
figure, axis = style.new_figure(5.8, 2)
for place, (name, saved) in enumerate(parts.items()):
    axis.text(2 * place, 0, name, bbox=box, **centre)
    axis.text(2 * place, -0.8, f"keeps\n{saved}", color=style.GREY,
              **centre)
for place, width in enumerate((784, 64, 64, 64, 10, 1)):
    left, right = 2 * place - 1.3, 2 * place - 0.7
    for start, end, y, colour in [
        (left, right, 0.12, style.BLUE),
        (right, left, -0.12, style.VERMILION),
    ]:
        axis.annotate("", (end, y), (start, y), arrowprops={
            "arrowstyle": "->", "color": colour})
    axis.text(2 * place - 1, 0.32, width, color=style.BLUE, **centre)
axis.text(-1.4, 0.8, "blue: values, how many", color=style.BLUE)
axis.text(9.4, 0.8, "red: gradients, as many",
          color=style.VERMILION, ha="right")
axis.set_xlim(-1.5, 9.5)
axis.set_ylim(-1.1, 1)
axis.axis("off")
axis.set_title("From an image's pixels to one number, and back");

# %% [markdown]
# ## The mathematics: one question, asked four times
#
# $\mathcal L$ is the loss, the one number at the end. As in chapter 1 a
# bar means its gradient: $\bar x_j = \partial \mathcal L / \partial x_j$.
# The array $\bar x$, in code `dx`, has the shape of $x$. A layer gets $\bar
# y$ from behind and owes $\bar x$ to what stands before it.
#
# To find it, change the input by a tiny $\delta x$. The output changes by
# some $\delta y$, and the loss, by the meaning of $\bar y$, by
#
# $$
# \delta \mathcal L = \sum_i \bar y_i \,\delta y_i .
# $$
#
# Write $\delta y$ in terms of $\delta x$ and sort the sum. **What stands
# in front of $\delta x_j$ is $\bar x_j$**, for that is what a gradient
# means: $\delta \mathcal L = \sum_j \bar x_j \,\delta x_j$. Products of two
# tiny numbers are dropped, as always in calculus. Asked of a weight, the
# same question gives the weight's gradient.
#
# ## Linear
#
# Let $X$ hold $R$ vectors of $k$ numbers as its rows: shape $(R, k)$. The
# weights $W$ have shape $(k, m)$, the bias $b$ has $(m{,})$, and the output
#
# $$
# Y = XW + b
# $$
#
# has shape $(R, m)$. Each output is a weighted sum of the inputs, plus a
# number that does not depend on them. Now change all three:
#
# $$
# \delta Y = \delta X\, W + X\, \delta W + \delta b .
# $$
#
# The first two terms are the matrix product of chapter 1, which gave $\bar
# X = \bar Y W^\top$ and $\bar W = X^\top \bar Y$. The bias is new. The
# same $b$ is added to every row, so the sum over the rows $i$ can be moved
# inside:
#
# $$
# \begin{aligned}
# \sum_{i,j} \bar Y_{ij}\, \delta b_j
# &= \sum_j \Bigl(\sum_i \bar Y_{ij}\Bigr) \delta b_j \\
# \bar b_j &= \sum_i \bar Y_{ij} .
# \end{aligned}
# $$
#
# Look at $\bar W_{lj} = \sum_i X_{il} \bar Y_{ij}$ again: it is a sum over
# the rows, too. Every vector of every image has its say in how a weight
# should change.
#
# In a Transformer $X$ has one more axis: $B$ images of $N$ vectors each,
# shape $(B, N, k)$. That makes $R = BN$ rows, and nothing else is new.

# %%
class Linear(Function):
    def forward(self, x, weight, bias):
        self.x, self.weight = x, weight
        return x @ weight + bias

    def backward(self, dout):
        x = self.x.reshape(-1, self.x.shape[-1])
        rows = dout.reshape(-1, dout.shape[-1])
        dx = dout @ self.weight.T
        return dx, x.T @ rows, rows.sum(axis=0)


random = np.random.default_rng(0)
arrays = [random.normal(size=shape) for shape in
          [(2, 3, 4), (4, 5), (5,)]]
gradcheck(lambda *inputs: Linear()(*inputs), arrays)

# %% [markdown]
# `gradcheck` says nothing, so every gradient agrees with the measured
# slope. The same in tinyvit? This function compares two layers: the
# result, and the gradient of each input.

# %%
def assert_same(mine, theirs, arrays, rtol=1e-9):
    """Both give the same result and the same gradients."""
    found = []
    for layer in (mine, theirs):
        inputs = [Tensor(array, requires_grad=True) for array in arrays]
        out = layer(*inputs)
        cotangent = np.random.default_rng(1).normal(size=out.shape)
        found.append([out.data, *gradients(out, inputs, cotangent)])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol, atol=1e-12)


assert_same(
    lambda *inputs: Linear()(*inputs), autograd.linear, arrays
)

# %% [markdown]
# In tinyvit the arithmetic and the machine are kept apart. The arithmetic
# stands in `tinyvit/kernels`, as pairs of functions on plain arrays, the
# *kernels* `linear_forward` and `linear_backward`, and a `Function` calls
# them. So a pair can be read, timed, and written once more for a GPU
# (chapter 8) without touching the rest.
#
# ## GELU
#
# Two linear layers, one after the other, are no more than one:

# %%
x, V, W = (random.normal(size=(4, 4)) for _ in range(3))
np.testing.assert_allclose((x @ V) @ W, x @ (V @ W))

# %% [markdown]
# The product $VW$ is a single matrix. To gain something by depth, each
# number must be bent on the way. The simplest bend is the *ReLU*: keep $x$
# if it is positive, else put 0. ViT's is smoother. The *Gaussian error
# linear unit* keeps $x$ with a probability. Draw a number $Z$ from the
# *normal distribution*. That means: numbers near 0 come often, large ones
# seldom, and the probability that $Z$ falls between two limits is the area
# between them under the bell curve
#
# $$
# \varphi(z) = \frac{1}{\sqrt{2\pi}}\, e^{-z^2/2}.
# $$
#
# If $Z$ is below $x$, keep $x$, else put 0. The probability of keeping is
# the area to the left of $x$,
#
# $$
# \Phi(x) = \int_{-\infty}^x \varphi(z)\,dz ,
# $$
#
# and so the mean outcome is $x \cdot \Phi(x) + 0 \cdot (1 - \Phi(x))$:
#
# $$
# y = x\,\Phi(x) .
# $$
#
# No dice are thrown: the GELU *is* this mean. It works on each number by
# itself, so there is only one slope to find. By the product rule, and
# because the derivative of an integral by its upper end is what stands
# under it,
#
# $$
# y' = \Phi(x) + x\,\varphi(x),
# \qquad
# \bar x = \bar y\, y' .
# $$
#
# No formula with roots and powers gives $\Phi$. Libraries have the *error
# function* $\operatorname{erf}$, a bell's integral in other units: $\Phi(x)
# = \tfrac12 \bigl(1 + \operatorname{erf}(x/\sqrt2)\bigr)$.
#
# ### The other form
#
# For those who need speed more than the last digit, the authors of the GELU
# gave another $P(x)$ in place of $\Phi(x)$, made of a hyperbolic tangent.
# The official ViT uses that one:
#
# $$
# \begin{aligned}
# P(x) &= \tfrac12 (1 + \tanh u) \\
# u &= \sqrt{2/\pi}\; (x + 0.044715\, x^3) .
# \end{aligned}
# $$
#
# For its slope we need $\tanh' u = 1 - \tanh^2 u$ (exercise 1.1). That is
# $1 + \tanh u$, or $2P$, times $1 - \tanh u$, or $2(1 - P)$. So with the
# product rule and the chain rule
#
# $$
# \begin{aligned}
# y' &= P + x P' \\
# P' &= \tfrac12 \cdot 4 P (1 - P)\, u' = 2P(1-P)\,u' \\
# u' &= \sqrt{2/\pi}\;(1 + 3 \cdot 0.044715\, x^2) .
# \end{aligned}
# $$

# %%
ROOT = math.sqrt(2 / math.pi)
erf = np.vectorize(math.erf)


def gelu_exact(x):
    """y and y'."""
    p = (1 + erf(x / math.sqrt(2))) / 2
    bell = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * p, p + x * bell


def gelu_tanh(x):
    """y and y'."""
    p = (1 + np.tanh(ROOT * (x + 0.044715 * x**3))) / 2
    slope_of_u = ROOT * (1 + 3 * 0.044715 * x * x)
    return x * p, p + x * 2 * p * (1 - p) * slope_of_u


# %%
class Gelu(Function):
    def __init__(self, form):
        self.form = form

    def forward(self, x):
        y, self.slope = self.form(x)
        return y

    def backward(self, dout):
        return (dout * self.slope,)


x = random.normal(size=(3, 4))


def check_gelu(form, name):
    """Against measured slopes, and against tinyvit."""
    gradcheck(lambda x: Gelu(form)(x), [x])
    assert_same(
        lambda x: Gelu(form)(x), lambda x: autograd.gelu(x, name), [x]
    )


check_gelu(gelu_exact, "exact")
check_gelu(gelu_tanh, "tanh")

# %% [markdown]
# We keep the slope and not $x$. It takes the same memory, and forward has
# just computed nearly all of it.
#
# How far are the two forms apart?

# %%
x = np.linspace(-6, 6, 2001)
(exact, slope), (by_tanh, _) = gelu_exact(x), gelu_tanh(x)
apart = abs(by_tanh - exact).max()
rounding = np.finfo(np.float32).eps / 2  # of a number near 1
print(f"at most {apart:.6f}: {apart / rounding:,.0f} roundings")
print(f"slope from {slope.min():.3f} to {slope.max():.3f}")
assert 1000 * rounding < apart < 0.0005
assert slope.min() < -0.1 and slope.max() > 1.1

# %% tags=["drawing"]
figure, axes = style.new_figure(6, 2.7, 1, 2)
left, right = axes
near = abs(x) < 3.5
left.plot(x[near], np.maximum(x, 0)[near], color=style.GREY,
          linestyle=":")
left.plot(x[near], exact[near], color=style.BLUE)
left.plot(x[near], slope[near], color=style.VERMILION, linestyle="--")
left.text(0.9, 2.5, "GELU", color=style.BLUE, ha="right")
left.text(0.9, 0.5, "its slope", color=style.VERMILION)
left.annotate("ReLU", (-1.3, 0), (-2.9, 0.5), color=style.GREY,
              arrowprops={"arrowstyle": "-", "color": style.GREY})
left.set_ylim(-0.5, 3)
left.set_title("A ReLU without the corner")
right.plot(x, (by_tanh - exact) * 1e4, color=style.BLUE)
right.set_ylabel("tanh - exact, x 10,000")
right.set_title("Two forms, not quite equal")
for axis in axes:
    axis.set_xlabel("x")

# %% [markdown]
# The slope is above 1 in places, and below 0 in others: a GELU goes down
# before it goes up. Half a thousandth looks harmless, but it is thousands
# of times what float32 rounds off, and each layer has its share. So a model
# with weights that others have trained must use the form that they were
# trained with (chapter 9).
#
# ## Softmax cross-entropy
#
# For each image the network ends in $K$ numbers, one for each kind of
# thing: the *logits* $x$, shape $(B, K)$ for a batch of $B$ images.
# Softmax, which you met in chapter 1, makes probabilities of each row:
#
# $$
# p_k = \frac{e^{x_k}}{\sum_j e^{x_j}} .
# $$
#
# How wrong are they? If the right answer has got the probability $p$, let
# the loss be $-\ln p$: nothing for $p = 1$, and more and more as $p$ goes
# to 0. To be sure and wrong costs most. (Why a logarithm? Suppose that each
# image's answer is drawn by its probabilities. The probability that *all*
# are right is the product of the $p$, and its logarithm is a sum, with one
# term for each image. It also undoes the exponential of the softmax, and so
# the gradient will come out short.)
#
# In general let $t$, of shape $(B, K)$, hold the *targets*: rows that sum to
# 1, such as a 1 at the right answer and 0 elsewhere. The *cross-entropy* is
# the mean over the batch,
#
# $$
# \mathcal L = -\frac1B \sum_b \sum_k t_{bk} \ln p_{bk} .
# $$
#
# A network that knows nothing gives $p_k = 1/K$ and pays $\ln K$, whatever
# is right. For ten kinds of clothes that is $\ln 10 \approx 2.30$: the
# dashed line of chapter 0, and a good thing to check before a long
# training.
#
# ### Backward
#
# Take the logarithm first:
#
# $$
# \ln p_k = x_k - \ln \sum_j e^{x_j} .
# $$
#
# Change the logits by $\delta x$. The logarithm of a sum $S$ changes by
# $\delta S / S$, and $e^{x_j}$ by $e^{x_j} \delta x_j$, so
#
# $$
# \delta \ln p_k = \delta x_k - \sum_j p_j\, \delta x_j .
# $$
#
# Put that into the loss of one image. The last sum is the same for every
# $k$, and since $\sum_k t_k = 1$, it counts once:
#
# $$
# \begin{aligned}
# \delta \mathcal L
# &= -\frac1B \Bigl( \sum_k t_k\, \delta x_k
#   - \sum_j p_j\, \delta x_j \Bigr) \\
# &= \sum_j \frac{p_j - t_j}{B}\, \delta x_j .
# \end{aligned}
# $$
#
# And there it stands:
#
# $$
# \bar x = \frac{p - t}{B} .
# $$
#
# **Probabilities minus targets.** Once $p$ is there, no logarithm is left,
# and nothing is divided by a probability. Each logit is told by how much
# its probability is too large.
#
# Attention will need the softmax alone, without a loss behind it. Then an
# arbitrary gradient $\bar p$ arrives. Since $\delta p_k = p_k\, \delta \ln
# p_k$,
#
# $$
# \sum_k \bar p_k\, \delta p_k
# = \sum_k \bar p_k\, p_k
#   \Bigl( \delta x_k - \sum_j p_j\, \delta x_j \Bigr) ,
# $$
#
# and sorted by $\delta x_j$ once more that gives
#
# $$
# \bar x_j = p_j \Bigl( \bar p_j - \sum_k \bar p_k\, p_k \Bigr) .
# $$
#
# With all $\bar p_k = 1$ the bracket is $1 - \sum_k p_k = 0$: the trap of
# chapter 1. Here is a softmax with the right backward pass (why it
# subtracts the row's largest number first, we come to next):

# %%
class Softmax(Function):
    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.p = e / e.sum(axis=-1, keepdims=True)
        return self.p

    def backward(self, dout):
        total = (dout * self.p).sum(axis=-1, keepdims=True)
        return (self.p * (dout - total),)


logits = random.normal(size=(3, 5))
gradcheck(lambda x: Softmax()(x), [logits])
assert_same(lambda x: Softmax()(x), autograd.softmax, [logits])

# %% [markdown]
# ### Numbers that overflow
#
# The largest float32 is about $3.4 \cdot 10^{38}$, and $e^{89}$ is larger.
# A network that goes wrong easily gets there. (`errstate` silences NumPy's
# warnings. We want to see what the numbers do.)

# %%
with np.errstate(over="ignore", invalid="ignore"):
    e = np.exp(np.array([88, 89, 0], np.float32))
    p = e / e.sum()
print("largest float32:", np.finfo(np.float32).max)
print(e, "->", p)
assert np.isfinite(e[0]) and np.isinf(e[1]) and np.isnan(p[1])

# %% [markdown]
# Infinity over infinity is NaN, *not a number*, and every sum and product
# with a NaN is NaN again. The remedy costs next to nothing. Subtract the
# row's largest number $m$ from all:
#
# $$
# \frac{e^{x_k - m}}{\sum_j e^{x_j - m}}
# = \frac{e^{-m}\, e^{x_k}}{e^{-m} \sum_j e^{x_j}} = p_k .
# $$
#
# Now the largest exponent is 0, the sum lies between 1 and $K$, and what
# rounds to 0 is too small to matter. The loss with its gradient:

# %%
class SoftmaxCrossEntropy(Function):
    def __init__(self, targets):
        self.targets = targets

    def forward(self, logits):
        shifted = logits - logits.max(axis=1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(axis=1, keepdims=True)
        self.p = e / total
        log_p = shifted - np.log(total)
        return -np.sum(self.targets * log_p) / len(logits)

    def backward(self, dout):
        return ((self.p - self.targets) * (dout / len(self.p)),)


right = np.eye(5)[[4, 0, 2]]  # a 1 at the right answer
unsure = 0.9 * right + 0.1 / 5  # and a bit for the others
gradcheck(lambda x: SoftmaxCrossEntropy(unsure)(x), [logits])
assert_same(
    lambda x: SoftmaxCrossEntropy(unsure)(x),
    lambda x: autograd.softmax_cross_entropy(x, unsure), [logits],
)
know_nothing = SoftmaxCrossEntropy(right)(Tensor(np.zeros((3, 5))))
assert abs(know_nothing.item() - np.log(5)) < 1e-12

# %% [markdown]
# Here is the gradient of one image with four classes, with its sign turned
# round: the way that a step downhill goes.

# %%
x = Tensor(np.array([[2.0, 1.0, 0.5, -1.0]]), requires_grad=True)
target = np.array([[0.0, 1.0, 0.0, 0.0]])
loss = SoftmaxCrossEntropy(target)(x)
p = loss.creator.p[0]
(dx,) = gradients(loss, [x])
assert abs(dx.sum()) < 1e-12
assert (dx[0] < 0).tolist() == [False, True, False, False]
assert dx[0].argmax() == p.argmax() == 0

# %% tags=["drawing"]
figure, axis = style.new_figure(5.8, 2.5)
place = np.arange(4)
axis.bar(place - 0.2, p, width=0.38, color=style.BLUE)
axis.bar(place + 0.2, -dx[0], width=0.38, color=style.VERMILION)
axis.text(-0.35, 0.66, "probability", color=style.BLUE)
axis.text(1.45, 0.55, "target - probability:\nwhere a step downhill\n"
          "moves this logit", color=style.VERMILION)
axis.axhline(0, color=style.GREY, linewidth=0.8)
axis.set_ylim(-0.7, 1.15)
axis.set_xticks(place, ["class 0", "class 1\n(right)", "class 2",
                        "class 3"])
axis.set_title("Each class is told what is wrong with it");

# %% [markdown]
# The entries sum to zero: what the right class gains, the others lose, and
# of these the one that was believed most loses most.
#
# ### An experiment: what goes wrong with a rounded probability
#
# Why not compute $p$, and then $-\ln p$, as the formula says? Take two
# classes, and let the logit of the right one lag behind by a growing gap,
# in float32. Its true gradient is $p - t$, soon very nearly $-1$: learn!
# Here are three ways to compute it: ours; the same *composed* of the
# machine's operations `exp`, division and `log`, with the maximum
# subtracted; and with a small number added for safety, $\ln(p + 10^{-8})$.
# Make a guess: which of them still give the right slope at a gap of 100?

# %%
def composed_loss(x, targets, small=0.0):
    """The formula as it stands; the largest is subtracted."""
    e = autograd.exp(x - x.data.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -(autograd.log(p + small) * targets).sum() / len(targets)


ways = {
    "ours": lambda x, t: SoftmaxCrossEntropy(t)(x),
    "composed": composed_loss,
    "log(p + 1e-8)": lambda x, t: composed_loss(x, t, 1e-8),
}


def loss_and_slope(way, gap):
    """When the right class, the second, lies `gap` behind."""
    x = Tensor(np.array([[gap, 0]], np.float32), requires_grad=True)
    loss = ways[way](x, np.array([[0, 1]], np.float32))
    return loss.item(), float(gradients(loss, [x])[0][0, 1])


# %%
gaps = np.arange(0, 121)
with np.errstate(all="ignore"):
    found = {way: np.array([loss_and_slope(way, gap) for gap in gaps])
             for way in ways}
print("loss, slope".ljust(8) + "".join(f"{way:>15}" for way in ways))
for gap in (10, 30, 100, 110):
    print(f"gap {gap:3}  " + "".join(
        "{:>9.2f},{:5.2f}".format(*pairs[gap])
        for pairs in found.values()
    ))
slopes = {way: pairs[:, 1] for way, pairs in found.items()}
first_nan = int(np.isnan(slopes["composed"]).argmax())
print("composed: the slope is lost at a gap of", first_nan)
losses = found["composed"][:, 0]
assert first_nan == 89 and np.isfinite(losses[89])
assert np.isinf(losses[110])
assert slopes["ours"][120] == -1
assert abs(slopes["log(p + 1e-8)"][30]) < 1e-4

# %% tags=["drawing"]
figure, axis = style.new_figure(5.8, 2.7)
axis.plot(gaps, slopes["ours"], color=style.BLUE, linewidth=4,
          alpha=0.5)
axis.plot(gaps, slopes["composed"], color="black", linestyle="--")
axis.plot(first_nan - 1, -1, "x", color="black", markersize=9,
          markeredgewidth=2.5)
axis.plot(gaps, slopes["log(p + 1e-8)"], color=style.VERMILION)
axis.text(105, -0.92, "ours", color=style.BLUE)
axis.text(90, -0.86, "composed: NaN from here", ha="right")
axis.text(28, -0.12, "log(p + 1e-8): no slope, no learning",
          color=style.VERMILION)
axis.set_xlabel("how far the right logit lies behind")
axis.set_ylabel("slope of the loss for it")
axis.set_title("Only one can still learn from a large mistake");

# %% [markdown]
# The composed one divides by $p$ on its way back. At a gap of 89, $1/p$
# overflows, while the loss itself still looks well; a little later $p$
# rounds to 0, and the loss is infinite. The small number added inside the
# logarithm prevents both, and does worse: without any warning the largest
# mistakes have no gradient any more. In ours nothing is divided by $p$, and
# no logarithm of it is taken.
#
# ## Layer norm
#
# A deep network multiplies a vector by matrix after matrix, and if each
# makes it a little larger, its numbers grow beyond bounds. Layer norm
# brings every vector back to one size. Let $x$ be one row of $D$ numbers,
# shape $(D{,})$, and write $\langle x \rangle$ for their mean:
#
# $$
# \begin{aligned}
# c &= x - \langle x \rangle \\
# r &= 1 / \sqrt{\langle c^2 \rangle + \varepsilon} \\
# n &= r\,c \\
# y &= \gamma\, n + \beta .
# \end{aligned}
# $$
#
# $c$ is *centred*, its mean is 0. The mean of $c^2$ is the *variance*, and
# the root of that the *standard deviation*, which says how far the numbers
# lie from their mean. $r$, one number a row, divides by it (the tiny
# $\varepsilon$ keeps it from being 0). So $n$, of shape $(D{,})$, has mean 0
# and, but for $\varepsilon$, variance 1. The *gain* $\gamma$ and the bias
# $\beta$, both $(D{,})$ and learned, give each column the scale that it needs.
#
# ### A picture of it
#
# $D$ numbers are a point in space with $D$ axes. Let $\mathbf 1 = (1,
# \dots, 1)$. To subtract the mean is to drop the point onto the plane at a
# right angle to $\mathbf 1$, for there the numbers sum to 0. To give it
# variance 1 is to pull it in or out to the distance $\sqrt D$ from the
# origin, for then $\sum_i n_i^2 = D$. So layer norm puts *every* vector on
# a sphere within a plane. With $D = 3$ that is a circle:

# %% tags=["drawing"]
def spot(angle, radius):
    """A place in the plane, which 1 stands upon."""
    return radius * np.array([np.cos(angle), np.sin(angle)])


def seen(flat, up=0.0):
    """Where a point that high above a place is drawn."""
    return flat[0], up - 0.45 * flat[1]


def draw_arrow(axis, start, end, colour):
    axis.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "color": colour, "lw": 1.6,
        "shrinkA": 0, "shrinkB": 0})


def draw_plane(axis):
    """The plane, the circle in it, and the direction of 1."""
    turn = np.linspace(0, 2 * np.pi, 100)
    axis.fill(*seen(spot(turn, 2.9)), color="#EFEFEF")
    axis.plot(*seen(spot(turn, 3**0.5)), color=style.GREY)
    draw_arrow(axis, (0, 0), (0, 2.5), style.GREY)
    axis.text(-0.15, 2.25, "1", ha="right", weight="bold")
    axis.set_aspect("equal")
    axis.set_ylim(-1.6, 2.75)
    axis.axis("off")


figure, (left, right) = style.new_figure(
    6.6, 2.7, 1, 2, width_ratios=[6.4, 8.2]
)
draw_plane(left)
for angle, radius, up in [(0.3, 2.6, 1.4), (1.25, 0.6, 1.1),
                          (2.5, 2.6, 1.5), (4.1, 2.5, 1.0)]:
    x, c, n = (seen(spot(angle, radius), up),
               seen(spot(angle, radius)), seen(spot(angle, 3**0.5)))
    draw_arrow(left, x, c, style.ORANGE)
    draw_arrow(left, c, n, style.GREEN)
    left.plot(*x, "o", color=style.BLUE)
    left.plot(*n, "o", color=style.VERMILION)
for x, y, text, colour in [(2.65, 0.95, "x", style.BLUE),
                           (2.65, -0.4, "c", "black"),
                           (1.1, -0.3, "n", style.VERMILION)]:
    left.text(x, y, text, color=colour, fontsize=12)
left.set_xlim(-3.2, 3.2)
left.set_title("Forward: drop, then pull")

draw_plane(right)
n, onward = spot(1.1, 3**0.5), spot(1.1 - np.pi / 2, 1.6)
g, plane = n * 1.5 + onward, n + onward
draw_arrow(right, (0, 0), seen(n), style.GREY)
draw_arrow(right, seen(n), seen(g, 1.7), style.BLUE)
draw_arrow(right, seen(g, 1.7), seen(g), style.ORANGE)
draw_arrow(right, seen(g), seen(plane), style.GREEN)
draw_arrow(right, seen(n), seen(plane), style.VERMILION)
for x, y, text, colour in [
    (0.65, -1.15, "n", style.GREY), (1.7, 0.55, "g", style.BLUE),
    (3.0, 0.15, "less its\npart along 1", "black"),
    (3.0, -1.0, "less its\npart along n", style.GREEN),
    (0.95, -1.5, "what goes on", style.VERMILION),
]:
    right.text(x, y, text, color=colour)
right.set_xlim(-3.2, 5.0)
right.set_title("Backward: what leaves the circle is lost");

# %% [markdown]
# The left picture explains the right one. Suppose that we add the same
# number to all of $x$, or double $x$. It lands on the same point $n$, and
# nothing behind will notice. Two directions of change are without effect,
# so nothing of the gradient $g$ that arrives at $n$ may go on along them:
# not along $\mathbf 1$, and not along $n$.
#
# ### Backward
#
# Now by calculation. Change $x$ by $\delta x$ and follow it line by line:
#
# $$
# \begin{aligned}
# \delta c &= \delta x - \langle \delta x \rangle \\
# \delta r &= -\tfrac12 r^3 \cdot 2 \langle c\, \delta c \rangle
#           = -r^3 \langle c\, \delta c \rangle \\
# \delta n &= r\,\delta c + c\,\delta r \\
#          &= r \bigl( \delta c
#             - r c\, \langle r c\, \delta c \rangle \bigr) \\
#          &= r \bigl( \delta c - n \langle n\, \delta c \rangle \bigr) .
# \end{aligned}
# $$
#
# (For $\delta r$: it is $r = v^{-1/2}$ with $v = \langle c^2 \rangle +
# \varepsilon$, and its derivative by $v$ is $-\tfrac12 v^{-3/2}$, which is
# $-\tfrac12 r^3$. And $v$ changes by $2 \langle c\, \delta c \rangle$.)
# Now $\delta c$ is $\delta x$ less a constant, and since $n$ has mean 0, a
# constant adds nothing to $\langle n\, \delta c \rangle$. So it is
# $\langle n\, \delta x \rangle$, and
#
# $$
# \delta n = r \bigl( \delta x - \langle \delta x \rangle
#            - n \langle n\, \delta x \rangle \bigr) .
# $$
#
# At $n$ the gradient $g = \gamma\,\bar y$ arrives. Put $\delta n$ into
# $\sum_i g_i\, \delta n_i$ and sort by $\delta x$. The means change places:
#
# $$
# \begin{aligned}
# \sum_i g_i \langle \delta x \rangle
#   &= \sum_j \langle g \rangle\, \delta x_j \\
# \sum_i g_i\, n_i \langle n\, \delta x \rangle
#   &= \sum_j \langle n\, g \rangle\, n_j\, \delta x_j .
# \end{aligned}
# $$
#
# (Write each mean as a sum divided by $D$, and both sides are the same
# double sum.) What stands in front of $\delta x_j$ is
#
# $$
# \bar x = r \bigl( g - \langle g \rangle
#          - n \langle n\, g \rangle \bigr) .
# $$
#
# It is the operation of the picture. The term $\langle g \rangle$ is the
# part of $g$ along $\mathbf 1$. And $n \langle n\, g \rangle$ is its part
# along $n$: that is $n\,(n \cdot g)/(n \cdot n)$, with the dot product
# $n \cdot g = \sum_i n_i g_i$, and $n \cdot n = D$. (That is true but for
# the tiny $\varepsilon$; the formula is exact with it, too.)
#
# The gain and the bias are used in every row. So their gradients are sums
# over the rows, as in the linear layer: of $\bar y\, n$, entry by entry,
# for $\gamma$, and of $\bar y$ for $\beta$.

# %%
def mean(rows):
    """Of each row: (..., D) -> (..., 1)."""
    return rows.mean(axis=-1, keepdims=True)


class LayerNorm(Function):
    def __init__(self, eps=1e-6):
        self.eps = eps

    def forward(self, x, gamma, beta):
        centred = x - mean(x)
        self.r = 1 / np.sqrt(mean(centred * centred) + self.eps)
        self.n, self.gamma = centred * self.r, gamma
        return gamma * self.n + beta

    def backward(self, dout):
        g = self.gamma * dout
        dx = self.r * (g - mean(g) - self.n * mean(self.n * g))
        rows = tuple(range(dout.ndim - 1))
        return dx, (dout * self.n).sum(axis=rows), dout.sum(axis=rows)


x = random.normal(size=(2, 3, 5))
gamma, beta = random.normal(size=(2, 5))
gradcheck(lambda *t: LayerNorm()(*t), [x, gamma, beta])
assert_same(
    lambda *t: LayerNorm()(*t),
    lambda *t: autograd.layer_norm(*t, eps=1e-6), [x, gamma, beta],
)

# %% [markdown]
# And the claims of the picture: $10x + 7$ has the same $n$ as $x$, and the
# gradient has nothing along $\mathbf 1$ and $n$.

# %%
def norm_and_gradient(x):
    """n, and the gradient that comes back for x."""
    inputs = [Tensor(x, requires_grad=True), Tensor(gamma),
              Tensor(beta)]
    out = LayerNorm(1e-12)(*inputs)
    n = out.creator.n
    return n, gradients(out, inputs[:1], cotangent)[0]


cotangent = random.normal(size=x.shape)
n, dx = norm_and_gradient(x)
other_n, other_dx = norm_and_gradient(10 * x + 7)
np.testing.assert_allclose(other_n, n)
np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-9)
np.testing.assert_allclose((dx * n).sum(axis=-1), 0, atol=1e-9)
np.testing.assert_allclose(other_dx, dx / 10)
print("the largest part along 1 or n:",
      f"{max(abs(mean(dx)).max(), abs(mean(dx * n)).max()):.0e}")

# %% [markdown]
# The last assert is worth a thought: with a vector ten times as long, the
# factor $r$ makes its gradient ten times smaller. A vector that has grown
# large is hard to turn.
#
# ### What goes wrong: no $\varepsilon$
#
# When all numbers of a row are equal, the variance is 0. Surely that never
# happens? Look at the patches of chapter 0's clothes: 16 for each image.

# %%
from tinyvit.data import load_dataset

train, test = load_dataset("fashion-mini")
split = train.images[..., 0].reshape(-1, 4, 7, 4, 7)
patches = split.swapaxes(2, 3).reshape(-1, 16, 49)
constant = patches.min(axis=2) == patches.max(axis=2)
print(f"{constant.mean():.0%} of all patches are of one colour,")
print(f"{constant.any(axis=1).mean():.0%} of the images have such")
assert constant.mean() > 0.15 and constant.any(axis=1).mean() > 0.5

# %% [markdown]
# Ten images, then, through a layer norm without $\varepsilon$, and a linear
# layer behind it. How many of the linear layer's weights are harmed?

# %%
def gradient_of_weights(patches, eps):
    """Through layer norm, then a linear layer."""
    weight = Tensor(np.ones((49, 3)), requires_grad=True)
    n = LayerNorm(eps)(Tensor(patches), Tensor(np.ones(49)),
                       Tensor(np.zeros(49)))
    out = Linear()(n, weight, Tensor(np.zeros(3)))
    return gradients(out, [weight], np.ones(out.shape))[0]


some = patches[:10] / 255
flat = int(constant[:10].sum())
print(f"{flat} of 160 patches are flat")
assert flat > 0
for eps in (0.0, 1e-6):
    with np.errstate(invalid="ignore", divide="ignore"):
        dw = gradient_of_weights(some, eps)
    print(f"eps = {eps}: {np.isnan(dw).mean():.0%} of the weights' "
          "gradient is NaN")
    assert np.isnan(dw).all() if eps == 0 else np.isfinite(dw).all()

# %% [markdown]
# A weight's gradient is a sum over all rows, and one NaN in it is enough.
# After one step along such a gradient every weight of the layer is NaN, and
# the model is lost.
#
# ### What goes wrong: a saved array is changed
#
# "It saves memory", somebody thinks, and writes over an array that is no
# longer needed. But the linear layer keeps its input, and NumPy keeps no
# copy:

# %%
x, weight, bias, cotangent = (
    random.normal(size=shape)
    for shape in [(6, 4), (4, 5), (5,), (6, 5)]
)
inputs = [Tensor(a, requires_grad=True) for a in (x, weight, bias)]
out = Linear()(*inputs)
expected = x.T @ cotangent
x *= 2  # after the forward pass, in place
dweight = gradients(out, inputs, cotangent)[1]
print(f"{(dweight / expected).mean():.1f} times the right gradient")
np.testing.assert_allclose(dweight, 2 * expected)

# %% [markdown]
# Nothing fails. `gradcheck` on the layer alone passes, because the culprit
# stands elsewhere. So the rule in tinyvit is: an array that has gone into
# an operation is not changed before the gradients are there. Even `+=` on
# a Tensor makes a new one.

# %%
first = tensor = Tensor(np.ones(3))
tensor += 1
assert tensor is not first and (first.data == 1).all()

# %% [markdown]
# ## What saving costs
#
# Each layer keeps arrays from forward to backward. At the turning point,
# when the loss is known and no gradient yet, those of all layers are in
# memory at once. That is the memory that training needs and using a model
# doesn't.
#
# So how much does a layer written by hand save? Here are two of ours once
# more, composed of the machine's own operations. They give the same
# numbers:

# %%
def composed_norm(x, gamma, beta):
    c = x - x.mean(axis=-1, keepdims=True)
    variance = (c * c).mean(axis=-1, keepdims=True)
    return gamma * (c / autograd.sqrt(variance + 1e-6)) + beta


def composed_gelu(x):
    u = ROOT * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + autograd.tanh(u))


x = random.normal(size=(6, 5))
pairs = {  # name: composed, by hand, what to give them besides x
    "layer norm": (
        composed_norm, lambda *t: LayerNorm()(*t), (gamma, beta)
    ),
    "GELU": (composed_gelu, lambda x: Gelu(gelu_tanh)(x), ()),
}
for composed, by_hand, others in pairs.values():
    assert_same(composed, by_hand, [x, *others])

# %% [markdown]
# Guess before you go on: of arrays as large as $x$, how many does each of
# the four keep for its way back? ($x$ itself is not counted. It was there
# before.)
#
# Python's `tracemalloc` knows how many bytes are in use, NumPy's among
# them. After the forward pass that is what the layer has kept, and its
# result.

# %%
def kept_by(layer, x, others):
    """Arrays as large as x that are kept for the way back."""
    inputs = [Tensor(a, requires_grad=True) for a in (x, *others)]
    tracemalloc.start()
    out = layer(*inputs)
    in_use, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round((in_use - out.data.nbytes) / x.nbytes)


large = random.normal(size=(1024, 128))
copies = {}
for name, (composed, by_hand, others) in pairs.items():
    wide = [np.resize(array, 128) for array in others]
    copies[name] = [
        kept_by(layer, large, wide) for layer in (composed, by_hand)
    ]
    print(f"{name:10}: composed {copies[name][0]} arrays, "
          f"by hand {copies[name][1]}")
assert copies == {"layer norm": [2, 1], "GELU": [5, 1]}

# %% [markdown]
# The machine cannot know that the five arrays of a GELU serve one slope.
# Each operation keeps what *it* needs. We have done the algebra, and know
# that one array is enough. And every operation is a trip through all of
# the array, there and back, where a layer written by hand can take many
# steps on one trip. On a fast processor trips through memory cost more
# than the arithmetic (chapter 8).
#
# What is it worth? Chapter 0's model was called `nano`. In `tiny`, the next
# larger one, the GELUs work on 197 vectors of 768 numbers for each image,
# in each of 12 blocks. In float32 and for 64 images:

# %%
from tinyvit.models import ViTConfig

tiny = ViTConfig.named("tiny")
sizes = tiny.depth, tiny.tokens, tiny.mlp_width
assert sizes == (12, 197, 768)
each = 64 * math.prod(sizes) * 4 / 1e9  # 4 bytes each, in gigabytes
composed, by_hand = copies["GELU"]
saved = each * (composed - by_hand)
print(f"{each:.2f} GB a copy, {saved:.1f} GB saved by the GELUs alone")
assert saved > 1.5

# %% [markdown]
# One can go further: keep nothing, and on the way back compute again what
# is needed. That buys memory with time; you will meet it in attention.
#
# ## All together
#
# With four layers you have a network: the one in the first picture. Its
# first matrix starts as small random numbers, the gain as ones, the rest
# as zeros, and each step moves them all against their gradient. That is
# all of learning, in its oldest form; chapter 6 has better ones. What is
# the loss before the first step?

# %%
def answer(images, parameters):
    """(B, 784) -> logits (B, 10)."""
    w1, b1, gamma, beta, w2, b2 = parameters
    hidden = LayerNorm()(Linear()(images, w1, b1), gamma, beta)
    return Linear()(Gelu(gelu_tanh)(hidden), w2, b2)


parameters = [
    random.normal(size=(784, 64)) / 784**0.5, np.zeros(64),
    np.ones(64), np.zeros(64), np.zeros((64, 10)), np.zeros(10),
]
pixels = train.images.reshape(-1, 784) / 255
losses = []
for _ in range(200):
    chosen = random.integers(0, len(pixels), 100)
    leaves = [Tensor(a, requires_grad=True) for a in parameters]
    logits = answer(Tensor(pixels[chosen]), leaves)
    targets = np.eye(10)[train.labels[chosen]]
    loss = SoftmaxCrossEntropy(targets)(logits)
    losses.append(loss.item())
    parameters = [
        array - 0.2 * slope
        for array, slope in zip(parameters, gradients(loss, leaves))
    ]
images = Tensor(test.images.reshape(-1, 784) / 255)
logits = answer(images, [Tensor(a) for a in parameters])
accuracy = (logits.data.argmax(axis=1) == test.labels).mean()
print(f"loss {losses[0]:.4f} -> {np.mean(losses[-20:]):.2f}")
print(f"right on images never seen: {accuracy:.0%}")
assert abs(losses[0] - np.log(10)) < 1e-9
assert np.mean(losses[-20:]) < 1 and accuracy > 0.6

# %% [markdown]
# It begins at $\ln 10$, as it must: the last matrix is zero, all logits
# are equal. And it learns, in two hundred steps, from derivatives that you
# have found by hand. It sees an image as 784 numbers in a row, and knows
# nothing of what lies beside what. The next chapter gives it a better look.
#
# ## Exercises
#
# ### Exercise 2.1: keep as little as you can
#
# The ReLU is $y = \max(0, x)$. Write it as a Function that keeps at most
# *one byte* for each number of $x$. (A number in float64 takes eight bytes,
# a `True` or `False` in a NumPy array takes one.)

# %% tags=["exercise"]
class ReLU(Function):
    def forward(self, x):
        ...

    def backward(self, dout):
        ...


# %% tags=["check"]
def check_relu(relu):
    """Says whether the Function is right, and if not, why."""
    x, dout = np.random.default_rng(4).normal(size=(2, 4, 5))
    before, function = x.copy(), relu()
    y = function.forward(x)
    if y is None:
        print("Not yet: forward returns nothing.")
        return False
    if not np.array_equal(x, before):
        print("Not yet: it changes its input in place.")
        return False
    if not np.array_equal(y, np.maximum(x, 0)):
        print("Not yet: y is x where x is positive, and else 0.")
        return False
    dx = function.backward(dout)
    if not isinstance(dx, tuple) or len(dx) != 1 or dx[0] is None:
        print("Not yet: backward returns a tuple with one gradient.")
        return False
    for wrong, hint in [
        (x > 0, "that is the slope; the gradient that arrives is "
                "missing"),
        (dout, "where x is negative y stays 0, whatever x does"),
        (dout * np.maximum(x, 0), "the slope is not y"),
    ]:
        if np.array_equal(dx[0], wrong):
            print(f"Not yet: {hint}.")
            return False
    if not np.array_equal(dx[0], dout * (x > 0)):
        print("Not yet: what is the slope of y left and right of 0?")
        return False
    kept = sum(a.nbytes for a in vars(function).values()
               if isinstance(a, np.ndarray))
    if kept > x.size:
        print(f"Not yet: the gradient is right, but {kept} bytes are "
              f"kept for {x.size} numbers. What has backward to know?")
        return False
    print("Right!")
    return True


check_relu(ReLU);

# %% tags=["solution"]
class ReLU(Function):
    def forward(self, x):
        self.positive = x > 0
        return x * self.positive

    def backward(self, dout):
        return (dout * self.positive,)


check_relu(ReLU);

# %% [markdown]
# ### Exercise 2.2: the loss, from labels
#
# Targets with a single 1 in each row waste memory: the number of the right
# class says as much. Write a function that takes logits of shape $(B, K)$
# and labels of shape $(B{,})$, and returns the mean loss and its gradient,
# of shape $(B, K)$. It should survive logits of 1000. (Hint:
# `array[np.arange(B), labels]` picks one number of each row.)

# %% tags=["exercise"]
def loss_of_labels(logits, labels):
    """The mean loss, and its gradient (B, K)."""
    ...


# %% tags=["check"]
def check_loss_of_labels(loss_of_labels):
    """Says whether the function is right, and if not, why."""
    logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    labels, before = np.array([1, 0]), logits.copy()
    found = loss_of_labels(logits, labels)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        print("Not yet: return the loss and its gradient.")
        return False
    if np.shape(found[1]) != (2, 3):
        print("Not yet: the gradient has the shape of the logits.")
        return False
    if np.shape(found[0]) != ():
        print("Not yet: the loss is one number, the mean of all rows.")
        return False
    if not np.array_equal(logits, before):
        print("Not yet: it changes its input in place.")
        return False
    loss, gradient = found
    x = Tensor(logits, requires_grad=True)
    t = np.eye(3)[labels]
    right = SoftmaxCrossEntropy(t)(x)
    (slopes,) = gradients(right, [x])
    for wrong, hint in [
        (np.allclose(loss, 2 * right.item()),
         "the mean over the batch, not the sum"),
        (not np.allclose(loss, right.item()),
         "for each row the loss is ln(sum of exp) - the right logit"),
        (np.allclose(gradient, 2 * slopes),
         "the loss is a mean, so its gradient is divided by B, too"),
        (np.allclose(gradient, slopes + t / 2),
         "those are probabilities: subtract 1 at the right class"),
        (np.allclose(gradient, slopes + t / 2 - t.max(axis=0) / 2),
         "each row has one right class of its own"),
        (not np.allclose(gradient, slopes), "it should be (p - t) / B"),
    ]:
        if wrong:
            print(f"Not yet: {hint}.")
            return False
    with np.errstate(all="ignore"):
        loss, gradient = loss_of_labels(1000 * logits, labels)
    if not np.isclose(loss, 1500) or not np.isfinite(gradient).all():
        print("Not yet: logits of 1000 overflow. Subtract each row's "
              "maximum, and take the logarithm of the sum only.")
        return False
    print("Right!")
    return True


check_loss_of_labels(loss_of_labels);

# %% tags=["solution"]
def loss_of_labels(logits, labels):
    """The mean loss, and its gradient (B, K)."""
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1)
    loss = (np.log(total) - shifted[rows, labels]).mean()
    gradient = e / total[:, None]
    gradient[rows, labels] -= 1
    return loss, gradient / len(logits)


check_loss_of_labels(loss_of_labels);

# %% [markdown]
# ### Exercise 2.3: a norm without a mean
#
# Many language models leave out the mean: *RMS norm* is $n = r x$ with $r
# = 1/\sqrt{\langle x^2 \rangle + \varepsilon}$, for each row. Which
# directions does its gradient lose? Derive it as above and write it down.

# %% tags=["exercise"]
class RMSNorm(Function):
    def forward(self, x):
        mean_square = mean(x * x)
        self.r = 1 / np.sqrt(mean_square + 1e-6)
        self.n = x * self.r
        return self.n

    def backward(self, dout):
        return (None,)  # write me


# %% tags=["check"]
def check_rms_norm(rms_norm):
    """Says whether the Function is right, and if not, why."""
    x = np.random.default_rng(5).normal(size=(3, 4)) + 1
    g = np.random.default_rng(6).normal(size=(3, 4))
    function = rms_norm()
    n = function.forward(x)
    r = 1 / np.sqrt(mean(x * x) + 1e-6)
    if not np.allclose(n, x * r):
        print("Not yet: leave forward as it was.")
        return False
    dx = function.backward(g)
    if not isinstance(dx, tuple) or len(dx) != 1 or dx[0] is None:
        print("Not yet: backward returns a tuple with one gradient.")
        return False
    for wrong, hint in [
        (r * g, "r depends on x, too: that gives a second term"),
        (r * (g - mean(g) - n * mean(n * g)),
         "adding a number to all of x does change n here, so the "
         "part along 1 is not lost"),
        (g - n * mean(n * g), "the factor r is missing"),
        (r * (g - 4 * n * mean(n * g)), "the mean of n g, not its sum"),
        (r * (g + n * mean(n * g)), "the sign of the second term"),
    ]:
        if np.shape(dx[0]) == (3, 4) and np.allclose(dx[0], wrong):
            print(f"Not yet: {hint}.")
            return False
    try:
        gradcheck(lambda x: rms_norm()(x), [x])
    except (AssertionError, RuntimeError) as error:
        print("Not yet:", str(error)[:200])
        return False
    print("Right!")
    return True


check_rms_norm(RMSNorm);

# %% tags=["solution"]
class RMSNorm(Function):
    def forward(self, x):
        mean_square = mean(x * x)
        self.r = 1 / np.sqrt(mean_square + 1e-6)
        self.n = x * self.r
        return self.n

    def backward(self, dout):  # only the part along n is lost
        return (self.r * (dout - self.n * mean(self.n * dout)),)


check_rms_norm(RMSNorm);

# %% [markdown]
# ## Further reading
#
# - Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016),
#   [arXiv:1606.08415](https://arxiv.org/abs/1606.08415): section 2 has
#   both forms.
# - Ba, Kiros and Hinton, *Layer Normalization* (2016),
#   [arXiv:1607.06450](https://arxiv.org/abs/1607.06450): section 5.1 on
#   which changes of its input leave its output as it is.
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 3.1 says
#   where these layers stand.
# - `tinyvit/kernels/cpu`: `linear.py`, `gelu.py`, `layer_norm.py` and
#   `softmax_cross_entropy.py`; you can read them now.
#   `tests/test_gradients_kernels.py` compares each to its composed twin,
#   as you did here.
# - `book/derivations`: the backward passes of all other operations, too.
#
# Next: [an image as a sentence](03_an_image_as_a_sentence.ipynb).
