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
# a matrix product. This chapter makes the parts of a network and gives
# them to that machine. There are only four, and attention, which gets
# [chapter 4](04_attention.ipynb) for itself:
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
# It keeps less memory, it is safe where the parts overflow, and what comes
# out is so short that it explains the layer. Here are the four, made into
# the small network that you train at the end. Below each part stands what
# it has to keep for the way back; each letter gets its meaning in what
# follows.

# %%
import inspect
import math
import tracemalloc

import numpy as np

from tinyvit import Tensor, autograd, gradcheck
from tinyvit.analysis import style
from tinyvit.autograd import Function, gradients

parts = {
    "linear": "$x, W$", "layer\nnorm": "$n, r$", "GELU": "$y'$",
    "linear ": "$x, W$", "softmax\nloss": "$p, t$",
}
box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": style.GREY}
figure, axis = style.new_figure(7.5, 2.1)
centre = {"ha": "center", "va": "center"}
for place, (name, saved) in enumerate(parts.items()):
    axis.text(2 * place, 0, name, bbox=box, **centre)
    axis.text(2 * place, -0.8, "keeps " + saved, color=style.GREY,
              fontsize=9, **centre)
for place, width in enumerate((784, 64, 64, 64, 10, 1)):
    left, right = 2 * place - 1.4, 2 * place - 0.6
    axis.annotate("", (right, 0.13), (left, 0.13), arrowprops={
        "arrowstyle": "->", "color": style.BLUE})
    axis.annotate("", (left, -0.13), (right, -0.13), arrowprops={
        "arrowstyle": "->", "color": style.VERMILION})
    axis.text(2 * place - 1, 0.32, width, color=style.BLUE,
              fontsize=9, **centre)
axis.text(0, 0.75, "blue: values, and how many", color=style.BLUE,
          fontsize=9, **centre)
axis.text(8, 0.75, "red: gradients, as many",
          color=style.VERMILION, fontsize=9, **centre)
axis.set_xlim(-1.5, 9.5)
axis.set_ylim(-1, 1)
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
# weights $W$ have shape $(k, m)$, the bias $b$ has $(m,)$, and the output
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
# \sum_{i,j} \bar Y_{ij}\, \delta b_j
# = \sum_j \Bigl(\sum_i \bar Y_{ij}\Bigr) \delta b_j
# \quad\text{so}\quad
# \bar b_j = \sum_i \bar Y_{ij} .
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
# tinyvit keeps the arithmetic and the machine apart. The arithmetic stands
# in `tinyvit/kernels`, as a pair of functions on plain arrays, and a
# `Function` calls them:

# %%
print(inspect.getsource(autograd.layers.Linear))

# %% [markdown]
# That way the pair can be read, timed, and written once more for a GPU
# (chapter 8) without touching the rest. (`needs_dx` leaves out $\bar X$
# where nobody wants it: the first layer's input is an image, and an image
# does not learn.)
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
# if it is positive, else put 0. The Transformer's is smoother. The
# *Gaussian error linear unit* keeps $x$ with a probability. Draw a number
# $Z$ from the normal distribution, the bell curve
#
# $$
# \varphi(z) = \frac{1}{\sqrt{2\pi}}\, e^{-z^2/2}.
# $$
#
# If $Z$ is below $x$, keep $x$, else put 0. The mean outcome is
#
# $$
# y = x\,\Phi(x),
# \qquad
# \Phi(x) = \int_{-\infty}^x \varphi(z)\,dz ,
# $$
#
# for $\Phi(x)$ is the probability that $Z \le x$. The GELU works on each
# number by itself, so there is only one slope to find.
# By the product rule, and because the derivative of an integral by its
# upper end is what stands under it,
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
# When the GELU was invented, $\operatorname{erf}$ was slow, so its authors
# also gave an approximation by the hyperbolic tangent, and the official
# ViT uses that one:
#
# $$
# P(x) = \tfrac12 (1 + \tanh u),
# \qquad
# u = \sqrt{\tfrac2\pi}\, (x + c\, x^3),
# \qquad
# c = 0.044715 .
# $$
#
# For its slope we need $\tanh' u = 1 - \tanh^2 u = (1 + \tanh u)(1 - \tanh
# u)$. The first bracket is $2P$, the second $2(1 - P)$. So
#
# $$
# \begin{aligned}
# P' &= \tfrac12 \cdot 4 P (1 - P)\, u' = 2P(1-P)\,u' \\
# u' &= \sqrt{\tfrac2\pi}\,(1 + 3c\,x^2) \\
# y' &= P + x P' .
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


