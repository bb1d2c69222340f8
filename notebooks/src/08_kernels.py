# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Kernels
#
# **The question:** how can the same arithmetic become many times faster
# when it is only written differently?
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
# it calculates. Both take time. At best both go on at once, and then the
# slower one decides.

# %%
import os
import textwrap
import time

import numpy as np
from matplotlib.patches import FancyArrow, Rectangle

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 2)
for x, width, name, note, colour in [
    (0, 2.4, "memory", "gigabytes,\nfar away", style.GREY),
    (4.1, 2, "cache", "a few MB,\nnear", style.ORANGE),
    (7.8, 2, "arithmetic", "a few\nnumbers", style.BLUE),
]:
    axis.add_patch(
        Rectangle((x, 0), width, 2, fc="white", ec=colour, lw=2)
    )
    axis.text(x + width / 2, 1.5, name, ha="center")
    axis.text(x + width / 2, 0.45, note, ha="center")
for x, thick, note in ((2.5, 0.1, "narrow"), (6.2, 0.5, "wide")):
    axis.add_patch(
        FancyArrow(x, 1, 1.5, 0, width=thick, head_length=0.3,
                   head_width=2 * thick, color=style.GREEN,
                   length_includes_head=True)
    )
    axis.text(x + 0.75, 1.6, note, ha="center")
axis.set(xlim=(-0.1, 9.9), ylim=(-0.1, 2.1))
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
# bytes that its memory moves in a second. All four are single numbers. The
# arithmetic alone takes $F / P$ seconds and the travelling $B / W$, so the
# time $t$ of a run is
#
# $$
# t \ge \max\left(\frac{F}{P},\; \frac{B}{W}\right).
# $$
#
# What the kernel does in a second is $F / t$, and the longer $t$, the less
# it is. So divide $F$ by both times. With $I = F / B$, the kernel's
# *intensity* in FLOP for each byte, $F$ divided by $B / W$ is $I\, W$:
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
# square matrices of side $n$: each of $n^2$ results takes $n$
# multiplications and as many additions (the first one to zero), so $F = 2
# n^3$, and if each matrix travels once, $B = 4 \cdot 3 n^2$.

# %%
def sum_intensity(n):
    """FLOP for each byte of the sum of two arrays."""
    return n / (4 * 3 * n)


def product_intensity(n):
    """FLOP for each byte of the product of two n x n matrices."""
    return 2 * n**3 / (4 * 3 * n**2)


for n in (6, 600, 6000):
    print(f"n = {n:4}: sum {sum_intensity(n):.3f}, "
          f"product {product_intensity(n):.0f}")
    assert np.isclose(sum_intensity(n), 1 / 12)
    assert np.isclose(product_intensity(n), n / 6)

# %% [markdown]
# The sum has a twelfth of an operation for each byte, however large it is.
# The product has $n / 6$: the larger, the better.
#
# ## Part 1: your own processor
#
# ### Two ceilings
#
# Copying a large array has no arithmetic at all, so it shows $W$. (A copy
# reads and writes, so we let each number travel twice.) The product of
# large matrices shows $P$. NumPy hands products to a library called *BLAS*,
# which people have tuned for decades.
#
# We run each task a few times and keep the shortest: what disturbs a run
# only makes it longer. To begin with we hold BLAS to one thread, and so use
# one core. (Apple's own BLAS can't be held: there $P$ may be of several.)

# %% tags=["varies"]
from threadpoolctl import threadpool_limits


def seconds(task, *given, threads=1, repeats=5):
    """The shortest of some runs, BLAS on `threads` threads."""
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
W = 2 * source.nbytes / seconds(np.copyto, target, source, repeats=9)
P = 2 * side**3 / seconds(np.matmul, left, right, repeats=9)
print(f"W = {W / 1e9:.1f} GB/s")
print(f"P = {P / 1e9:.1f} GFLOP/s")
print(f"the roof is flat from P / W = {P / W:.1f} FLOP a byte on")
print(f"a sum can use {sum_intensity(1000) * W / P:.1%} of P at most")

