# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Kernels
#
# **The question:** why is the same arithmetic ten times faster when it is
# written differently?
#
# ## Where we are
#
# You have built a Vision Transformer and trained it ([chapter
# 7](07_training_for_real.ipynb)). Nothing in it will change now: not a
# number of what it computes. This chapter is about how long it takes.
#
# A *kernel* is a function that does one piece of the arithmetic, such as
# layer norm, on whole arrays. In part 1 you find out what your processor
# can do, and write layer norm so that it comes closer to that. In part 2
# you write kernels for a graphics processor, a GPU, and run them on the
# processor that you have, thread by thread.
#
# ## The idea
#
# A computer does two things with numbers: it fetches them from memory, and
# it calculates. Both take time, both go on at once, and the slower one
# decides.

# %%
import os
import textwrap
import time

import numpy as np
from matplotlib.patches import FancyArrow, Rectangle

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ
figure, axis = style.new_figure(7.5, 2.2)
for x, width, name, note, colour in [
    (0, 2.6, "memory", "gigabytes, far away", style.GREY),
    (4.2, 1.9, "cache", "megabytes, near", style.ORANGE),
    (7.7, 1.9, "arithmetic", "a few numbers", style.BLUE),
]:
    axis.add_patch(
        Rectangle((x, 0), width, 2, fc="white", ec=colour, lw=2)
    )
    axis.text(x + width / 2, 1.15, name, ha="center", color=colour)
    axis.text(x + width / 2, 0.6, note, ha="center", fontsize=8)
for x, width in ((2.75, 0.12), (6.25, 0.5)):
    axis.add_patch(
        FancyArrow(x, 1, 1.25, 0, width=width, head_length=0.3,
                   head_width=width * 2, color=style.GREEN,
                   length_includes_head=True)
    )
axis.text(3.35, 1.35, "a narrow road", ha="center", fontsize=8)
axis.text(6.85, 1.75, "a wide one", ha="center", fontsize=8)
axis.set(xlim=(-0.1, 9.8), ylim=(-0.1, 2.2))
axis.axis("off")
axis.set_title("Numbers travel before they are used");

# %% [markdown]
# Between them stands the *cache*, a small memory near the arithmetic that
# keeps what was used last. Whoever needs a number again soon finds it
# there. So two programs with the same arithmetic can differ in how often
# their numbers take the long way.
#
# ## The mathematics: the roofline
#
# Count two things about a kernel: $F$, its additions, multiplications and
# so on, called *FLOP* for floating-point operations; and $B$, the bytes
# that travel between memory and processor. Measure two things about the
# machine: $P$, the most FLOP that it does in a second, and $W$, the most
# bytes that its memory moves in a second. Then a run takes
#
# $$
# t \ge \max\left(\frac{F}{P},\; \frac{B}{W}\right).
# $$
#
# Divide $F$ by both sides. With $I = F / B$, the kernel's *intensity* in
# FLOP for each byte,
#
# $$
# \frac{F}{t} \le \min(P,\; I\, W).
# $$
#
# Drawn over $I$ this is a roof: it rises with slope $W$, and from $I = P /
# W$ on it is flat. Under the slope, faster arithmetic buys nothing; under
# the flat part, faster memory does not.
#
# Two examples, in float32, where a number takes 4 bytes. Adding two arrays
# of $n$ numbers: $n$ FLOP, and $3n$ numbers travel. The product of two
# square matrices of side $n$: each of $n^2$ results is a sum of $n$
# products, so $F = 2 n^3$, and if each matrix travels once, $B = 4 \cdot 3
# n^2$.

# %%
def add_intensity(n):
    """FLOP for each byte of the sum of two arrays."""
    return n / (4 * 3 * n)


def product_intensity(n):
    """FLOP for each byte of the product of two n x n matrices."""
    return 2 * n**3 / (4 * 3 * n**2)


print(f"sum: {add_intensity(1000):.3f}")
for n in (64, 1024, 4096):
    print(f"product, n = {n}: {product_intensity(n):.0f}")
assert np.isclose(add_intensity(1000), 1 / 12)
assert np.isclose(product_intensity(1024), 1024 / 6)

# %% [markdown]
# The sum has a twelfth of an operation for each byte, however large it is.
# The product has $n / 6$: the larger, the better.
#
# ## Part 1: your own processor
#
# ### Two ceilings
#
# Copying a large array has no arithmetic at all, so it shows $W$. The
# product of large matrices shows $P$. NumPy hands products to a library
# called *BLAS*, which people have tuned for decades. We run each task a few
# times and keep the shortest: what disturbs a run only makes it longer. To
# begin with we hold BLAS to one thread, and so use one core.

# %% tags=["varies"]
from threadpoolctl import threadpool_limits


def seconds(task, *given, threads=1, repeats=5):
    """The shortest of some runs, BLAS held to `threads` threads."""
    task(*given)  # once to warm up
    times = []
    with threadpool_limits(threads, "blas"):
        for _ in range(repeats):
            start = time.perf_counter()
            task(*given)
            times.append(time.perf_counter() - start)
    return min(times)


random = np.random.default_rng(0)
side = 256 if fast else 1536
source = np.ones(2**20 if fast else 2**24, np.float32)
target = np.zeros_like(source)
left, right = random.random((2, side, side), dtype=np.float32)
W = 2 * source.nbytes / seconds(np.copyto, target, source)
P = 2 * side**3 / seconds(np.matmul, left, right)
print(f"W = {W / 1e9:.1f} GB/s")
print(f"P = {P / 1e9:.1f} GFLOP/s")
print(f"the roof is flat from P / W = {P / W:.1f} FLOP a byte on")

# %% [markdown]
# (A copy reads and writes, so each number travels twice. GB/s are $10^9$
# bytes a second, GFLOP/s $10^9$ FLOP a second.)
#
# These numbers are of the machine that built this page. On yours they are
# others, and they change when other programs run. So nothing in this
# chapter asserts a time: it asserts what can be counted.
#
# The sum of two arrays has 1/12 FLOP a byte, far to the left of that edge:
# during a sum your processor's arithmetic stands idle nearly always.
#
# ### An experiment: one product, sliced
#
# Does the roofline hold? A product of matrices can be written as a sum of
# thinner ones. Cut $A$ of shape $(n, m)$ into slices of $k$ columns, $B$ of
# shape $(m, n)$ into slices of $k$ rows, and add up:
#
# $$
# C = A B = \sum_{\text{slices } s} A_s B_s .
# $$

# %%
def sliced_product(a, b, k):
    """a @ b as a sum of products of slices k wide."""
    total = np.zeros((len(a), b.shape[1]), a.dtype)
    for start in range(0, a.shape[1], k):
        total += a[:, start : start + k] @ b[start : start + k]
    return total