def gelu_tanh(x, c=0.044715):
    """y and y'."""
    p = (1 + np.tanh(ROOT * (x + c * x**3))) / 2
    slope_of_p = 2 * p * (1 - p) * ROOT * (1 + 3 * c * x * x)
    return x * p, p + x * slope_of_p


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
# ### An experiment: where does 0.044715 come from?
#
# $\Phi$ and $P$ should agree near 0, so compare their series there. From
# $\Phi(0) = \tfrac12$, $e^{-z^2/2} \approx 1 - z^2/2$ and $\tanh u \approx u -
# u^3/3$, with $a = \sqrt{2/\pi}$:
#
# $$
# \begin{aligned}
# \Phi &\approx \tfrac12 + \tfrac a2 \Bigl( x - \frac{x^3}{6} \Bigr) \\
# P &\approx \tfrac12
#      + \tfrac a2 \Bigl( x + c\,x^3 - \frac{a^2 x^3}{3} \Bigr) .
# \end{aligned}
# $$
#
# The first terms agree: that is why there is a $\sqrt{2/\pi}$. The cubic
# ones do if $c = a^2/3 - \tfrac16 = 0.04554$. But the authors wrote
# 0.044715. A slip? Guess which of the two comes closer to $\Phi$, and
# which to the GELU itself.

# %%
series = ROOT**2 / 3 - 1 / 6
x = np.linspace(-6, 6, 2000)  # an even count: 0 is not among them
exact, exact_slope = gelu_exact(x)


def largest_errors(c):
    """Of P, and of y = x P."""
    error = gelu_tanh(x, c)[0] - exact
    return abs(error / x).max(), abs(error).max()


candidates = np.linspace(0.0430, 0.0460, 301)
errors = np.array([largest_errors(c) for c in candidates])
best_for_p, best_for_y = candidates[errors.argmin(axis=0)]
print(f"best for P {best_for_p:.5f}, best for x P {best_for_y:.5f}")
for c in (series, 0.044715, best_for_y):
    of_p, of_y = largest_errors(c)
    print(f"c = {c:.5f}: P off by {of_p:.6f}, x P by {of_y:.6f}")
assert abs(best_for_p - 0.044715) < 2e-5
assert abs(best_for_y - 0.04438) < 2e-5
rounding = np.finfo(np.float32).eps / 2
assert 1000 * rounding < largest_errors(0.044715)[1] < 0.0005

# %% [markdown]
# The series wins near 0, as it should, but loses further out. The authors'
# number is the one whose *largest* error in $P$ is least. (For $xP$ it
# would have been a little smaller, 0.0444.)

# %%
figure, axes = style.new_figure(7.5, 2.9, 1, 2)
left, right = axes
near = abs(x) < 3.5
left.plot(x[near], np.maximum(x, 0)[near], color=style.GREY,
          linestyle=":")
left.plot(x[near], exact[near], color=style.BLUE)
left.plot(x[near], exact_slope[near], color=style.ORANGE)
left.text(1.1, 2.4, "GELU", color=style.BLUE)
left.text(1.9, 0.62, "its slope", color=style.ORANGE)
left.annotate("ReLU", (-1.3, 0), (-2.6, 0.5), color=style.GREY,
              arrowprops={"arrowstyle": "-", "color": style.GREY})