# %% [markdown]
# (GB/s are $10^9$ bytes a second, GFLOP/s $10^9$ FLOP a second.)
#
# These numbers are of the machine that built this page. On yours they are
# others, and they change when other programs run. So nothing in this
# chapter asserts a time: it asserts what can be counted, and prints what
# can only be measured.
#
# The last line is for the sum of two arrays, with its 1/12 FLOP a byte.
# For the rest of the time the arithmetic stands idle and waits for numbers.
#
# ### An experiment: one product, sliced
#
# Does the roofline hold? A product of matrices can be written as a sum of
# thinner ones. Each number of $C = X Y$ is a sum of $m$ products, and a sum
# can be added up in portions, $k$ products at a time. So cut $X$ of shape
# $(n, m)$ into slices $X_s$ of $k$ columns, $Y$ of shape $(m, n)$ into
# slices $Y_s$ of $k$ rows, and add up products of shape $(n, n)$:
#
# $$
# C = X Y = \sum_{\text{slices } s} X_s Y_s .
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
# writes $C$; and it reads its two slices, $2 n k$ numbers. That makes
#
# $$
# I_k = \frac{(2k + 1)\, n^2}{4\,(4 n^2 + 2 n k)} ,
# $$
#
# which is about $k / 8$ while $k$ is well above 1 and well below $n$.
#
# Now guess before you look. How many times as many operations a second does
# $k = 256$ do as $k = 1$? And from which $k$ on does thicker not help any
# more?

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
roof = {k: min(P, intensity[k] * W) for k in slices}
for k in (1, 256):
    print(f"k = {k:3}: {rate[k] / 1e9:5.1f} GFLOP/s, "
          f"under a roof of {roof[k] / 1e9:.1f}")
print(f"{rate[256] / rate[1]:.0f} times faster; by the roof, "
      f"{roof[256] / roof[1]:.0f} times")

# %% tags=["varies", "drawing"]
def draw_roof(axis, peak, bandwidth, colour, low=0.05, high=1000):
    """The roof of a machine, in GFLOP/s over FLOP a byte."""
    x = np.geomspace(low, high, 200)
    axis.loglog(x, np.minimum(peak, x * bandwidth) / 1e9, color=colour)
    axis.set_xlabel("intensity, FLOP a byte")
    axis.set_ylabel("GFLOP/s")


figure, axis = style.new_figure(6, 3.5)
draw_roof(axis, P, W, style.GREY, high=200)
axis.plot(list(intensity.values()), [r / 1e9 for r in rate.values()],
          "o-", color=style.BLUE)
for k in (1, 8, 64, 512):
    axis.annotate(f"k = {k}", (intensity[k], rate[k] / 1e9),
                  (6, -14), textcoords="offset points")
axis.text(0.05, 0.4 * W / 1e9, "memory decides", color=style.GREY)
axis.text(200, 1.5 * max(P, *rate.values()) / 1e9,
          "arithmetic decides", ha="right", color=style.GREY)
axis.set_ylim(0.3 * min(rate.values()) / 1e9,
              4 * max(P, *rate.values()) / 1e9)
axis.set_title("A thicker slice stands where the roof is higher");

# %% [markdown]
# (Both axes are logarithmic, so the slope is a straight line.) The places
# of the points from left to right were computed with a pencil, before
# anything ran; their heights are measured. They need not touch the roof: it
# is a bound, and nobody tuned BLAS for slices of one column. Points above
# it say that $W$ or $P$ was not what we took it for: a large cache keeps a
# part of $C$ near, or another program ran while we measured. By the roof,
# thicker helps until $I_k$ is $P / W$, so until $k$ is about $8 P / W$; a
# kernel that stays below its roof can gain a little longer.
#
# That is the answer to this chapter's question: the same operations are
# faster if each number, once fetched, is used more often.
#
# ## Layer norm, counted
#
# Chapter 2 wrote layer norm as a formula: each row of $x$ to mean 0 and
# variance 1, then a gain $\gamma$ and a bias $\beta$ for each column. With
# $x$ of shape (rows, $D$), and $\gamma$ and $\beta$ of shape $(D{,})$:

# %%
def plain_layer_norm(x, gamma, beta, eps=1e-6):
    """(rows, D) -> (rows, D), as the formula says it."""
    mean = x.mean(axis=1, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=1, keepdims=True)
    normalised = centred / np.sqrt(variance + eps)
    return gamma * normalised + beta


# %% [markdown]
# What does it cost? Count for each line what it does, reads and writes, for
# each number of $x$. (A mean reads all of a row and writes one number,
# which for wide rows is as good as nothing; and so are the steps that work
# on one number a row.)