for k in (1, 5, 48):
    np.testing.assert_allclose(
        sliced_product(left[:, :48], right[:48], k),
        left[:, :48] @ right[:48], rtol=1e-5,
    )

# %% [markdown]
# For every $k$ it is the same arithmetic, but for the additions into
# `total`. One slice has $2 n^2 k$ FLOP in the product and $n^2$ in the
# sum. It writes the product ($n^2$ numbers), then reads it, reads $C$ and
# writes $C$; the slices themselves are small. That makes
#
# $$
# I_k = \frac{(2k + 1)\, n^2}{4\,(4 n^2 + 2 n k)}
# \approx \frac{k}{8} .
# $$
#
# Now guess before you look. How much faster is $k = 256$ than $k = 1$, for
# each operation? And where does the curve turn?

# %%
n = 512 if fast else 3072
slices = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def slice_work(n, k):
    """FLOP, and bytes, of one slice."""
    return (2 * k + 1) * n * n, 4 * (4 * n * n + 2 * n * k)


intensity = {k: np.divide(*slice_work(n, k)) for k in slices}
for k in (1, 16, 256):
    print(f"k = {k:3}: {intensity[k]:5.2f} FLOP a byte")
assert intensity[1] < 0.2 and intensity[256] > 100 * intensity[1]

# %% tags=["varies"]
a = random.random((n, max(slices)), dtype=np.float32)
b = random.random((max(slices), n), dtype=np.float32)
total, part = np.zeros((2, n, n), np.float32)


def one_slice(a, b):
    """Add one slice's product to `total`."""
    np.matmul(a, b, out=part)
    np.add(total, part, out=total)


rate = {}
for k in slices:
    thin, flat = np.ascontiguousarray(a[:, :k]), b[:k]
    took = seconds(one_slice, thin, flat, repeats=3)
    rate[k] = slice_work(n, k)[0] / took
print(f"k = 1: {rate[1] / 1e9:.1f} GFLOP/s, "
      f"k = 256: {rate[256] / 1e9:.1f} GFLOP/s")

# %% tags=["varies"]
def draw_roof(axis, peak, bandwidth, colour, low=0.05, high=1000):
    """The roof of a machine, in GFLOP/s over FLOP a byte."""
    x = np.geomspace(low, high, 200)
    axis.loglog(x, np.minimum(peak, x * bandwidth) / 1e9, color=colour)
    axis.set_xlabel("intensity, FLOP a byte")
    axis.set_ylabel("GFLOP/s")


figure, axis = style.new_figure(7, 3.3)
draw_roof(axis, P, W, style.GREY, high=200)
axis.plot(list(intensity.values()), [r / 1e9 for r in rate.values()],
          "o-", color=style.BLUE)
for k in (1, 8, 64, 512):
    axis.annotate(f"k = {k}", (intensity[k], rate[k] / 1e9),
                  (6, -12), textcoords="offset points", fontsize=9)
axis.text(0.05, 0.4 * W / 1e9, "memory decides", color=style.GREY,
          fontsize=9)
axis.text(200, 1.12 * P / 1e9, "arithmetic decides", ha="right",
          color=style.GREY, fontsize=9)
axis.set_ylim(0.5 * min(rate.values()) / 1e9, 2 * P / 1e9)
axis.set_title("Thicker slices climb the roof, then hit the ceiling");

# %% [markdown]
# The counts were made with a pencil, before anything ran, and the points
# follow the roof. (They need not touch it: it is a bound, and nobody tuned
# BLAS for slices of one column. And where a cache is large, a part of $C$
# stays in it, and points may even lie above the slope.) That is the answer
# to this chapter's question: the same operations are faster if each number,
# once fetched, is used more often.
#
# In the book's web page there is a figure to play with here.
#
# <!-- interactive: roofline -->
#
# ## Layer norm, counted
#
# Chapter 2 wrote layer norm as a formula: each row of $x$ to mean 0 and
# variance 1, then a gain $\gamma$ and a bias $\beta$ for each column. With
# $x$ of shape (rows, $D$), and $\gamma$ and $\beta$ of shape $(D,)$:

# %%
def plain_layer_norm(x, gamma, beta, eps=1e-6):
    """(rows, D) -> (rows, D), as the formula says it."""
    mean = x.mean(axis=1, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=1, keepdims=True)
    normalised = centred / np.sqrt(variance + eps)
    return gamma * normalised + beta


# %% [markdown]
# What does it cost? We need not count by hand. NumPy lets an array watch
# what is done with it: a subclass with a method `__array_ufunc__` gets
# every operation before it runs. Ours lets it run and notes how many
# numbers it worked on, and how many bytes its arrays have.

# %%
class Watched(np.ndarray):
    """An array that counts operations, and bytes in and out."""

    flop = moved = 0

    def __array_ufunc__(self, ufunc, method, *given, out=None, **rest):
        given = [
            np.asarray(one) if isinstance(one, np.ndarray) else one
            for one in given
        ]
        if out is not None:
            rest["out"] = tuple(np.asarray(one) for one in out)
        result = np.asarray(getattr(ufunc, method)(*given, **rest))
        arrays = [one for one in given if isinstance(one, np.ndarray)]
        Watched.flop += max(one.size for one in [*arrays, result])
        different = {one.ctypes.data: one.nbytes for one in arrays}
        Watched.moved += sum(different.values()) + result.nbytes
        return result.view(Watched)


# %%
D = 192
x = random.normal(size=(1000, D)).astype(np.float32)
gamma = random.normal(size=D).astype(np.float32)
beta = random.normal(size=D).astype(np.float32)
plain_layer_norm(x.view(Watched), gamma, beta)
flop, moved = Watched.flop / x.size, Watched.moved / x.size
print(f"{flop:.2f} FLOP and {moved:.1f} bytes for each number of x")
print(f"intensity {flop / moved:.2f}")
assert round(flop) == 7 and round(moved) == 48

# %% [markdown]
# Seven operations for each number, and 48 bytes: twelve times 4. Every line
# of the function reads whole arrays and writes another one, which nobody
# wants once the next line has run. What *must* travel is `x` in and the
# result out, 8 bytes. So the formula moves six times as much as it has to.
#
# ### The same in tinyvit
#
# `tinyvit.benchmark` counts the same way for each of its kernels, with a
# table of FLOP, and with each array that goes in or comes out taken once:

# %%
from tinyvit.benchmark.work import work_of
from tinyvit.kernels.cpu.layer_norm import layer_norm_forward