left.set_ylim(-0.5, 3)
left.set_xlabel("x")
left.set_title("A ReLU without the corner")
for c, colour, width in [(series, style.ORANGE, 1.2),
                         (0.044715, style.BLUE, 2)]:
    right.plot(x, (gelu_tanh(x, c)[0] - exact) * 1e4, color=colour,
               linewidth=width)
right.text(3.3, 5.5, "c = 0.0455", color=style.ORANGE)
right.text(0, -4, "c = 0.044715", color=style.BLUE, ha="center")
by_series, by_fit = (
    abs(gelu_tanh(x, c)[0] - exact) for c in (series, 0.044715)
)
assert (by_series < by_fit)[(0.5 < abs(x)) & (abs(x) < 1.5)].all()
assert (by_series > by_fit)[(2.2 < abs(x)) & (abs(x) < 4)].all()
right.set_ylim(-6, 9)
right.set_xlabel("x")
right.set_ylabel("difference x 10,000")
right.set_title("Both forms differ by less than 0.0005");

# %% [markdown]
# The slope is above 1 in places, and below 0 in others: a GELU goes down
# before it goes up. And half a thousandth looks harmless, but it is
# thousands of times what float32 rounds off, and each layer has its share.
# So when a model gets weights that others have trained, it must use the
# form that they were trained with (chapter 9).
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
# to 0. To be sure and wrong costs most. In general let $t$, of shape
# $(B, K)$, hold the *targets*: rows that sum to 1, such as a 1 at the
# right answer and 0 elsewhere. The *cross-entropy* is the mean over the
# batch,
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
# \delta \mathcal L
# = -\frac1B \Bigl( \sum_k t_k\, \delta x_k
#   - \sum_j p_j\, \delta x_j \Bigr)
# = \sum_j \frac{p_j - t_j}{B}\, \delta x_j .
# $$
#
# And there it stands:
#
# $$
# \bar x = \frac{p - t}{B} .
# $$
#
# **Probabilities minus targets.** No logarithm is left, no exponential and
# no quotient. Each logit is told by how much its probability is too large.
#
# Attention will need the softmax alone, without a loss behind it. Then an
# arbitrary gradient $\bar p$ arrives. From $\delta p_k = p_k\, \delta \ln
# p_k$, sorting again by $\delta x_j$,
#
# $$
# \bar x_j = p_j \Bigl( \bar p_j - \sum_k \bar p_k\, p_k \Bigr) .
# $$
#
# With all $\bar p_k = 1$ it is zero: the trap of chapter 1. This is the
# right one:

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
# (Why the largest number is subtracted, we come to now.)
#
# ### Numbers that overflow
#
# The largest float32 is about $3.4 \cdot 10^{38}$, and $e^{89}$ is larger.
# Logits of 89 are rare in a good network, but not in one that is going
# wrong. (`errstate` silences NumPy's warnings. We want to see what the
# numbers do.)

# %%
with np.errstate(over="ignore", invalid="ignore"):
    e = np.exp(np.array([88, 89, 0], np.float32))
    print(e, "->", e / e.sum())
assert np.isfinite(e[0]) and np.isinf(e[1])

# %% [markdown]
# Infinity over infinity is NaN, *not a number*, and whatever touches a NaN
# becomes one. The remedy costs nothing. Subtract the row's largest number
# $m$ from all:
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

figure, axis = style.new_figure(6, 2.3)
place = np.arange(4)
axis.bar(place - 0.2, p, width=0.38, color=style.BLUE)
axis.bar(place + 0.2, -dx[0], width=0.38, color=style.ORANGE)
axis.text(-0.35, 0.66, "probability", color=style.BLUE)
axis.text(1.45, 0.55, "target - probability:\nwhere a step downhill\n"
          "moves this logit", color=style.ORANGE)
axis.axhline(0, color=style.GREY, linewidth=0.8)
axis.set_ylim(-0.7, 1.15)
axis.set_xticks(place, ["class 0", "class 1\n(right)", "class 2",
                        "class 3"])