# %%
lines = {  # FLOP, numbers read, numbers written
    "mean of x": (1, 1, 0),
    "x - mean": (1, 1, 1),
    "centred * centred": (1, 1, 1),
    "mean of that": (1, 1, 0),
    "centred / deviation": (1, 1, 1),
    "gamma * normalised": (1, 1, 1),
    "... + beta": (1, 1, 1),
}
flop, numbers_in, numbers_out = map(sum, zip(*lines.values()))
moved = 4 * (numbers_in + numbers_out)
print(f"{flop} FLOP and {moved} bytes for each number of x")
print(f"intensity {flop / moved:.2f}")
assert flop == 7 and moved == 48

# %% [markdown]
# Seven operations for each number, and 48 bytes: twelve times 4. Every line
# of the function reads whole arrays, and most write another one, which
# nobody wants any more a line or two later. What *must* travel is `x` in
# and the result out, 8 bytes. So where the arrays are larger than the
# cache, the formula moves six times as much as it has to.
#
# ### The same in tinyvit
#
# `tinyvit.benchmark` counts for each of tinyvit's kernels what has to be
# done: the operations of its formula, and the bytes of each array that goes
# in or comes out, taken once:

# %%
from tinyvit.benchmark.work import work_of
from tinyvit.kernels.cpu.layer_norm import layer_norm_forward

D = 192
x = random.normal(size=(1000, D)).astype(np.float32)
gamma = random.normal(size=D).astype(np.float32)
beta = random.normal(size=D).astype(np.float32)
given = (x, gamma, beta, 1e-6)
result = layer_norm_forward(*given)
work = work_of(
    "layer_norm_forward", layer_norm_forward, given, {}, result
)
print(f"{work.flop / x.size:.0f} FLOP, {work.bytes / x.size:.1f} bytes")
assert work.flop == flop * x.size
assert round(work.bytes / x.size) == 12
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
# few rows at a time. If such a block of rows and all that is made of it fit
# into the cache, only its first reading and its last writing go the long
# way. The arithmetic stays the same to the last bit:

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

best = min(sizes, key=nanoseconds.get)
print(f"one row a block: {nanoseconds[1] * D / 1e3:.0f} microseconds")
print(f"best, {best} rows: {nanoseconds[best]:.1f} ns a number; "
      f"all rows at once: {whole:.1f} ns")

# %% tags=["varies", "drawing"]
figure, axis = style.new_figure(6, 3.2)
block_bytes = [rows * D * 4 for rows in sizes]
axis.loglog(block_bytes, list(nanoseconds.values()), "o-",
            color=style.BLUE)
axis.axhline(whole, color=style.VERMILION, linestyle="--")
axis.text(block_bytes[0], 0.9 * whole, "all rows at once",
          va="top", color=style.VERMILION)
axis.set_yticks(ticks := [1, 3, 10, 30, 100], ticks)
axis.minorticks_off()
axis.set_xlabel("size of a block, bytes")
axis.set_ylabel("nanoseconds a number")
axis.set_title("Small blocks pay for calls, large ones for memory");

# %% [markdown]
# On the left Python decides: a block of one row takes about a dozen calls
# of NumPy, each with a price of its own, for $D$ numbers. To the right
# memory can decide: what does not fit into the cache travels, and the
# system has to find room for each new large array. In between lies the best
# size. How deep that valley is depends on your caches: where they hold tens
# of megabytes, the right side hardly rises. (It can end above the dashed
# line: a block's result is copied into `out`, one more way in and out.)
#
# Now all ways side by side, from a loop over Python's own numbers to
# tinyvit's kernel. That one does all lines of the formula on a block before
# it goes on to the next, as you did, and each in the same few arrays rather
# than in new ones. Steps that are joined so, to let numbers travel once for
# all of them, are called *fused*. The last version gives each of two
# threads half of the rows; `Workers` is explained below.

# %% tags=["varies"]
from tinyvit.training import Workers


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


def tinyvit_layer_norm(x):
    """tinyvit's kernel, for `Workers`."""
    return layer_norm_forward(x, gamma, beta, 1e-6)