given = (x, gamma, beta, 1e-6)
result = layer_norm_forward(*given)
work = work_of(
    "layer_norm_forward", layer_norm_forward, given, {}, result
)
print(f"{work.flop / x.size:.0f} FLOP, {work.bytes / x.size:.1f} bytes")
assert work.flop == 7 * x.size
np.testing.assert_allclose(
    plain_layer_norm(x, gamma, beta), result[0], rtol=1e-4, atol=1e-5
)

# %% [markdown]
# (12 and not 8, because it also keeps the normalised $x$ for the backward
# pass.)
#
# ## Layer norm, in blocks
#
# How can twelve trips become two, without leaving NumPy? By working on a
# few rows at a time. If a block and all that is made of it fit into the
# cache, only its first reading and its last writing go the long way. The
# arithmetic stays the same to the last bit:

# %%
def layer_norm_in_blocks(x, gamma, beta, rows):
    """`plain_layer_norm`, `rows` rows at a time."""
    out = np.empty_like(x)
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        out[start : start + rows] = plain_layer_norm(
            block, gamma, beta
        )
    return out


np.testing.assert_array_equal(
    layer_norm_in_blocks(x, gamma, beta, 64),
    plain_layer_norm(x, gamma, beta),
)

# %% [markdown]
# How large should a block be? Guess the shape of the curve: what happens
# with blocks of one row, and what with one block of all rows?

# %% tags=["varies"]
large = random.normal(size=(2**12 if fast else 2**17, D))
large = large.astype(np.float32)
sizes = [rows for rows in 4 ** np.arange(9) if rows <= len(large)]
nanoseconds = {}
for rows in sizes:
    some = large[: 1024 * rows]  # small blocks: fewer of them
    took = seconds(
        layer_norm_in_blocks, some, gamma, beta, rows, repeats=3
    )
    nanoseconds[rows] = 1e9 * took / some.size
whole = seconds(plain_layer_norm, large, gamma, beta, repeats=3)
whole *= 1e9 / large.size

figure, axis = style.new_figure(7, 3)
block_bytes = [rows * D * 4 for rows in sizes]
axis.loglog(block_bytes, list(nanoseconds.values()), "o-",
            color=style.BLUE)
axis.axhline(whole, color=style.VERMILION, linestyle="--")
axis.text(block_bytes[0], 1.1 * whole, "all rows at once",
          color=style.VERMILION)
axis.set_xlabel("size of a block, bytes")
axis.set_ylabel("nanoseconds a number")
axis.set_title("Blocks can be too small, and too large");

# %% [markdown]
# On the left Python decides: each call of NumPy costs about a microsecond,
# and a row has too few numbers to be worth one. On the right memory
# decides. Between them is the valley, where a block fits into the cache.
#
# How much each step bought, from a loop over Python's own numbers to
# tinyvit's kernel (which writes into arrays that are there already, rather
# than ask for new ones at each line):

# %% tags=["varies"]
def python_layer_norm(rows, gamma, beta, eps=1e-6):
    """Lists of numbers, one number at a time."""
    out = []
    for row in rows:
        mean = sum(row) / len(row)
        variance = sum((v - mean) ** 2 for v in row) / len(row)
        std = (variance + eps) ** 0.5
        out.append([
            g * (v - mean) / std + b
            for v, g, b in zip(row, gamma, beta)
        ])
    return out


few, g, b = large[:300].tolist(), gamma.tolist(), beta.tolist()
versions = {
    "Python's numbers": (python_layer_norm, few, g, b),
    "NumPy, all rows at once": (plain_layer_norm, large, gamma, beta),
    "NumPy, in blocks":
        (layer_norm_in_blocks, large, gamma, beta, 1024),
    "tinyvit": (layer_norm_forward, large, gamma, beta, 1e-6),
}
for name, (function, rows, *given) in versions.items():
    took = seconds(function, rows, *given, repeats=3)
    took *= 1e9 / (len(rows) * D)
    print(f"{name:24} {took:8.2f} ns a number")

# %% [markdown]
# How much blocks buy depends on the caches. tinyvit uses them in its
# kernels (`tinyvit/kernels/cpu/blocks.py`), and the comment there says what
# they bought on a processor with large caches: no speed in a whole training
# step, but a third less memory in inference. Always measure a trick where
# it is to be used.
#
# ## A whole training step under the roof
#
# Now all kernels of a training step: where do they stand? `counted_work`
# runs a step and counts for each kernel; `breakdown` times them.

# %%
from tinyvit.benchmark.breakdown import breakdown, counted_work
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe, TrainStep, Workers

config = ViTConfig.named("tiny", image_size=224, patch_size=16)
batch = 1 if fast else 4
images = random.normal(size=(batch, 224, 224, 3)).astype(np.float32)
labels = random.integers(0, 1000, batch)
model = ViT(config, seed=0)
with Workers(1) as workers:
    train = TrainStep(model, Recipe(batch_size=batch), workers)
    step_work = counted_work(lambda: train(images, labels, 0, 1e-4))
shown = [
    "linear_backward", "mlp_backward", "attention_backward",
    "add_layer_norm_backward", "adamw_step",
]
for name in shown:
    print(f"{name:24} {step_work[name].intensity:7.2f} FLOP a byte")
assert step_work["linear_backward"].intensity > 10
assert step_work["add_layer_norm_backward"].intensity < 1
assert step_work["adamw_step"].intensity < 1

# %% tags=["varies"]
with Workers(1) as workers:
    train = TrainStep(model, Recipe(batch_size=batch), workers)
    parts = breakdown(
        lambda: train(images, labels, 0, 1e-4),
        repeats=1 if fast else 3, workers=1,
    )
timed = {part.name: part for part in parts if part.work}
places = {  # of labels, so that they keep out of each other's way
    "mlp_backward": (6, 8, "right"),
    "linear_backward": (4, -14, "left"),
    "attention_backward": (-7, -3, "right"),
    "add_layer_norm_backward": (7, -9, "left"),
    "adamw_step": (-7, 2, "right"),
}


def label(axis, name, x, y):
    """A kernel's name beside its point."""
    right, up, align = places[name]
    axis.annotate(name, (x, y), (right, up), ha=align, fontsize=9,
                  textcoords="offset points")


figure, axis = style.new_figure(7, 3.4)
draw_roof(axis, P, W, style.GREY, high=200)
for name in shown:
    part = timed[name]
    axis.plot(part.work.intensity, part.gflops, "o", color=style.BLUE)
    label(axis, name, part.work.intensity, part.gflops)
    print(f"{name:24} {part.share:4.0%} of the time")
low = min(timed[name].gflops for name in shown)
axis.set_ylim(0.4 * low, 2 * P / 1e9)
axis.set_title("Products stand far right, the rest under the slope")
products = sum(
    part.share for part in parts
    if part.name.startswith(("linear", "mlp", "attention"))
)
print(f"{'all kernels with products':24} {products:3.0%} of the time")