axis.set_title("Each class is told what is wrong with it");

# %% [markdown]
# The entries sum to zero: what the right class gains, the others lose, and
# those that were believed most lose most.
#
# ### What goes wrong: the logarithm of a rounded probability
#
# Why not compute $p$, and then $-\ln p$, as the formula says? Let the
# right class lag behind the other one by a growing gap, in float32. Its
# true gradient is $p - t$, very nearly $-1$: learn! Here are three ways to
# compute it: ours; the same composed of `exp`, division and `log`, with
# the maximum subtracted; and a remedy that one often sees, $\ln(p +
# 10^{-8})$. Which of them survive a gap of 100?

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
print("loss, slope:".ljust(13) + "".join(f"{way:17}" for way in ways))
for gap in (10, 30, 100, 110):
    print(f"gap {gap:3}".ljust(12) + "".join(
        "{:6.2f}, {:5.2f}    ".format(*pairs[gap])
        for pairs in found.values()
    ))
slopes = {way: pairs[:, 1] for way, pairs in found.items()}
first_nan = int(np.isnan(slopes["composed"]).argmax())
print("composed: the slope is lost at a gap of", first_nan)
assert first_nan == 89 and np.isinf(found["composed"][110, 0])
assert slopes["ours"][120] == -1
assert abs(slopes["log(p + 1e-8)"][30]) < 1e-4

# %%
figure, axis = style.new_figure(7, 2.7)
axis.plot(gaps, slopes["ours"], color=style.BLUE, linewidth=4,
          alpha=0.5)
axis.plot(gaps, slopes["composed"], color=style.ORANGE,
          linestyle="--")
axis.plot(first_nan - 1, -1, "x", color=style.ORANGE, markersize=9,
          markeredgewidth=2.5)
axis.plot(gaps, slopes["log(p + 1e-8)"], color=style.VERMILION)
axis.text(105, -0.92, "ours", color=style.BLUE)
axis.text(88, -0.86, "composed: NaN from here", color=style.ORANGE,
          ha="right")
axis.text(28, -0.12, "log(p + 1e-8): no slope, no learning",
          color=style.VERMILION)
axis.set_xlabel("how far the right logit lies behind")
axis.set_ylabel("slope of the loss for it")
axis.set_title("Only one of them can still learn from a large mistake");

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
# makes it a little larger, it explodes. Layer norm brings every vector
# back to one size. Let $x$ be one row of $D$ numbers, shape $(D,)$, and
# write $\langle x \rangle$ for their mean:
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
# $r$, one number a row, divides by its root (the tiny $\varepsilon$ keeps
# that from being 0). So $n$, of shape $(D,)$, has mean 0 and variance 1.
# The *gain* $\gamma$ and the bias $\beta$, both $(D,)$ and learned, give
# each column the scale that it needs.
#
# ### A picture of it
#
# $D$ numbers are a point in space with $D$ axes. Let $\mathbf 1 = (1,
# \dots, 1)$. To subtract the mean is to drop the point onto the plane at a
# right angle to $\mathbf 1$, for there the numbers sum to 0. To give it
# variance 1 is to pull it in or out to the distance $\sqrt D$ from the
# origin, for then $\sum_i n_i^2 = D$. So layer norm puts *every* vector on
# a sphere within a plane. With $D = 3$ that is a circle:

# %%
one = np.ones(3) / 3**0.5  # the direction of 1, drawn upwards
across = np.array([1, -1, 0]) / 2**0.5
towards = np.array([1, 1, -2]) / 6**0.5  # towards the reader


def at(angle, radius, up=0.0):
    """A point above the plane: (3,)."""
    flat = np.cos(angle) * across + np.sin(angle) * towards
    return radius * flat + up * one


def seen(point):
    """(3,) -> where to draw it."""
    return point @ across, point @ one - 0.45 * point @ towards