few, g, b = large[:300].tolist(), gamma.tolist(), beta.tolist()
halves = np.split(large, 2)
with Workers(2) as workers:
    versions = {
        "Python's numbers": (few, python_layer_norm, few, g, b),
        "NumPy, all rows at once":
            (large, plain_layer_norm, large, gamma, beta),
        "NumPy, in blocks":
            (large, layer_norm_in_blocks, large, gamma, beta, 1024),
        "tinyvit, fused": (large, tinyvit_layer_norm, large),
        "tinyvit, two threads":
            (large, workers.map, tinyvit_layer_norm, halves),
    }
    for name, (rows, task, *given) in versions.items():
        took = seconds(task, *given, repeats=3) / (len(rows) * D)
        print(f"{name:24} {1e9 * took:8.2f} ns a number")

# %% [markdown]
# What a trick buys depends on the machine. The comment in
# `tinyvit/kernels/cpu/blocks.py` says what blocks bought on a processor
# with large caches: no speed in a whole training step, but 27 MB instead of
# 43 where a model is only used. Always measure a trick where it is to be
# used.
#
# ## A whole training step under the roof
#
# Now all kernels of a training step: where do they stand? `counted_work`
# runs a step and counts for each kernel; `breakdown` times them. Names say
# what a kernel does: `mlp_backward` is the backward pass of a block's MLP,
# `add_layer_norm_backward` that of a residual sum and the norm after it.

# %%
from tinyvit.benchmark.breakdown import breakdown, counted_work
from tinyvit.models import ViT, ViTConfig
from tinyvit.training import Recipe, TrainStep

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
for name in shown:
    print(f"{name:24} {timed[name].share:4.0%} of the time")
products = sum(
    part.share for part in parts
    if part.name.startswith(("linear", "mlp", "attention"))
)
print(f"{'all kernels with products':24} {products:3.0%} of the time")

# %% tags=["varies", "drawing"]
places = {  # of labels, so that they keep out of each other's way
    "mlp_backward": (8, -17, "left"),
    "linear_backward": (2, 12, "right"),
    "attention_backward": (-9, -5, "right"),
    "add_layer_norm_backward": (0, -19, "left"),
    "adamw_step": (-9, 3, "right"),
}


def label(axis, name, x, y):
    """A kernel's name beside its point."""
    right, up, align = places[name]
    axis.annotate(name, (x, y), (right, up), ha=align,
                  textcoords="offset points",
                  bbox={"fc": "white", "ec": "none", "pad": 0.5})


figure, axis = style.new_figure(6, 3.6)
draw_roof(axis, P, W, style.GREY, high=700)
for name in shown:
    part = timed[name]
    axis.plot(part.work.intensity, part.gflops, "o", color=style.BLUE)
    label(axis, name, part.work.intensity, part.gflops)
heights = [timed[name].gflops for name in shown]
axis.set_ylim(0.2 * min(heights), 4 * max(P / 1e9, *heights))
axis.set_title("Kernels with products far right, the others left");

# %% [markdown]
# Layer norm and the optimiser have less than one operation a byte: unless
# your roof is flat from less than 1 on, they live under its slope. Kernels
# with products stand far to the right. The last printed line says how much
# of the time those take: the larger that share, the more a training step is
# a matter of BLAS. The way to make the others faster is to let them touch
# memory less often, by fusing.
#
# In the book's web page there is a figure to play with here: choose a
# kernel, and see what limits it on two machines.
#
# <!-- interactive: roofline -->
#
# ## Two cores: workers or BLAS threads?
#
# BLAS can use all cores for a product. But the steps between products run
# on one core, whatever BLAS does. Let products be a share $p$ of the time
# on one core. With BLAS on $c$ cores, at best the products take $p / c$ of
# that time, and the rest, $1 - p$, takes as long as before. If instead each
# core gets its own images, at best everything is $c$ times as fast:
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
assert np.isclose(amdahl(0.8, 16), 4)

# %% [markdown]
# With products taking 80 % of the time, sixteen cores are used like four.
# `tinyvit.training.Workers` is the other way: threads that share the batch,
# each with BLAS held to one thread. Here both do the MLP of an encoder
# block, whose work between the products is GELU. Which one wins?

# %%
from tinyvit.kernels.cpu.mlp import mlp_forward
from tinyvit.training.workers import split