# %% [markdown]
# Layer norm and the optimiser have less than one operation a byte: they
# live under the slope. Kernels with products stand under the flat part, and
# they take most of the time, so a training step on a CPU is mostly a matter
# of BLAS.
# The way to make the rest faster is to let it touch memory less often: join
# steps that follow each other into one kernel, as `add_layer_norm` does
# with a sum and the norm after it. This is called *fusing*.
#
# ## Two cores: workers or BLAS threads?
#
# BLAS can use all cores for a product. But the steps between products run
# on one core, whatever BLAS does. Let products be a share $p$ of the time
# on one core. With BLAS on $c$ cores, only they get faster; if instead each
# core gets its own images, everything does:
#
# $$
# \text{speed-up} = \frac{1}{p / c + (1 - p)}
# \qquad\text{against}\qquad c .
# $$
#
# The first is *Amdahl's law*. Why can each core have its own images? The
# images of a batch don't meet until the gradients are summed, and NumPy
# lets go of Python's lock (which lets one thread run at a time) while it
# computes.

# %%
def amdahl(p, cores):
    """Speed-up if a share p of the time is spread over cores."""
    return 1 / (p / cores + 1 - p)


for p in (0.5, 0.8, 0.95):
    print(f"products {p:.0%} of the time: {amdahl(p, 2):.2f} on two "
          f"cores, {amdahl(p, 16):.1f} on sixteen")
assert amdahl(0.5, 2) < 1.34 and amdahl(0.8, 16) < 4.1

# %% [markdown]
# With products taking 80 % of the time, sixteen cores are used like four.
# `tinyvit.training.Workers` is the other way: threads that share the batch,
# each with BLAS held to one thread. Here both do the MLP of an encoder
# block:

# %%
from tinyvit.kernels.cpu.mlp import mlp_forward
from tinyvit.training.workers import split

tokens = random.normal(size=(1024 if fast else 8192, D))
tokens = tokens.astype(np.float32)
w1 = random.normal(0, 0.05, (D, 4 * D)).astype(np.float32)
w2 = random.normal(0, 0.05, (4 * D, D)).astype(np.float32)
zeros = np.zeros(4 * D, np.float32)


def mlp(x):
    """(rows, D) -> (rows, D)."""
    return mlp_forward(x, w1, zeros, w2, zeros[:D], "tanh", False)[0]


halves = [tokens[rows] for rows in split(len(tokens), 2)]
with Workers(2) as workers:
    joined = np.concatenate(workers.map(mlp, halves))
np.testing.assert_allclose(joined, mlp(tokens), rtol=1e-3, atol=1e-5)

# %% tags=["varies"]
one = seconds(mlp, tokens)
blas = seconds(mlp, tokens, threads=2)
with Workers(2) as workers:
    ours = seconds(workers.map, mlp, halves)
print(f"one thread {1e3 * one:6.1f} ms")
print(f"BLAS on two {1e3 * blas:5.1f} ms, {one / blas:.2f} times")
print(f"two workers {1e3 * ours:5.1f} ms, {one / ours:.2f} times")

# %% [markdown]
# (If another program uses the second core, neither can win anything: look
# at your own numbers on a quiet machine.)
#
# ## Part 2: a GPU, thread by thread
#
# ### What a GPU is
#
# A CPU has a few cores, each clever: it guesses what comes next and keeps
# large caches, so that one thread runs fast. A GPU spends its transistors
# differently. It has thousands of plain arithmetic units and a wide road to
# its memory, and it never waits for *one* thread: it holds tens of
# thousands of them, and while some wait for memory, others calculate.
#
# A kernel for a GPU is a function that says what **one thread** does. It is
# written in CUDA, which is C++ with a few additions, and launched for many
# threads at a time. They are organised like this:

# %%
figure, axis = style.new_figure(7.5, 3.2)
for number in range(3):
    left_edge = number * 3.35
    axis.add_patch(Rectangle((left_edge, 0.9), 3, 3, fc="white",
                             ec=style.BLUE, lw=2))
    axis.text(left_edge + 0.1, 3.55, f"block {number}",
              color=style.BLUE)
    for warp in range(2):
        y = 2.75 - 0.75 * warp
        axis.add_patch(Rectangle((left_edge + 0.1, y), 2.8, 0.55,
                                 fc="#E8F3EF", ec=style.GREEN))
        for lane in range(12):
            axis.plot(left_edge + 0.32 + 0.18 * lane, y + 0.18, "o",
                      ms=4, color=style.GREEN)
        axis.text(left_edge + 2.8, y + 0.15, "...", ha="right",
                  color=style.GREEN)
        axis.text(left_edge + 0.16, y + 0.36, f"warp {warp}",
                  fontsize=7, color=style.GREEN)
    axis.add_patch(Rectangle((left_edge + 0.1, 1.05), 2.8, 0.5,
                             fc="#FDF3DC", ec=style.ORANGE))
    axis.text(left_edge + 1.5, 1.2, "shared memory", ha="center",
              fontsize=9)
axis.add_patch(Rectangle((0, 0), 9.7, 0.6, fc="#EEEEEE",
                         ec=style.GREY))
axis.text(4.85, 0.2, "global memory: what all blocks read and write",
          ha="center", fontsize=9)
axis.set(xlim=(-0.1, 9.8), ylim=(-0.1, 4))
axis.axis("off")
axis.set_title("Threads stand in warps, warps in blocks");

# %% [markdown]
# - A **thread** (a dot) runs the kernel. It knows its number in its block,
#   `threadIdx.x`, and its block's number, `blockIdx.x`. Numbers of its own
#   are in *registers*, which are as near as can be.
# - 32 threads are a **warp**: they take each step together.
# - Up to 1024 threads are a **block**, `blockDim.x` of them. A block has
#   some **shared memory**, up to a few hundred kilobytes, which all its
#   threads can read and write and which is much nearer than global memory.
#   And it has **barriers**: a thread that comes to `__syncthreads()` waits
#   until all of its block have come.
# - All blocks see **global memory**, gigabytes of it, where arrays lie. The
#   order in which blocks run is not known, and they cannot wait for each
#   other.
#
# ## A first kernel
#
# Here is the sum of two arrays. `extern "C" __global__` says that this is a
# function to launch on the GPU, under just this name; `const float *a` is
# an array of float32 that we only read.

# %%
ADD = """
extern "C" __global__ void add(const float *a, const float *b,
                               float *c, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) c[i] = a[i] + b[i];
}
"""