def draw_arrow(axis, start, end, colour):
    """From point to point of the space."""
    axis.annotate("", seen(end), seen(start), arrowprops={
        "arrowstyle": "-|>", "color": colour, "lw": 1.6,
        "shrinkA": 0, "shrinkB": 0})


def draw_circle(axis):
    """The plane, the circle in it, and the direction of 1."""
    turn = np.linspace(0, 2 * np.pi, 100)
    edge, circle = (
        np.array([seen(at(angle, radius)) for angle in turn]).T
        for radius in (2.9, 3**0.5)
    )
    axis.fill(*edge, color="#EFEFEF")
    axis.plot(*circle, color=style.GREY)
    draw_arrow(axis, 0 * one, 2.5 * one, style.GREY)
    axis.text(-0.15, 2.25, "1", ha="right", weight="bold")
    axis.set_aspect("equal")
    axis.set_ylim(-1.6, 2.75)
    axis.axis("off")


# %%
def normalise(x):
    """c and n, without gain, bias and eps."""
    c = x - x.mean()
    return c, c / np.sqrt((c * c).mean())


figure, (left, right) = style.new_figure(
    7.5, 3, 1, 2, width_ratios=[6.4, 7.9]
)
draw_circle(left)
for x in (at(0.3, 2.6, 1.4), at(1.25, 0.6, 1.1), at(2.5, 2.6, 1.5),
          at(4.1, 2.5, 1.0)):
    c, n = normalise(x)
    assert abs(n.sum()) < 1e-9 and abs((n * n).sum() - 3) < 1e-9
    left.plot(*seen(x), "o", color=style.BLUE)
    left.plot(*seen(n), "o", color=style.VERMILION)
    draw_arrow(left, x, c, style.ORANGE)
    draw_arrow(left, c, n, style.GREEN)
for x, y, text, colour in [(2.6, 0.95, "x", style.BLUE),
                           (2.6, -0.35, "c", style.ORANGE),
                           (1.15, -0.3, "n", style.VERMILION)]:
    left.text(x, y, text, color=colour)
left.set_xlim(-3.2, 3.2)
left.set_title("Forward: drop, then pull")

draw_circle(right)
n = at(1.1, 3**0.5)
tangent = at(1.1 - np.pi / 2, 1.0)
g = 1.7 * one + 0.5 * n + 1.6 * tangent
first = g - g.mean()
second = first - n * (g * n).mean()
np.testing.assert_allclose(second, 1.6 * tangent)
draw_arrow(right, 0 * n, n, style.GREY)
draw_arrow(right, n, n + g, style.BLUE)
draw_arrow(right, n + g, n + first, style.ORANGE)
draw_arrow(right, n + first, n + second, style.GREEN)
draw_arrow(right, n, n + second, style.VERMILION)
for x, y, text, colour in [
    (0.7, -1.1, "n", style.VERMILION), (2.0, 0.75, "g", style.BLUE),
    (3.1, 0.2, "less its part\nalong 1", style.ORANGE),
    (3.1, -0.75, "less its part\nalong n", style.GREEN),
]:
    right.text(x, y, text, color=colour)
right.set_xlim(-3.2, 4.7)
right.set_title("Backward: what leaves the circle is lost");