tokens = random.normal(size=(512 if fast else 8192, D))
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
# Two is the most that there can be, and less than 1 says that two threads
# took longer than one: that happens if another program is on the second
# core, or if there is none. (BLAS suffers most, for its threads wait for
# each other in every product.) Look at your own numbers on a quiet machine.
#
# ## Part 2: a GPU, thread by thread
#
# ### What a GPU is
#
# A CPU has a few cores, each clever: it guesses what comes next and keeps
# large caches, so that one thread runs fast. A GPU spends its transistors
# differently. It has very many plain arithmetic units and a wide road to
# its memory, and it does not wait for *one* thread: it holds far more of
# them than it has units, and while some wait for memory, others calculate.
#
# A kernel for a GPU is a function that says what **one thread** does. It is
# written in CUDA, which is C++ with a few additions, and launched for many
# threads at a time. They are organised like this:

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 3.4)
for block in range(2):
    x = 5 * block
    axis.add_patch(Rectangle((x, 0.9), 4.7, 3.4, fc="white",
                             ec=style.BLUE, lw=2))
    axis.text(x + 0.1, 3.9, f"block {block}")
    for warp in range(2):
        y = 2.85 - 1.0 * warp
        axis.add_patch(Rectangle((x + 0.1, y), 4.5, 0.9,
                                 fc="#E8F3EF", ec=style.GREEN))
        axis.text(x + 0.2, y + 0.5, f"warp {warp}")
        dots = x + 0.3 + 0.3 * np.arange(13)
        axis.plot(dots, 0 * dots + y + 0.25, "o", ms=4,
                  color=style.GREEN)
        axis.text(x + 4.5, y + 0.2, "...", ha="right")
    axis.add_patch(Rectangle((x + 0.1, 1.05), 4.5, 0.6,
                             fc="#FDF3DC", ec=style.ORANGE))
    axis.text(x + 2.35, 1.25, "shared memory", ha="center")
axis.add_patch(Rectangle((0, 0), 9.7, 0.6, fc="#EEEEEE",
                         ec=style.GREY))
axis.text(4.85, 0.2, "global memory, for all blocks", ha="center")
axis.set(xlim=(-0.1, 9.8), ylim=(-0.1, 4.4))
axis.axis("off")
axis.set_title("Threads stand in warps, warps in blocks");

# %% [markdown]
# - A **thread** (a dot) runs the kernel. It knows its number in its block,
#   `threadIdx.x`, and its block's number, `blockIdx.x`. Numbers of its own
#   are in *registers*, which are as near as can be.
# - 32 threads are a **warp**. They usually take each step together.
# - Up to 1024 threads are a **block**, `blockDim.x` of them. A block has
#   some **shared memory**, kilobytes of it, which all its threads can read
#   and write and which is much nearer than global memory. And it has
#   **barriers**: a thread that comes to `__syncthreads()` waits until all
#   of its block have come.
# - All blocks see **global memory**, gigabytes of it, where arrays lie. The
#   order in which blocks run is not known, so none may wait for another.
#
# (32 and 1024 are the numbers of NVIDIA's *CUDA C++ Programming Guide*, see
# further reading.)
#
# ## A first kernel
#
# Here is the sum of two arrays. `extern "C" __global__` says that this is a
# function to launch on the GPU, under this very name, and `void` that it
# returns nothing. And as much C++ as this chapter needs:
#
# - A variable is made with its type, `int` for whole numbers or `float` for
#   float32. Lines end with `;`, and `{` and `}` stand around what Python
#   indents.
# - `float *c` is an array, and `c[i]` a number of it; `const`: only read.
#   `c += 5` makes `c` begin 5 numbers later. `*c` is `c[0]`.
# - `for (int i = 0; i < n; i += 2)` is `for i in range(0, n, 2)`, `i++` is
#   `i += 1`, and `//` begins a comment. Between whole numbers `/` rounds
#   down: `half /= 2` makes 0 of 1.

# %%
ADD = """
extern "C" __global__ void add(const float *a, const float *b,
                               float *c, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) c[i] = a[i] + b[i];
}
"""

# %% [markdown]
# There is no loop. With 32 threads a block, thread 5 of block 2 has `i` =
# 69: it adds `a[69]` and `b[69]`, and other threads add the rest. Blocks
# are all of one size, so for 100 numbers we need four of them, and 28
# threads are too many. That is what `if (i < count)` is for.
#
# You have no GPU? Then let us run it here. `tinyvit.kernels.cuda_on_cpu`
# compiles CUDA with your C++ compiler and lets the threads take turns. It
# is how tinyvit tests the kernels in `tinyvit/kernels/gpu/`. If you have no
# compiler, the next cell says what to install; the cells after it then
# show their code and do nothing.