# %% [markdown]
# There is no loop: thread 5 of block 2 with 32 threads a block adds the
# numbers 69, and somebody else the others. Blocks are all of one size, so
# for 100 numbers we need four of them, and 28 threads too many. That is
# what `if (i < count)` is for.
#
# You have no GPU? Then let us run it here. `tinyvit.kernels.cuda_on_cpu`
# compiles CUDA with your C++ compiler and lets the threads take turns. It
# is how tinyvit tests the kernels in `tinyvit/kernels/gpu/`. If you have no
# compiler, the next cell says what to install; the cells after it then
# show their code and do nothing.

# %%
from tinyvit.kernels.cuda_on_cpu import (
    CudaError,
    Module,
    NoCompiler,
    tracing,
    turns_in_order,
)

try:
    module = Module.from_text(ADD, "add.cu")
except NoCompiler as error:
    print(error)
    module = None
compiles = module is not None

# %%
first, second = random.normal(size=(2, 100)).astype(np.float32)
assert 2 * 32 + 5 == 69 and 4 * 32 - 100 == 28
if compiles:
    added = np.empty(100, np.float32)
    add = module.get_function("add")
    add((4,), (32,), (first, second, added, 100))
    np.testing.assert_array_equal(added, first + second)
    print("four blocks of 32 threads: equal to NumPy")

# %% [markdown]
# A launch says how many blocks, how many threads in each, and the
# arguments. Without the `if`, the last 28 threads would read and write
# what is not theirs. On a GPU often nothing happens, or another array
# changes. Here:

# %%
if compiles:
    careless = ADD.replace("if (i < count) ", "")
    run = Module.from_text(careless, "add.cu").get_function("add")
    try:
        run((4,), (32,), (first, second, added, 100))
    except CudaError as error:
        print(textwrap.fill(str(error), 72))
    else:
        assert not module.checked

# %% [markdown]
# ## Threads that need each other
#
# Adding two arrays is easy since no thread needs another. A sum over an
# array is different. The way to do it in parallel is a tree: of 64
# numbers, 32 threads add the upper half to the lower one, then 16 threads
# the upper quarter to the lower one, and after six rounds the sum stands in
# front.
#
# Let us first play GPU in Python. A thread is a *generator*: a function
# that can stop at `yield` and go on later. We let `yield` be the barrier.
# Then a block is a loop that gives each thread a turn, until all have come
# to the barrier, and starts over:

# %%
def run_block(kernel, threads, order, *arrays):
    """Threads run in some order from barrier to barrier."""
    shared = np.full(threads, np.nan)  # nobody has written yet
    alive = [kernel(t, shared, *arrays) for t in range(threads)]
    order(alive)
    while alive:
        alive = [one for one in alive if next(one, "end") != "end"]


def sum_kernel(t, shared, x, total):
    """What thread t does."""
    shared[t] = x[t]
    yield
    half = len(x) // 2
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        yield
        half //= 2
    if t == 0:
        total[0] = shared[0]


# %% [markdown]
# In which order the threads take their turns must not matter. We try first
# to last, last to first, and one shuffled order.

# %%
orders = {
    "first to last": lambda threads: None,
    "last to first": lambda threads: threads.reverse(),
    "shuffled": np.random.default_rng(1).shuffle,
}
numbers = np.arange(64.0)


def sums(kernel):
    """The sum that a kernel finds, for each order of turns."""
    found = {}
    for name, order in orders.items():
        total = np.zeros(1)
        run_block(kernel, 64, order, numbers, total)
        found[name] = float(total[0])
    return found


print(sums(sum_kernel))
assert set(sums(sum_kernel).values()) == {numbers.sum()}

# %% [markdown]
# ## What goes wrong: a race
#
# Now we leave out the barrier in the loop: one line less, and faster, for
# threads then need not wait for each other. Guess: which of the orders
# notice?

# %%
def racing_kernel(t, shared, x, total):
    """`sum_kernel` without the barrier in the loop."""
    shared[t] = x[t]
    yield
    half = len(x) // 2
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        half //= 2
    if t == 0:
        total[0] = shared[0]


raced = sums(racing_kernel)
print(raced)
assert raced["first to last"] == 63
assert raced["last to first"] == numbers.sum()

# %% [markdown]
# One order adds too early: thread 0 takes numbers that nobody has added up
# yet, and gets $0 + 32 + 16 + \dots + 1 = 63$. Another one is **right by
# luck**: whoever comes last finds everything done. This is a *race*: two
# threads use the same place, one of them writes, and no barrier says who
# comes first. On a GPU the order changes from card to card and from day to
# day. A test that passes proves nothing.
#
# ### The same in CUDA
#
# A `__shared__` array lies in shared memory, and the barrier is
# `__syncthreads()`. The last line writes to an array of one number.

# %%
SUM = """
extern "C" __global__ void block_sum(const float *x, float *total) {
    __shared__ float shared[64];
    int t = threadIdx.x;
    shared[t] = x[t];
    __syncthreads();
    for (int half = 32; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads();
    }
    if (t == 0) *total = shared[0];
}
"""


def outcome(module, order):
    """The sum of `numbers`, or what is wrong with the kernel."""
    total = np.zeros(1, np.float32)
    run = module.get_function("block_sum")
    with turns_in_order(order):
        try:
            run((1,), (64,), (numbers.astype(np.float32), total))
        except CudaError as error:
            return str(error)
    return f"{total[0]:.0f}"


if compiles:
    module = Module.from_text(SUM, "sum.cu")
    found = [outcome(module, order) for order in range(4)]
    print(found)
    assert set(found) == {"2016"}

# %% [markdown]
# `turns_in_order(0)` is first to last, 1 is last to first, and every other
# number shuffles. Now the same without the barrier in the loop. Would you
# have found it?

# %%
if compiles:
    before, _, after = SUM.rpartition("        __syncthreads();\n")
    module = Module.from_text(before + after, "sum.cu")
    found = [outcome(module, order) for order in range(4)]
    for order, one in zip(("first to last", "last to first"), found):
        print(textwrap.fill(f"{order}: {one}", 72), end="\n\n")
    assert set(found) != {"2016"}
    if module.checked:
        assert all("race in shared memory" in one for one in found)

# %% [markdown]
# `cuda_on_cpu` does not wait for a wrong result. It remembers for each
# number who used it last, and since which barrier: so it finds the race in
# *every* order, even where the sum comes out right, and says which threads
# and which lines. (With a compiler that lacks these checks it is like our
# model in Python: only results differ.) Lines are counted from the one with
# the three quotation marks.
#
# And `tracing` lists what the threads of a block do, in the order of their
# turns. Here thread 0 and thread 1 of the racing kernel, or what became of
# them:

# %%
if compiles:
    with tracing() as events:
        outcome(module, 0)
    for event in events:
        if event.thread[0] < 2 and event.what != "__syncthreads":
            print(event.thread[0], event.what, event.array,
                  event.index, event.value)