# %% [markdown]
# The left picture explains the right one. Suppose that we add the same
# number to all of $x$, or double it. It lands on the same point $n$, and
# nothing behind will notice. Two directions of change are without effect,
# so the gradient must have nothing in them: not along $\mathbf 1$, and not
# along $n$.
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
#             - r c\, \langle r c\, \delta c \rangle \bigr)
#           = r \bigl( \delta c - n \langle n\, \delta c \rangle \bigr) .
# \end{aligned}
# $$
#
# (For $\delta r$: it is $r = v^{-1/2}$ with $v = \langle c^2 \rangle +
# \varepsilon$, and its derivative by $v$ is $-\tfrac12 v^{-3/2}$, which is
# $-\tfrac12 r^3$.) Since $n$ has mean 0, a constant in $\delta c$ adds nothing to
# $\langle n\, \delta c \rangle$, which is $\langle n\, \delta x \rangle$:
#
# $$
# \delta n = r \bigl( \delta x - \langle \delta x \rangle
#            - n \langle n\, \delta x \rangle \bigr) .
# $$
#
# At $n$ the gradient $g = \gamma\,\bar y$ arrives. Put $\delta n$ into
# $\sum_i g_i\, \delta n_i$ and sort by $\delta x$. The means change places,
# as in $\sum_i g_i \langle \delta x \rangle = \sum_j \langle g \rangle\,
# \delta x_j$, and
#
# $$
# \bar x = r \bigl( g - \langle g \rangle
#          - n \langle n\, g \rangle \bigr) .
# $$
#
# The same operation, forwards on changes and backwards on gradients. The
# term $\langle g \rangle$ is the part of $g$ along $\mathbf 1$. And $n
# \langle n g \rangle$ is its part along $n$: the projection of $g$ onto
# $n$ is $n\,(n \cdot g)/(n \cdot n)$, and $n \cdot n = D$ (but for the tiny
# $\varepsilon$; the formula is exact with it, too).
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
# And the claims of the picture:

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
# The last assert is worth a thought: the factor $r$ makes the gradient of
# a vector ten times as long ten times smaller. A vector that has grown
# large is hard to move.
#
# ### What goes wrong: a variance over $D - 1$
#
# The standard deviation in some libraries divides by $D - 1$ and not by
# $D$, which is right for guessing at a whole from a sample. It is not what
# layer norm does. Would `gradcheck` notice?

# %%
def composed_norm(x, gamma, beta, eps=1e-6, less=0):
    """Layer norm from the machine's own operations."""
    c = x - x.mean(axis=-1, keepdims=True)
    squares = (c * c).sum(axis=-1, keepdims=True)
    variance = squares / (x.shape[-1] - less)
    return gamma * (c / autograd.sqrt(variance + eps)) + beta


gradcheck(lambda *t: composed_norm(*t, less=1), [x, gamma, beta])
for width in (4, 192):
    row = random.normal(size=(1, width))
    ones, zeros = np.ones(width), np.zeros(width)
    inputs = [Tensor(array) for array in (row, ones, zeros)]
    ratio = composed_norm(*inputs, less=1).data / (
        autograd.layer_norm(*inputs, eps=1e-6).data
    )
    print(f"D = {width:3}: {1 - ratio.mean():.2%} too small")
    np.testing.assert_allclose(ratio, (1 - 1 / width) ** 0.5, 1e-5)

# %% [markdown]
# It passes. Its gradients are right, for another function. A model trained
# with it works, too; only weights that were trained with the other one
# give slightly different answers, layer after layer. A check of gradients
# cannot find that. What finds it is to compare with somebody else's
# numbers, as tinyvit's tests do with four other implementations.
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
print(f"{flat} of {some.shape[0] * some.shape[1]} patches are flat")
for eps in (0.0, 1e-6):
    with np.errstate(invalid="ignore", divide="ignore"):
        dw = gradient_of_weights(some, eps)
    print(f"eps = {eps}: {np.isnan(dw).mean():.0%} of the weights' "
          "gradient is NaN")
    assert np.isnan(dw).all() if eps == 0 else np.isfinite(dw).all()

# %% [markdown]
# A weight's gradient is a sum over all rows, and one NaN in it is enough.
# After one such step every weight of the layer is NaN, and the model is
# lost.
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
# an operation is never changed. `+=` on a Tensor makes a new one. The
# kernels do write in place, but only in arrays that they have made
# themselves and nobody has kept.

# %%
first = tensor = Tensor(np.ones(3))
tensor += 1
assert tensor is not first and (first.data == 1).all()