# %%
from tinyvit.kernels.cuda_on_cpu import (
    CudaError,
    Module,  # compiled CUDA, unlike nn's Module
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
# changes. Here (CUDA can count blocks and threads along three axes, so each
# has three numbers; we use the first only, `.x`):

# %%
if compiles:
    careless = ADD.replace("if (i < count) ", "")
    run = Module.from_text(careless, "add.cu").get_function("add")
    try:
        run((4,), (32,), (first, second, added, 100))
    except CudaError as error:
        print(textwrap.fill(str(error), 72))
    else:
        print("not seen: this compiler cannot check accesses")
        assert not module.checked

# %% [markdown]
# ## Threads that need each other
#
# When two arrays are added no thread needs another. A sum over an array is
# different. One way to do it in parallel is a tree. Of 64 numbers, 32
# threads add the upper 32 to the lower 32. Of the 32 that are left, 16
# threads add the upper 16 to the lower 16, and so on: the numbers halve
# from 64 to 1 in six rounds, and the sum stands in front.
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
# Now we leave out the barrier in the loop: one line less, and nobody has to
# wait. Guess: in which of the three orders does the sum come out wrong?

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
# comes first. On a GPU the order may be another one on each card and in
# each run. A test that passed once proves little.
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
# the three quotation marks. `__syncwarp()` is a barrier for one warp.
#
# ## Layer norm as a kernel
#
# Now you have all that layer norm needs. A block takes a row. Each thread
# takes every `blockDim.x`-th number of it, so that any width will do, and
# the sums over the row are trees. A function that a kernel calls is marked
# `__device__`; `rsqrtf(v)` is $1 / \sqrt v$.

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
# `row_sum` has three barriers. Barriers cost time. Is one of them not
# needed? The third looks superfluous: the sum has been read, and what comes
# after it is `return`. Guess, then take out one at a time.

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
# `tinyvit/kernels/gpu/layer_norm_steps.cu` (open it now):
#
# 1. a **thread** for each row: the loop that one would write on a CPU;
# 2. a **block** for each row: what you wrote;
# 3. a **warp** for each row, which keeps the row in registers. The threads
#    of a warp can hand each other registers directly (*shuffles*), and so
#    sum without shared memory and without barriers of the block.
#
# All three agree with NumPy. `tracing` collects what the threads of the
# first block read and write, in the order of their turns; we need it next.

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
# bytes, eight numbers that lie next to each other (see NVIDIA's *CUDA C++
# Best Practices Guide* on coalesced access). When the 32 threads of a warp
# read at the same moment, what counts is in how many sectors their numbers
# lie. The trace says which numbers those are, if we take it that all
# threads of a warp do their first read of a line together, then their
# second, and so on.

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
    assert sent["a_thread_a_row"] == 96
    assert sent["a_block_a_row"] == 12
    assert sent["a_warp_a_row"] == 4

# %% tags=["drawing"]
from matplotlib.colors import ListedColormap

if traces:
    figure, axes = style.new_figure(6, 4, 2, 1, sharex=True)
    colours = ListedColormap(["#F2F2F2", style.ORANGE, style.BLUE])
    for axis, name in zip(axes, ("a_thread_a_row", "a_warp_a_row")):
        wanted = list(warp_reads(traces[name], "x")[0].values())
        came = np.zeros(rows.size, int)
        for i in wanted:
            came[i // 8 * 8 : i // 8 * 8 + 8] = 1
        came[wanted] = 2
        axis.imshow(came.reshape(rows.shape), colours, aspect="auto")
        count = np.count_nonzero(came)
        axis.set_title(f"{name}: to use 32 numbers, {count} come")
        axis.set_ylabel("row of x")
        axis.grid(False)
    axes[0].annotate("blue: used", (0, 8), (12, 9),
                     arrowprops={"arrowstyle": "->"})
    axes[0].annotate("orange: comes with it", (5, 20), (12, 21),
                     arrowprops={"arrowstyle": "->"})
    axes[1].annotate("used, all of it", (16, 1), (12, 11),
                     arrowprops={"arrowstyle": "->"})
    axes[1].set_xlim(-0.5, 39.5)
    axes[1].set_xlabel("column of x (of 96)")

# %% [markdown]
# The figure shows the first read of one warp. With a thread for each row,
# the threads read numbers that lie a whole row apart: 32 sectors come, and
# of each one number is used. With neighbours reading neighbours, only four
# come, and nothing comes in vain; such reads are called *coalesced*.
# And the last version reads each number once rather than three times. From
# 96 bytes to 4: the least that there can be. (A GPU has caches too, so the
# first version need not be quite as bad as this count.)
#
# ## Attention, as a kernel
#
# [Chapter 4](04_attention.ipynb) ended with *online softmax*: attention in
# which the $N \times N$ weights never exist, because the sum shrinks
# whenever a larger score is found. Here it is for one head, whose queries,
# keys and values have $D_h = 8$ numbers. A thread takes a query and goes
# once over all keys and values. What it adds up is its own, in registers.

# %%
ATTENTION = """
extern "C" __global__ void attention(const float *q, const float *k,
    const float *v, float *out, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x; // the query
    if (i >= count) return;
    float most = -1e30f; // below any score
    float total = 0, sum[8] = {}; // 8 numbers, all 0
    for (int j = 0; j < count; j++) { // a key and its value
        float score = 0;
        for (int c = 0; c < 8; c++)
            score += q[8 * i + c] * k[8 * j + c];
        score *= rsqrtf(8);
        if (score > most) {
            float shrink = expf(most - score);
            for (int c = 0; c < 8; c++) sum[c] *= shrink;
            total *= shrink;
            most = score;
        }
        float weight = expf(score - most);
        for (int c = 0; c < 8; c++) sum[c] += weight * v[8 * j + c];
        total += weight;
    }
    for (int c = 0; c < 8; c++) out[8 * i + c] = sum[c] / total;
}
"""

# %% [markdown]
# We try it on 65 tokens (64 patches and a class token), with blocks of 64
# threads, against tinyvit's attention of two heads, of which ours is the
# first. And we count what the first block reads.

# %%
from tinyvit.kernels.cpu.attention import attention_forward

N, heads, d = 65, 2, 8  # d: chapter 4's D_h
qkv = random.normal(size=(1, N, 3 * heads * d)).astype(np.float32)
expected, _ = attention_forward(qkv, heads, N)


def numbers_read(events, arrays):
    """How many numbers were read from some arrays."""
    values = [event.value for event in events
              if event.what == "read" and event.array in arrays]
    return sum(np.size(value) for value in values)


if compiles:
    queries, keys, values = (
        np.ascontiguousarray(qkv[0, :, start : start + d])
        for start in range(0, 3 * heads * d, heads * d)
    )
    out = np.empty_like(queries)
    run = Module.from_text(ATTENTION, "a.cu").get_function("attention")
    with tracing(limit=10**6) as events:
        run((2,), (64,), (queries, keys, values, out, N))
    np.testing.assert_allclose(
        out, expected[0, :, :d], rtol=1e-4, atol=1e-5
    )
    alone = numbers_read(events, ("q", "k", "v"))
    print(f"equal to tinyvit; a block reads {alone:,} numbers")
    assert alone == 3 * d * N * 64

# %% [markdown]
# Nothing of $N \times N$ was stored. But for each key a thread reads
# query, key and value, $3 D_h$ numbers, though the thread beside it reads
# the same key and value. For all $N$ queries that is $3 N^2 D_h$ numbers
# from global memory.
#
# *FlashAttention* (chapter 4) is the cure. A block fetches a *tile*, some
# rows of keys and values, into shared memory; all its threads use that tile
# before the next one comes. A block of 64 queries then reads $2 N D_h$
# numbers and its queries once: for all $N$ queries that is about
# $2 N^2 D_h / 64 + N D_h$.
# It is step 2 in `tinyvit/kernels/gpu/attention_steps.cu`.

# %%
from tinyvit.kernels.gpu.lessons import attention as attention_steps

if compiles:
    with tracing(limit=10**6) as events:
        found = attention_steps.shared_tiles(qkv, heads)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    tiles = numbers_read(events, ("qkv",))
    print(f"a block reads {tiles:,} numbers, {alone / tiles:.0f} times "
          "fewer")
    assert tiles == (2 * N + 64) * d

# %% [markdown]
# In step 3 each thread keeps a patch of the scores in registers, so that
# shared memory is read less, too. That is what tinyvit trains with in
# float32; with bfloat16, numbers of two bytes, it uses *tensor cores*,
# units that multiply small matrices in one go. Read `attention_steps.cu`,
# then `attention.cu`.
#
# ## What a GPU would change
#
# We have counted, and not measured, for this page is made without a GPU.
# But ceilings can be read off a data sheet. NVIDIA's for the *H100 Tensor
# Core GPU* says in its column for the SXM board: memory 3.35 TB/s;
# FP32, which is float32, 67 teraFLOPS; bfloat16 on tensor cores 1,979
# teraFLOPS "with sparsity", that is for matrices half of which is zeros,
# and half of that without. (*Tera* is $10^{12}$.) These are bounds, as the
# maker rounded them. Everything that follows is **computed from these
# three**, and no measurement.

# %%
H100_W, H100_FLOAT32 = 3.35e12, 67e12
H100_P = 1979e12 / 2  # without sparsity
ridge = H100_P / H100_W
print(f"flat from {ridge:.0f} FLOP a byte on")
assert round(ridge) == 295

# %% [markdown]
# The flat part begins at 295 FLOP a byte. Where do the kernels of our
# training step stand? In bfloat16 each number has half the bytes, so a
# kernel has about twice the intensity. (The optimiser has not: tinyvit
# keeps its numbers in float32, so that small steps are not rounded away.)

# %%
on_h100 = {
    name: step_work[name].intensity * (1 if name == "adamw_step" else 2)
    for name in shown
}
for name, x in on_h100.items():
    print(f"{name:24} {x:5.1f} FLOP a byte")
assert max(on_h100.values()) < ridge

# %% tags=["drawing"]
figure, axis = style.new_figure(6, 3.8)
draw_roof(axis, H100_P, H100_W, style.GREEN, 0.05, 5000)
draw_roof(axis, H100_FLOAT32, H100_W, style.ORANGE, 0.05, 5000)
axis.text(5000, 2.7 * H100_P / 1e9, "tensor cores, bfloat16",
          ha="right")
axis.text(5000, 0.6 * H100_FLOAT32 / 1e9, "float32", ha="right")
for name, x in on_h100.items():
    y = min(H100_P, x * H100_W) / 1e9
    axis.plot(x, y, "o", color=style.BLUE)
    label(axis, name, x, y)
axis.set_ylim(100, 1e7)
axis.set_title("Under an H100's roof, memory limits all of this step");

# %% [markdown]
# Every one of them lies under the slope, even those with products. The
# GPU's road to memory is wide, but its arithmetic is wider still: compare
# its 295 with the edge of your own roof. (With more images a step the
# products move further right, for the weights travel once for all of them.
# And attention is counted here with the weights that the CPU's kernel
# stores; FlashAttention does not store them, and stands further right.)
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
# A wide model is what a GPU is good at. In a narrow one most kernels wait
# for memory, so what may be a detail on a CPU becomes the work itself: fuse
# steps that follow each other, keep in registers and shared memory what is
# used again, store in bfloat16. That is what the kernels in
# `tinyvit/kernels/gpu/` do. And for a small model it matters even how often
# kernels are launched, for a launch takes its time whatever the kernel
# does.
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
            (work.flop * moved / (moved - 4 * r * i),
             "x travels, too"),
            (moved / work.flop * moved, "FLOP divided by bytes"),
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
            said = (f"Not yet, {height} x {width}: {error}. Does the "
                    "thread know its number among all blocks, and "
                    "that number's row? Does it stop where the "
                    "arrays end?")
            print(textwrap.fill(said, 72))
            return False
        if np.isnan(y).any():
            print(f"Not yet: {np.isnan(y).sum()} of {y.size} numbers "
                  "of y were not written. Which is this thread's?")
            return False
        if not np.allclose(y, x * factors[:, None]):
            print(f"Not yet: wrong for {height} x {width}. In which "
                  "row does number i lie?")
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
# - The [Vision Transformer paper](https://arxiv.org/abs/2010.11929),
#   appendix D.5: how fast its models are, measured.
# - Dao et al., *FlashAttention: fast and memory-efficient exact attention
#   with IO-awareness* (2022),
#   [arXiv:2205.14135](https://arxiv.org/abs/2205.14135), section 3.
# - NVIDIA's *CUDA C++ Programming Guide*, on the programming model, on
#   compute capabilities (how many threads, how much shared memory); its
#   *CUDA C++ Best Practices Guide*, on memory; and the data sheet of the
#   *H100 Tensor Core GPU*.
# - `tinyvit/kernels/gpu/matmul_steps.cu`: the product of matrices, four
#   times. `tinyvit/kernels/cuda_on_cpu/`: how CUDA runs on your CPU.
#
# Next: [real weights](09_real_weights.ipynb).