# %% [markdown]
# ## Layer norm as a kernel
#
# Now you have all that layer norm needs. A block takes a row. Each thread
# takes every `blockDim.x`-th number of it, so that any width will do, and
# the sums over the row are trees. A function that a kernel calls is marked
# `__device__`; `rsqrtf` is $1 / \sqrt{\cdot}$.

# %%
LAYER_NORM = """
__device__ float row_sum(float value, float *shared) {
    int t = threadIdx.x;
    shared[t] = value;
    __syncthreads(); // 1
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads(); // 2
    }
    float sum = shared[0];
    __syncthreads(); // 3
    return sum;
}

extern "C" __global__ void layer_norm(
    const float *x, const float *gamma, const float *beta, float *y,
    int width, float eps) {
    __shared__ float shared[64];
    x += blockIdx.x * width; // the row of this block
    y += blockIdx.x * width;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
    float mean = row_sum(sum, shared) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        squares += (x[i] - mean) * (x[i] - mean);
    float scale = rsqrtf(row_sum(squares, shared) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        y[i] = gamma[i] * (x[i] - mean) * scale + beta[i];
}
"""
rows = random.normal(size=(32, 96)).astype(np.float32)
right = plain_layer_norm(rows, gamma[:96], beta[:96])


def run_layer_norm(text):
    """The kernel's result on `rows`, 64 threads a block."""
    y = np.empty_like(rows)
    run = Module.from_text(text, "norm.cu").get_function("layer_norm")
    run((len(rows),), (64,), (rows, gamma[:96], beta[:96], y, 96, 1e-6))
    return y


if compiles:
    found = run_layer_norm(LAYER_NORM)
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    print("equal to NumPy")

# %% [markdown]
# ### An experiment: which barrier can go?
#
# `row_sum` has three kinds of barriers. Barriers cost time. Is one of them
# not needed? The third looks superfluous: the sum has been read, and what
# comes after it is `return`. Guess, then take out one at a time.

# %%
if compiles:
    for number in (1, 2, 3):
        line = f"__syncthreads(); // {number}"
        without = LAYER_NORM.replace(line, "")
        try:
            wrong = np.abs(run_layer_norm(without) - right).max() > 1e-4
            said = "wrong" if wrong else "the results are right"
            assert not module.checked
        except CudaError as error:
            said = str(error)
        said = f"without {number}: {said}"
        print(textwrap.fill(said, 72), end="\n\n")

# %% [markdown]
# None can go. The third one keeps a fast thread from coming back with the
# *next* sum and writing its number over the last one, before a slow thread
# has read it. If all threads are about equally fast, nothing happens. This
# is the kind of mistake that lives in a program for years.
#
# ## Counting trips on a GPU
#
# tinyvit keeps three versions of this kernel, to learn from, in
# `tinyvit/kernels/gpu/layer_norm_steps.cu` (open it now, it is 81 lines):
#
# 1. a **thread** for each row: the loop that one would write on a CPU;
# 2. a **block** for each row: what you wrote;
# 3. a **warp** for each row, which keeps the row in registers. Threads of a
#    warp take each step together, so they can hand each other registers
#    directly (*shuffles*), and sum without shared memory and barriers.
#
# All three agree with NumPy:

# %%
from tinyvit.kernels.gpu.lessons import layer_norm as lessons

traces = {}
for version in lessons.STEPS if compiles else ():
    with tracing(limit=10**6) as traces[version.__name__]:
        y = version(rows, gamma[:96], beta[:96], 1e-6)
    np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-5)
    print(f"{version.__name__}: equal to NumPy")

# %% [markdown]
# On a GPU memory does not send single numbers. It sends *sectors* of 32
# bytes, eight numbers that lie next to each other. When the 32 threads of a
# warp read at the same moment, what counts is in how many sectors their
# numbers lie. From the trace we know which numbers those are: all threads
# of a warp do their first read of a line together, then their second, and
# so on.

# %%
from collections import Counter, defaultdict