# %% [markdown]
# ## What saving costs
#
# Each layer keeps arrays from forward to backward, and so does all that
# stands behind it: at the turning point everything is in memory at once.
# That is the memory that training needs and using a model doesn't.
#
# So how much does a layer written by hand save? `composed_norm` above, and
# the GELUs below, are made of the machine's own operations. They give the
# same numbers:

# %%
def composed_tanh(x):
    u = ROOT * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + autograd.tanh(u))


def composed_exact(x):
    return 0.5 * x * (1 + autograd.erf(x / math.sqrt(2)))


x = random.normal(size=(6, 5))
pairs = {  # name: composed, by hand, what to give them besides x
    "layer norm": (
        composed_norm, lambda *t: LayerNorm()(*t), (gamma, beta)
    ),
    "GELU, tanh": (composed_tanh, lambda x: Gelu(gelu_tanh)(x), ()),
    "GELU, exact": (composed_exact, lambda x: Gelu(gelu_exact)(x), ()),
}
for composed, by_hand, others in pairs.values():
    assert_same(composed, by_hand, [x, *others])

# %% [markdown]
# Guess before you go on: of arrays as large as $x$, how many does each of
# the six keep for its way back? ($x$ itself is not counted. It was there
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
    return (in_use - out.data.nbytes) / x.nbytes


# %% [markdown]
# The number of operations is found by walking back through the graph.

# %%
def operations(end):
    """How many Functions stand between the inputs and the end."""
    found, waiting = set(), [end.creator]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function) and node not in found:
            found.add(node)
            waiting += node.sources
    return len(found)


# %%
large = random.normal(size=(1024, 128))
copies = {}
for name, (*layers, others) in pairs.items():
    wide = [np.resize(array, 128) for array in others]
    copies[name] = [
        round(kept_by(layer, large, wide), 1) for layer in layers
    ]
    inputs = [Tensor(a, requires_grad=True) for a in (large, *wide)]
    count = operations(layers[0](*inputs))
    print(f"{name:11}: {count:2} operations keep {copies[name][0]} "
          f"arrays, one by hand {copies[name][1]}")
assert copies == {
    "layer norm": [2.0, 1.0], "GELU, tanh": [5.0, 1.0],
    "GELU, exact": [3.0, 1.0],
}

# %%
figure, axis = style.new_figure(7, 2.3)
for row, (composed, by_hand) in enumerate(copies.values()):
    axis.barh(row - 0.18, composed, 0.34, color=style.ORANGE)
    axis.barh(row + 0.18, by_hand, 0.34, color=style.BLUE)
axis.text(5.05, 0.82, "composed", color=style.ORANGE, va="center")
axis.text(1.05, 1.18, "by hand", color=style.BLUE, va="center")
axis.set_yticks(range(3), list(copies))
axis.set_ylim(2.6, -0.6)
axis.set_xlim(0, 6)
axis.set_xlabel("arrays kept for the way back, as large as the input")
axis.grid(axis="y", visible=False)
axis.set_title("By hand, one array is enough");

# %% [markdown]
# The machine cannot know that the five arrays of a GELU serve one slope.
# Each operation keeps what *it* needs. We have done the algebra, and know
# that one array is enough. And every operation is a trip through all of
# the array, there and back, where a layer written by hand can take many
# steps on one trip. On a fast processor trips through memory cost more
# than the arithmetic (chapter 8).
#
# What is it worth? Chapter 0's model was called `nano`. The next sizes are
# `tiny`, `small` and `base`, and even in `tiny` the GELUs work on 197
# vectors of 768 numbers, in 12 layers. In float32 and for 64 images:

# %%
from tinyvit.models import ViTConfig

tiny = ViTConfig.named("tiny")
sizes = tiny.depth, tiny.tokens, tiny.mlp_width
assert sizes == (12, 197, 768)
each = 64 * math.prod(sizes) * 4 / 1e9  # 4 bytes each, in gigabytes
saved = each * (copies["GELU, tanh"][0] - 1)
print(f"{each:.2f} GB a copy, {saved:.1f} GB saved by the GELUs alone")
assert saved > 1.5

# %% [markdown]
# One can go further: keep nothing, and compute it again on the way back.
# That buys memory with time. It pays where the arrays are huge and the
# computation is cheap, and you will meet it in attention.
#
# ## All together
#
# With four layers you have a network: the one in the first picture. Its
# parameters start as small random numbers, the last matrix as zeros, and
# each step moves them against their gradient. That is all of learning, in
# its oldest form; chapter 6 has better ones. What is the loss before the
# first step?

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
# ### Exercise 2.1: a third GELU
#
# The GELU's authors gave one more form: $y = x\,\sigma(1.702\,x)$ with the
# *logistic* function $\sigma(u) = 1/(1 + e^{-u})$. Show that $\sigma' =
# \sigma (1 - \sigma)$, and write a function that returns $y$ and $y'$, as
# `gelu_tanh` does.

# %% tags=["exercise"]
def gelu_logistic(x):
    """y and y'."""
    ...


# %% tags=["check"]
def check_gelu_logistic(gelu_logistic):
    """Says whether the function is right, and if not, why."""
    x = np.array([-2.0, -0.5, 0.0, 0.3, 1.5])
    found = gelu_logistic(x)
    if found is None:
        print("Not yet: the function returns nothing.")
        return False
    if len(found) != 2 or np.shape(found[1]) != (5,):
        print("Not yet: return two arrays of the shape of x.")
        return False
    y, slope = found
    s = 1 / (1 + np.exp(-1.702 * x))
    if not np.allclose(y, x * s):
        print("Not yet: y is x times 1 / (1 + exp(-1.702 x)).")
        return False
    for wrong, hint in [
        (s, "x stands in two places; the second is inside sigma"),
        (s + x * s * (1 - s), "inside sigma stands 1.702 x, not x"),
        (1.702 * x * s * (1 - s), "the product rule has two terms"),
    ]:
        if np.allclose(slope, wrong):
            print(f"Not yet: {hint}.")
            return False
    try:
        gradcheck(lambda x: Gelu(gelu_logistic)(x), [x])
    except AssertionError as error:
        print("Not yet:", error)
        return False
    print("Right!")
    return True


check_gelu_logistic(gelu_logistic);

# %% tags=["solution"]
def gelu_logistic(x):
    """y and y'."""
    # With e = exp(-u): s' = e / (1 + e)^2, and e / (1 + e) = 1 - s.
    s = 1 / (1 + np.exp(-1.702 * x))
    return x * s, s + x * 1.702 * s * (1 - s)


check_gelu_logistic(gelu_logistic);

# %% [markdown]
# ### Exercise 2.2: the loss, from labels
#
# Targets with a single 1 in each row waste memory: the number of the right
# class says as much. Write a function that takes logits of shape $(B, K)$
# and labels of shape $(B,)$, and returns the mean loss and its gradient,
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
    if not isinstance(found, tuple) or np.shape(found[1]) != (2, 3):
        print("Not yet: return the loss and its gradient, (B, K).")
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
#   [arXiv:1606.08415](https://arxiv.org/abs/1606.08415): section 2 has all
#   three forms.
# - Ba, Kiros and Hinton, *Layer Normalization* (2016),
#   [arXiv:1607.06450](https://arxiv.org/abs/1607.06450): section 5.1 on
#   what it does not change with.
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 3.1 says
#   where these layers stand.
# - `tinyvit/kernels/cpu`: `linear.py`, `gelu.py`, `layer_norm.py` and
#   `softmax_cross_entropy.py`; you can read them now.
#   `tests/test_gradients_kernels.py` compares each to its composed twin,
#   as you did.
# - `book/derivations`: every backward pass of tinyvit once more, entry by
#   entry.
#
# Next: [an image as a sentence](03_an_image_as_a_sentence.ipynb).