def warp_reads(events, array):
    """For each read of a warp: which thread wants which number."""
    reads, done = defaultdict(dict), Counter()
    for event in events:
        thread = event.thread[0]
        if event.what == "read" and event.array == array:
            turn = done[thread, event.line]
            done[thread, event.line] += 1
            key = (thread // 32, event.line, turn)
            reads[key][thread % 32] = event.index
    return list(reads.values())


def bytes_sent(events, array):
    """Bytes that memory sends, for each number of the block."""
    reads = warp_reads(events, array)
    sectors = [{i // 8 for i in read.values()} for read in reads]
    wanted = set().union(*(read.values() for read in reads))
    return 32 * sum(map(len, sectors)) / len(wanted)


if traces:
    sent = {name: bytes_sent(events, "x")
            for name, events in traces.items()}
    for name, amount in sent.items():
        print(f"{name:15} {amount:5.1f} bytes for each number of x")
    assert sent["a_thread_a_row"] == 8 * sent["a_block_a_row"]
    assert sent["a_warp_a_row"] == 4

# %%
from matplotlib.colors import ListedColormap

if traces:
    figure, axes = style.new_figure(7.5, 1.9, 1, 2, sharey=True)
    colours = ListedColormap(["#F2F2F2", style.ORANGE, style.BLUE])
    for axis, name in zip(axes, ("a_thread_a_row", "a_warp_a_row")):
        wanted = list(warp_reads(traces[name], "x")[0].values())
        came = np.zeros(rows.size, int)
        for i in wanted:
            came[i // 8 * 8 : i // 8 * 8 + 8] = 1
        came[wanted] = 2
        axis.imshow(came.reshape(rows.shape), colours, aspect="auto")
        count = np.count_nonzero(came)
        axis.set_title(f"{name}: {count} numbers come")
        axis.set_xlim(-0.5, 39.5)
        axis.set_xlabel("column of x (of 96)")
        axis.grid(False)
    axes[0].set_ylabel("row of x")

# %% [markdown]
# The figure shows the first read of one warp: in blue the 32 numbers that
# its threads want, in orange what comes with them. With a thread for each
# row, the threads read numbers that lie a whole row apart: 32 sectors come,
# and of each one number is used. With neighbours reading neighbours, four
# sectors do, and nothing comes in vain; such reads are called *coalesced*.
# And the last version reads each number once rather than three times. From
# 96 bytes to 4: the least that there can be. (A GPU has caches too, so the
# first version need not be quite as bad as this count.)
#
# ## Attention, as a kernel
#
# [Chapter 4](04_attention.ipynb) ended with *online softmax*: attention in
# which the $N \times N$ weights never exist, because the sum shrinks
# whenever a larger score is found. On a CPU that saves memory. On a GPU it
# is the heart of *flash attention*: a block fetches a tile of keys and
# values into shared memory, and all its threads, one for each query, use
# that tile before the next comes.
#
# How much does that save? Let there be $N$ tokens, and $d$ numbers in a
# query, key or value of one head.
#
# - A thread for each query, on its own: it reads $N$ keys and $N$ values,
#   the keys twice (once to find the largest score). That is more than $3
#   N^2 d$ numbers from global memory for all $N$ queries.
# - With tiles for $64$ queries: $2 N d$ numbers for each block, and the
#   queries once: about $2 N^2 d / 64 + N d$.
#
# Both are in `tinyvit/kernels/gpu/attention_steps.cu`. We run them on 65
# tokens (64 patches and a class token), two heads of eight numbers.

# %%
from tinyvit.kernels.cpu.attention import attention_forward
from tinyvit.kernels.gpu.lessons import attention as attention_steps

N, heads, d = 65, 2, 8
qkv = random.normal(size=(1, N, 3 * heads * d)).astype(np.float32)
expected, _ = attention_forward(qkv, heads, N)


def numbers_read(events, array):
    """How many numbers were read from an array."""
    values = [event.value for event in events
              if event.what == "read" and event.array == array]
    return sum(np.size(value) for value in values)


trips = {}
steps = (attention_steps.a_thread_a_query, attention_steps.shared_tiles)
for version in steps if compiles else ():
    with tracing(limit=10**6) as events:
        found = version(qkv, heads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    trips[version.__name__] = numbers_read(events, "qkv")
for name, count in trips.items():
    print(f"{name:17} {count:8,} numbers from global memory")

# %%
if trips:
    alone, tiles = trips.values()
    assert alone >= 3 * 64 * N * d  # the first block has 64 queries
    assert tiles == (2 * N + 64) * d
    print(f"{alone / tiles:.0f} times less")

# %% [markdown]
# (`tracing` watches the first block: one head, 64 queries.) Step 3 is what
# tinyvit trains with in float32; with bfloat16, numbers of two bytes, it
# uses *tensor cores*, units that multiply small matrices in one go. Read
# `attention_steps.cu`, then `attention.cu`.
#
# ## What a GPU would change
#
# We have counted, and not measured, for there was no GPU where this was
# written. But two ceilings can be read off a data sheet. NVIDIA's for the
# H100 (SXM) says: memory 3.35 TB/s; float32 arithmetic 67 TFLOP/s; tensor
# cores with bfloat16 989 TFLOP/s (the sheet's larger number is for matrices
# half of which is zeros). Everything that follows is **computed from these
# three numbers**, and no measurement.

# %%
H100_W, H100_P, H100_FLOAT32 = 3.35e12, 989e12, 67e12
ridge = H100_P / H100_W
print(f"flat from {ridge:.0f} FLOP a byte on")
assert round(ridge) == 295

# %% [markdown]
# The flat part begins at 295 FLOP a byte. Where do the kernels of our
# training step stand? In bfloat16 each number has half the bytes, so a
# kernel has about twice the intensity:

# %%
figure, axis = style.new_figure(7, 3.6)
draw_roof(axis, H100_P, H100_W, style.GREEN, 0.3, 5000)
draw_roof(axis, H100_FLOAT32, H100_W, style.ORANGE, 0.3, 5000)
axis.text(5000, 1.15 * H100_P / 1e9, "tensor cores, bfloat16",
          color=style.GREEN, ha="right", fontsize=9)
axis.text(5000, 1.15 * H100_FLOAT32 / 1e9, "float32", ha="right",
          color=style.ORANGE, fontsize=9)
on_h100 = {name: 2 * step_work[name].intensity for name in shown}
for name, x in on_h100.items():
    y = min(H100_P, x * H100_W) / 1e9
    axis.plot(x, y, "o", color=style.BLUE)
    label(axis, name, x, y)
axis.set_ylim(500, 3e6)
axis.set_title("By its data sheet: on an H100 all are bound by memory")
assert max(on_h100.values()) < ridge

# %% [markdown]
# Every one of them lies under the slope, even the products, which on the
# CPU were a matter of arithmetic. The GPU's road to memory is wide, but its
# arithmetic has grown more. (Attention is counted here with the weights
# that the CPU's kernel stores; flash attention does not store them, and
# stands further right.)
#
# Is that so for every ViT? A linear layer of width $D$ to $D$, with many
# rows, has $2 D^2$ FLOP for $2 D$ numbers a row, which in bfloat16 are $4
# D$ bytes: an intensity of $D / 2$. So it depends on the width:

# %%
for name, width in (("tiny", 192), ("base", 768)):
    where = "flat part" if width / 2 > ridge else "slope"
    print(f"{name}, width {width}: {width / 2:.0f}, under the {where}")
assert 192 / 2 < ridge < 768 / 2

# %% [markdown]
# A wide model is what a GPU is good at. And how much of its arithmetic can
# layer norm's backward pass use, at best?

# %%
best = on_h100["add_layer_norm_backward"] * H100_W / H100_P
print(f"{best:.1%} of the arithmetic of an H100")
assert best < 0.01

# %% [markdown]
# Less than one percent. So what was a detail on the CPU becomes the work
# itself: fuse what follows each other, keep in registers and shared memory
# what is used again, store in bfloat16. That is what the kernels in
# `tinyvit/kernels/gpu/` do. And for a small model it matters even how often
# kernels are launched, for a launch takes microseconds, whatever it does.
#
# If you have a GPU, `python -m tinyvit.bench --device gpu` measures all of
# this.
#
# ## Exercises
#
# ### Exercise 8.1: the intensity of a linear layer
#
# A linear layer takes $x$ of shape (rows, inputs), $W$ of shape (inputs,
# outputs) and a bias of shape (outputs,) to $x W + b$. Return its
# intensity: FLOP (a multiplication and an addition are two; don't forget
# the bias) divided by bytes, with each array travelling once.

# %% tags=["exercise"]
def linear_intensity(rows, inputs, outputs, bytes_a_number=4):
    """FLOP for each byte of x W + b."""
    ...


# %% tags=["check"]
def check_linear_intensity(linear_intensity):
    """Says whether the function is right, and if not, why."""
    from tinyvit.kernels.cpu.linear import linear_forward

    for r, i, o in [(5, 3, 2), (64, 192, 576), (1, 10, 10)]:
        found = linear_intensity(r, i, o)
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        given = (np.ones((r, i), np.float32),
                 np.ones((i, o), np.float32), np.ones(o, np.float32))
        work = work_of("linear_forward", linear_forward, given, {},
                       linear_forward(*given))
        flop, moved = found * work.bytes, work.bytes
        for wrong, hint in [
            (r * i * o + r * o, "a multiply-add is two operations"),
            (2 * r * i * o, "the bias is one addition a result"),
            (work.flop * moved / (moved - 4 * o),
             "the bias travels, too"),
            (work.flop * moved / (moved - 4 * i * o),
             "the weights travel, too"),
            (work.flop * moved / (moved - 4 * r * o),
             "the result travels, too"),
            (work.flop * 4, "each number has 4 bytes"),
        ]:
            if np.isclose(flop, wrong):
                print(f"Not yet: {hint}.")
                return False
        if not np.isclose(flop, work.flop):
            print(f"Not yet: for {r} rows of {i} to {o} it is "
                  f"{work.flop} FLOP and {work.bytes} bytes.")
            return False
    if not np.isclose(linear_intensity(5, 3, 2, 2), 70 / 66):
        print("Not yet: numbers of 2 bytes double the intensity.")
        return False
    print("Right!")
    return True


check_linear_intensity(linear_intensity);

# %% tags=["solution"]
def linear_intensity(rows, inputs, outputs, bytes_a_number=4):
    """FLOP for each byte of x W + b."""
    flop = 2 * rows * inputs * outputs + rows * outputs
    numbers = (rows + outputs) * inputs + outputs + rows * outputs
    return flop / (bytes_a_number * numbers)


check_linear_intensity(linear_intensity);

# %% [markdown]
# ### Exercise 8.2: a kernel of your own
#
# Multiply each row of `x` (rows, width) with its own factor, `factors`
# (rows,). There is a thread for each number, in blocks of 64, and in the
# last block there are too many. Division of whole numbers, `i / width`,
# rounds down.

# %% tags=["exercise"]
SCALE_ROWS = """
extern "C" __global__ void scale_rows(
    const float *x, const float *factors, float *y,
    int rows, int width) {
    // your lines
}
"""

# %% tags=["check"]
def check_scale_rows(text):
    """Says whether the kernel is right, and if not, why."""
    if not compiles:
        print("Without a C++ compiler there is no checking this.")
        return "your lines" not in text
    try:
        run = Module.from_text(text, "mine.cu")
    except RuntimeError as error:
        print("Not yet:", str(error)[:600])
        return False
    run = run.get_function("scale_rows")
    for height, width in [(1, 1), (2, 32), (3, 65), (7, 33)]:
        x = random.normal(size=(height, width)).astype(np.float32)
        factors = np.arange(2, height + 2, dtype=np.float32)
        y = np.full_like(x, np.nan)
        try:
            run((-(-x.size // 64),), (64,),
                (x, factors, y, height, width))
        except CudaError as error:
            said = (f"Not yet, {height} x {width}: {error}. Is i this "
                    "thread's own number? Does it leave alone what "
                    "is not there? And number i lies in row i / width.")
            print(textwrap.fill(said, 72))
            return False
        if np.isnan(y).all():
            print("Not yet: nothing was written to y.")
            return False
        if np.isnan(y).any():
            print("Not yet: some of y was not written. A thread's "
                  "number is blockIdx.x * blockDim.x + threadIdx.x, "
                  "and there are rows * width numbers.")
            return False
        if not np.allclose(y, x * factors[:, None]):
            print(f"Not yet: wrong for {height} x {width}. Number i "
                  "lies in row i / width.")
            return False
    print("Right!")
    return True


check_scale_rows(SCALE_ROWS);

# %% tags=["solution"]
SCALE_ROWS = """
extern "C" __global__ void scale_rows(
    const float *x, const float *factors, float *y,
    int rows, int width) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * width) y[i] = factors[i / width] * x[i];
}
"""
check_scale_rows(SCALE_ROWS);

# %% [markdown]
# ### Exercise 8.3: find the mistake
#
# This kernel should find the largest of 64 numbers. Its author put the
# barrier where it is needed least. Mend it.

# %% tags=["exercise"]
BLOCK_MAX = """
extern "C" __global__ void block_max(const float *x, float *most) {
    __shared__ float shared[64];
    int t = threadIdx.x;
    shared[t] = x[t];
    for (int half = 32; half > 0; half /= 2) {
        if (t < half) {
            __syncthreads(); // mend me
            shared[t] = fmaxf(shared[t], shared[t + half]);
        }
    }
    if (t == 0) *most = shared[0];
}
"""

# %% tags=["check"]
def check_block_max(text):
    """Says whether the kernel is right, and if not, why."""
    if not compiles:
        print("Without a C++ compiler there is no checking this.")
        return "mend me" not in text
    try:
        run = Module.from_text(text, "max.cu")
    except RuntimeError as error:
        print("Not yet:", str(error)[:600])
        return False
    run = run.get_function("block_max")
    for order in range(6):
        x = np.random.default_rng(order).normal(size=64) - 9
        x, most = x.astype(np.float32), np.zeros(1, np.float32)
        try:
            with turns_in_order(order):
                run((1,), (64,), (x, most))
        except CudaError as error:
            said = (f"Not yet: {error}. All 64 threads must come to "
                    "each barrier, and between one thread's writing "
                    "and another's reading there must be one.")
            print(textwrap.fill(said, 72))
            return False
        if most[0] != x.max():
            print(f"Not yet: {most[0]:.3f} is not the largest, "
                  f"{x.max():.3f}, in order {order}.")
            return False
    print("Right!")
    return True


check_block_max(BLOCK_MAX);

# %% tags=["solution"]
BLOCK_MAX = """
extern "C" __global__ void block_max(const float *x, float *most) {
    __shared__ float shared[64];
    int t = threadIdx.x;
    shared[t] = x[t];
    for (int half = 32; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) shared[t] = fmaxf(shared[t], shared[t + half]);
    }
    if (t == 0) *most = shared[0];
}
"""
check_block_max(BLOCK_MAX);

# %% [markdown]
# (After the last round thread 0 reads what it wrote itself, so no barrier
# is needed there.)
#
# ## Further reading
#
# - Williams, Waterman and Patterson, *Roofline: an insightful visual
#   performance model for multicore architectures* (Communications of the
#   ACM, 2009).
# - Dao et al., *FlashAttention: fast and memory-efficient exact attention
#   with IO-awareness* (2022),
#   [arXiv:2205.14135](https://arxiv.org/abs/2205.14135), section 3.
# - NVIDIA's *CUDA C++ Programming Guide*, the chapters on the programming
#   model and on performance.
# - `tinyvit/kernels/gpu/matmul_steps.cu`: the product of matrices, four
#   times. `tinyvit/kernels/cuda_on_cpu/`: how CUDA runs on your CPU.
#
# Next: [real weights](09_real_weights.ipynb).
