# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # The encoder and the whole ViT
#
# **The question:** one layer is easily taught. How does one stack dozens
# of them so that the whole still learns?
#
# ## Where we are
#
# | from | you have |
# |---|---|
# | [chapter 1](01_a_machine_for_derivatives.ipynb) | derivatives of whatever you compute |
# | [chapter 2](02_layers_by_hand.ipynb) | `linear`, `gelu`, `layer_norm`, the loss |
# | [chapter 3](03_an_image_as_a_sentence.ipynb) | equation 1: the image as a list of vectors |
# | [chapter 4](04_attention.ipynb) | `attention`: the vectors look at each other |
#
# Everything is there. In this chapter you put it together, and at the end
# of the first half you have a Vision Transformer that computes the same
# numbers as tinyvit's. The second half asks what the order of the parts is
# good for: which of them could be left out, and what happens then.
#
# ## The idea
#
# Between the patches and the answer stands the *encoder*, a stack of equal
# *blocks*. Each block has two workers. *Multi-head self-attention*
# (MSA) carries news from vector to vector. The *MLP*, two linear layers
# with a GELU between them, works on each vector by itself. The way they
# are joined is the idea of this chapter: a worker does not *replace* the
# vectors. It reads them, and *adds* to them what it has found.
#
# So there is one list of vectors that runs through the whole network, from
# the patches to the answer, and all workers read from it and write to it.
# It is called the *residual stream*; the detour through a worker is a
# *residual branch*. (Residual is what remains to be added.)

# %%
import os

import numpy as np

from tinyvit.analysis import style

fast = "TINYVIT_FAST" in os.environ

# %% tags=["drawing"]
def worker(axis, x, y, text, colour):
    """A labelled box."""
    axis.text(
        x, y, text, ha="center", va="center", color=colour,
        bbox={"boxstyle": "round,pad=0.4", "fc": "white", "ec": colour},
    )


def line(axis, points, colour, width=1.3):
    """A line through points, with an arrow at its end."""
    axis.plot(*zip(*points[:-1]), color=colour, lw=width,
              solid_capstyle="butt")
    axis.annotate(
        "", points[-1], points[-2],
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": width,
                    "shrinkA": 0, "shrinkB": 0},
    )


figure, axes = style.new_figure(5.8, 3.4, 2, 1)
for axis, norm_on_stream in zip(axes, (False, True)):
    line(axis, [(0, 0), (10, 0)], style.BLUE, 3)
    for start, name in ((0.6, "MSA"), (5.4, "MLP")):
        joins = start + (2.9 if norm_on_stream else 3.6)
        line(axis, [(start, 0), (start, 1), (joins, 1), (joins, 0.16)],
             style.GREY)
        if norm_on_stream:
            worker(axis, start + 1.45, 1, name, style.GREY)
            worker(axis, start + 3.7, 0, "LN", style.VERMILION)
        else:
            worker(axis, start + 1.0, 1, "LN", style.VERMILION)
            worker(axis, start + 2.5, 1, name, style.GREY)
        axis.text(joins, 0, "+", ha="center", va="center",
                  color="white", weight="bold",
                  bbox={"boxstyle": "circle,pad=0.1",
                        "fc": style.BLUE, "ec": style.BLUE})
    axis.set_xlim(-0.1, 10.2)
    axis.set_ylim(-0.5, 1.5)
    axis.axis("off")
axes[0].set_title("Pre-norm: nothing stands in the stream's way")
axes[1].set_title("Post-norm: the stream passes through each norm");

# %% [markdown]
# The upper picture is the block of the Vision Transformer. *LN* is layer
# norm (chapter 2). It stands at the beginning of each branch, and therefore
# this is called *pre-norm*. The first Transformer of 2017 had it on the
# stream, after each sum: *post-norm*, the lower picture. It looks like a
# detail.
#
# ## The mathematics
#
# The stream is $z$, an array of shape $(B, N, D)$: $B$ images, $N$ vectors
# each (in this chapter we count the class token in), $D$ numbers in each.
# Equations 2 and 3 of the paper say what block number $l$ does:
#
# $$
# \begin{aligned}
# z'_l &= z_{l-1} + \mathrm{MSA}(\mathrm{LN}(z_{l-1})) \\
# z_l &= z'_l + \mathrm{MLP}(\mathrm{LN}(z'_l))
# \end{aligned}
# $$
#
# All of them have the shape of $z$. (The prime marks the stream in the
# middle of the block. It is no derivative.)
#
# Both lines have the same form, $z + f(z)$. Write $f_1, f_2, \dots,
# f_{2L}$ for the branches of all $L$ blocks, one after the other, and
# $s_i$ for the stream after branch $i$, so that $s_i = s_{i-1} +
# f_i(s_{i-1})$. Insert each into the next:
#
# $$
# \begin{aligned}
# s_{2L} = s_0 &+ f_1(s_0) + f_2(s_1) \\
#   &+ \dots + f_{2L}(s_{2L-1})
# \end{aligned}
# $$
#
# What comes out is what went in, plus what everybody added. Now
# backwards. Let $\bar s_i$, of the shape of $s_i$, be the gradient that
# arrives at $s_i$. Every number of $s_{i-1}$ was used in two places, in the
# sum and in the branch, and so it gets two gradients, which add up
# (chapter 1):
#
# $$
# \bar s_{i-1} = \bar s_i + b_i(\bar s_i)
# $$
#
# where $b_i$ is the backward pass of the branch. The first term is the
# gradient itself, unchanged. However deep the network, the gradient at the
# end reaches the first layer along the stream without being multiplied
# with anything. Without the sum there would be only $b_i(\bar s_i)$, which
# multiplies with the slopes and the weights of the branch: $2L$ times, one
# after the other. And products of many factors vanish or explode, if the
# factors are not very close to 1.
#
# In post-norm $s_i = \mathrm{LN}(s_{i-1} + f_i(s_{i-1}))$, and the gradient
# goes through the backward pass of a norm at each sum. What this does, we
# shall measure.
#
# ## The code: a block
#
# The parts are imported; you have written them all. Weights are kept in a
# dictionary, by name. The names are those of tinyvit, so that we can
# exchange weights with it later.

# %%
from tinyvit import Tensor, no_grad
from tinyvit.autograd import attention, gelu, layer_norm, linear


def under(weights, beginning):
    """The weights whose names begin so, by the rest of the name."""
    return {
        name.removeprefix(beginning): weight
        for name, weight in weights.items()
        if name.startswith(beginning)
    }


def norm(x, w):
    """LN: x (B, N, D) -> (B, N, D)."""
    return layer_norm(x, w["gamma"], w["beta"], 1e-6)


def msa(x, w, heads):
    """Multi-head self-attention: x (B, N, D) -> (B, N, D)."""
    qkv = linear(x, w["qkv.weight"], w["qkv.bias"])  # (B, N, 3 D)
    seen = attention(qkv, heads)  # (B, N, D)
    return linear(seen, w["out.weight"], w["out.bias"])


def mlp(x, w):
    """Linear, GELU, linear: x (B, N, D) -> (B, N, D)."""
    hidden = linear(x, w["linear1.weight"], w["linear1.bias"])
    return linear(  # hidden is (B, N, M)
        gelu(hidden, "tanh"), w["linear2.weight"], w["linear2.bias"]
    )


# %% [markdown]
# The matrix `qkv.weight` of shape $(D, 3D)$ makes queries, keys and values
# in one product, side by side. The MLP's hidden width $M$ is mostly $4D$.
# And now the block, two lines for two equations:

# %%
def encoder_block(z, w, heads):
    """Equations 2 and 3: z (B, N, D) -> (B, N, D)."""
    attended = msa(norm(z, under(w, "norm1.")),
                   under(w, "attention."), heads)
    z = z + attended
    return z + mlp(norm(z, under(w, "norm2.")), under(w, "mlp."))


# %% [markdown]
# ### The same in tinyvit
#
# `EncoderBlock` holds the weights as attributes instead of in a
# dictionary. For the comparison we fill every weight with random numbers:
# what starts at 0 or 1 could hide a mistake. (`dropout` and
# `stochastic_depth` would leave out parts at random during training, and
# are off.)

# %%
from tinyvit.nn import EncoderBlock

random = np.random.default_rng(0)


def randomise(module, scale=0.1):
    """Random float64 numbers for every weight; gives them by name."""
    weights = dict(module.named_parameters())
    for weight in weights.values():
        weight.data = scale * random.normal(size=weight.shape)
    return weights


D, M, HEADS = 48, 192, 3
block = EncoderBlock(
    D, HEADS, M, gelu="tanh", norm_eps=1e-6, dropout=0,
    stochastic_depth=0, random=random,
)
weights = randomise(block)
for name, weight in weights.items():
    print(f"{name:21} {weight.shape}")

# %%
z = Tensor(random.normal(size=(2, 5, D)))
mine = encoder_block(z, weights, HEADS)
np.testing.assert_allclose(mine.data, block(z).data, atol=1e-12)

# %% [markdown]
# ## The code: the whole model
#
# Before the blocks comes chapter 3's equation 1, after them equation 4, a
# last norm of the class token's vector. Then comes the *head*, a linear
# layer to one number for each class, the *logits*. Chapter 3 ended in
# `PatchEmbedding`, which we hand our weights.

# %%
from tinyvit.autograd import broadcast_to, concatenate
from tinyvit.models import ViT, ViTConfig
from tinyvit.nn import PatchEmbedding


def embed(images, w, config):
    """Equation 1: images (B, H, W, C) -> z_0 (B, N, D)."""
    cut = PatchEmbedding(
        config.patch_size, config.channels, config.width, random
    )
    cut.projection.weight = w["patch_embedding.projection.weight"]
    cut.projection.bias = w["patch_embedding.projection.bias"]
    front = broadcast_to(
        w["class_token"], (len(images), 1, config.width)
    )
    patches = cut(Tensor(images))
    sentence = concatenate([front, patches], axis=1)
    return sentence + w["position.embedding"]


def vit(images, w, config):
    """A Vision Transformer: images (B, H, W, C) -> logits (B, K)."""
    z = embed(images, w, config)
    for number in range(config.depth):
        z = encoder_block(z, under(w, f"blocks.{number}."),
                          config.heads)
    y = norm(z[:, 0], under(w, "norm."))  # equation 4, (B, D)
    return linear(y, w["head.weight"], w["head.bias"])


# %% [markdown]
# That is all of it, and the four equations can be read in it. Does it
# compute the same as tinyvit's? The tiny size has twelve
# blocks; a mistake anywhere would show.

# %%
config = ViTConfig.named(
    "tiny", image_size=32, patch_size=8, classes=10
)
model = ViT(config)
weights = randomise(model)
images = random.uniform(-1, 1, (4, 32, 32, 3))
logits = vit(images, weights, config)
print(logits.data[0].round(3))
np.testing.assert_allclose(logits.data, model(images).data, atol=1e-9)

# %% [markdown]
# And the gradients, of every weight:

# %%
from tinyvit.autograd import gradients, softmax_cross_entropy

targets = np.eye(10)[[3, 1, 4, 1]]
by_name = list(weights.values())
mine = gradients(softmax_cross_entropy(logits, targets), by_name)
theirs = gradients(
    softmax_cross_entropy(model(images), targets), by_name
)
for one, other in zip(mine, theirs):
    np.testing.assert_allclose(one, other, atol=1e-9)
print(f"{len(mine)} gradients agree, the largest number in them "
      f"{max(np.abs(one).max() for one in mine):.2f}")

# %% [markdown]
# ## Counting parameters
#
# How many numbers does such a model learn? With patches of $P \times P$
# pixels in $C$ channels, $N$ vectors of width $D$, $L$ blocks, a hidden
# width $M$ and $K$ classes, part by part:
#
# | part | parameters |
# |---|---|
# | patch projection | $P^2 C D + D$ |
# | class token, positions | $D + N D$ |
# | queries, keys, values | $3 D^2 + 3 D$ |
# | attention's output | $D^2 + D$ |
# | MLP | $2 D M + M + D$ |
# | two norms | $4 D$ |
# | last norm | $2 D$ |
# | head | $D K + K$ |
#
# The four rows in the middle make up a block, and count $L$ times. The
# heads of attention (chapter 4; not to be confused with *the* head, at the
# end) cost nothing: they divide the $D$ numbers among themselves.

# %%
def parameters(size, image=224, C=3, K=1000):
    """Parameters of a size such as ("base", 16), by part."""
    name, P = size
    config = ViTConfig.named(name, patch_size=P)
    D, L, M = config.width, config.depth, config.mlp_width
    N = (image // P) ** 2 + 1
    return {
        "embedding": P * P * C * D + D + D + N * D,
        "attention": L * (4 * D * D + 4 * D),
        "MLP": L * (2 * D * M + M + D),
        "norms": L * 4 * D + 2 * D,
        "head": D * K + K if K else 0,
    }


# %% [markdown]
# `tinyvit.models.cost` counts differently: it makes the model (without
# memory for its numbers) and adds up the sizes of what is there. Both must
# agree, with each other and with the models that others have published,
# which have a head for the 1,000 classes of the data set ImageNet. The
# paper's Table 1 rounds: 86 million for *base*, 307 for *large*, 632 for
# *huge*. It does not say for which patches and which head, so let us see
# who fits. (In the names of sizes, B/16 is *base* with patches of 16
# pixels.)

# %%
from tinyvit.models import cost

published = {
    ("tiny", 16): 5_717_416, ("small", 16): 22_050_664,
    ("base", 32): 88_224_232, ("base", 16): 86_567_656,
    ("large", 32): 306_535_400, ("large", 16): 304_326_632,
    ("huge", 14): 632_045_800,
}
bare = {size: sum(parameters(size, K=0).values())
        for size in published}
print("          with a head  without")
for (name, patch), count in published.items():
    assert count == sum(parameters((name, patch)).values())
    config = ViTConfig.named(name, patch_size=patch)
    assert count == cost(config).parameters
    print(f"{name:5}/{patch}  {count:11,}"
          f"{bare[name, patch] / 1e6:6.0f} million")
assert round(bare["base", 16] / 1e6) == 86
assert round(published["large", 32] / 1e6) == 307
assert round(published["huge", 14] / 1e6) == 632

# %% [markdown]
# All three are there, though not in one column: 86 is B/16 without its
# head, 307 is L/32 with it. The size of the patches matters little here:
# smaller ones have a smaller projection and more positions, and both are
# minor.
#
# ## Counting multiply-adds
#
# Time is another matter. Chapter 4 counted the multiply-adds of one block:
# $4 N D^2$ for attention's projections, $2 N^2 D$ for looking, and, with
# any hidden width, $2 N D M$ for the MLP. Add up the whole model:

# %%
def multiply_adds(size, image=224, C=3, K=1000):
    """Multiply-adds of one image, forwards, by part."""
    name, P = size
    config = ViTConfig.named(name, patch_size=P)
    D, L, M = config.width, config.depth, config.mlp_width
    N = (image // P) ** 2 + 1
    return {
        "embedding": (N - 1) * P * P * C * D,
        "projections": L * N * 4 * D * D,
        "looking": L * 2 * N * N * D,
        "MLP": L * N * 2 * D * M,
        "head": D * K,
    }


for size in published:
    config = ViTConfig.named(size[0], patch_size=size[1])
    total = sum(multiply_adds(size).values())
    assert total == cost(config).multiply_adds
    print(f"{size[0]:5}/{size[1]} {total / 1e9:6.1f} thousand million")

# %% [markdown]
# With patches of 32 pixels instead of 16, *base* has more parameters and
# takes a quarter of the multiply-adds. Which part has most of both?

# %%
ratio = sum(multiply_adds(("base", 32)).values()) / sum(
    multiply_adds(("base", 16)).values()
)
assert published["base", 32] > published["base", 16]
assert 0.24 < ratio < 0.26
bills = {
    "parameters": parameters(("base", 16)),
    "multiply-adds": multiply_adds(("base", 16)),
}
shares = {
    name: {part: 100 * number / sum(bill.values())
           for part, number in bill.items()}
    for name, bill in bills.items()
}
for name, of_parts in shares.items():
    print(f"{name}: {of_parts['MLP']:.0f} % in the MLPs")
    assert of_parts["MLP"] > 60

# %% tags=["drawing"]
kinds = [
    ("embedding", style.GREY), ("attention", style.ORANGE),
    ("projections", style.ORANGE), ("looking", style.VERMILION),
    ("MLP", style.BLUE), ("norms", style.GREY), ("head", style.GREY),
]
figure, axis = style.new_figure(5.8, 2.2)
for place, of_parts in enumerate(shares.values()):
    left = 0
    for kind, colour in kinds:
        share = of_parts.get(kind, 0)
        axis.barh(place, share, left=left, color=colour,
                  edgecolor="white")
        if share > 3:
            on_bar = "white" if colour == style.BLUE else "black"
            narrow = share < 10
            axis.text(left + share / 2, place + 0.57 * narrow,
                      f"{kind} {share:.0f} %" if narrow else
                      f"{kind}\n{share:.0f} %", ha="center",
                      va="center", fontsize=9,
                      color="black" if narrow else on_bar)
        left += share
axis.set_yticks(range(2), list(shares))
axis.set_ylim(1.75, -0.5)
axis.set_xlim(0, 100)
axis.set_xlabel("share in B/16, %")
axis.grid(False)
axis.set_title("The MLP has most of both");

# %% [markdown]
# ### A check against the paper's own bill
#
# The paper's Table 6 says how much computing each training took, in
# *exaFLOPs*, $10^{18}$ operations. We should be able to predict it. A
# multiply-add is 2 operations. Backwards takes twice as long as forwards,
# since each matrix product has two gradients, each a product of the same
# size (chapter 1). So training costs $3 \cdot 2$ operations for each
# multiply-add, for each of the 303 million images of the data set JFT, for
# each *epoch*, as a pass over all images is called. (They are of 224 x 224
# pixels. That JFT has more classes than 1,000 matters little.)

# %%
table_6 = [  # size, epochs, exaFLOPs
    (("base", 32), 7, 55), (("base", 16), 7, 224),
    (("large", 32), 7, 196), (("large", 16), 7, 783),
    (("large", 16), 14, 1567), (("huge", 14), 14, 4262),
]
for size, epochs, published in table_6:
    operations = 6 * sum(multiply_adds(size).values())
    predicted = operations * 303e6 * epochs / 1e18
    print(f"{size[0]:5}/{size[1]}, {epochs:2} epochs: "
          f"predicted {predicted:5.0f}, paper {published:5}")
    assert abs(predicted / published - 1) < 0.025

# %% [markdown]
# Three terms for each block tell the cost to within 2.5 %. The largest of
# these trainings took 2,500 days of one core of its authors' machines, says
# the paper's Table 2. Such things one wants to know before one starts.
#
# ## How large should the first weights be?
#
# Training starts from random weights. How large should they be? Take one
# number of a linear layer's output, $y = \sum_i x_i w_i$ with $n$ inputs.
# Its square is
#
# $$
# y^2 = \sum_i x_i^2\, w_i^2 + \sum_{i \neq j} x_i x_j\, w_i w_j .
# $$
#
# Draw the weights many times, each without regard to the others and $a$ as
# often as $-a$. In the mean over all draws, the products $w_i w_j$ of two
# different weights cancel out. The squares $w_i^2$ do not:
# their mean is the variance of the weights, $\mathrm{Var}(w)$. So
#
# $$
# \begin{aligned}
# \text{mean of } y^2
# &= \mathrm{Var}(w) \sum_i x_i^2 \\
# &= n \cdot \mathrm{Var}(w) \cdot \langle x^2 \rangle
# \end{aligned}
# $$
#
# with $\langle x^2 \rangle$ the mean square of the inputs. To keep numbers
# at their size we need $\mathrm{Var}(w) = 1/n$. Backwards the gradients pass
# through the transposed matrix, and by the same reckoning need $1/m$, with
# $m$ the number of outputs. Xavier Glorot and Yoshua Bengio took the
# middle:
#
# $$
# \mathrm{Var}(w) = \frac{2}{n + m}
# $$
#
# Numbers spread evenly from $-a$ to $a$ have the mean square
# $\frac{1}{2a} \int_{-a}^{a} w^2\, dw = a^2 / 3$. So one draws with $a =
# \sqrt{6 / (n + m)}$. This is called *Xavier uniform*, and ViT does it for
# the matrices in its blocks.

# %%
model = ViT(ViTConfig.named("tiny"))
weight = model.blocks[0].mlp.linear1.weight
n, m = weight.shape
print(f"variance {weight.data.var():.6f}, "
      f"2 / (n + m) {2 / (n + m):.6f}")
assert abs(weight.data.var() / (2 / (n + m)) - 1) < 0.02

# %% [markdown]
# What if one gets it wrong by a little? Below, 24 square linear layers in
# a row, with nothing between them, and weights that are 0.7, 1 or 1.4
# times as large as they should be. And beside it, 24 blocks of a ViT, with
# *all* matrices of the blocks 0.7, 1, 1.4 and even 5 times as large. By
# *size* we mean the root of the mean square. Guess both pictures first.

# %%
DEPTH = 24


def size_of(x):
    """The root of the mean square."""
    return float(np.sqrt((x**2).mean()))


def chain(scale, width=64):
    """The size after each of 24 linear layers."""
    x = random.normal(size=(100, width))
    sizes = [size_of(x)]
    for _ in range(DEPTH):
        x = x @ (scale * random.normal(0, width**-0.5, (width, width)))
        sizes.append(size_of(x))
    return sizes


def stream(scale):
    """The size of the stream after each of a nano's 24 blocks."""
    config = ViTConfig.named(
        "nano", image_size=28, patch_size=7, channels=1, classes=10,
        depth=DEPTH,
    )
    # Positions as large as patches: so the stream begins near 1.
    model = ViT(config, seed=0, embedding_std=1.0)
    for block in model.blocks:
        for weight in block.parameters():
            if weight.ndim == 2:
                weight.data *= scale
    with no_grad():
        z = model.embed(grey)
        sizes = [size_of(z.data)]
        for block in model.blocks:
            z = block(z)
            sizes.append(size_of(z.data))
    return sizes


# %%
from tinyvit.data import load_dataset, normalise

train, test = load_dataset("fashion-mini")
grey = normalise(train.images[:16])
chains = {scale: chain(scale) for scale in (0.7, 1, 1.4)}
streams = {scale: stream(scale) for scale in (0.7, 1, 1.4, 5)}

# %% tags=["drawing"]
figure, axes = style.new_figure(6.2, 3, 1, 2, sharey=True)
colours = {0.7: style.ORANGE, 1: style.BLUE, 1.4: style.VERMILION,
           5: style.PURPLE}
for axis, lines in zip(axes, (chains, streams)):
    for scale, sizes in lines.items():
        axis.semilogy(sizes, color=colours[scale])
        axis.text(DEPTH + 0.5, sizes[-1], f"x {scale}",
                  va={0.7: "top", 1: "center"}.get(scale, "bottom"),
                  color=colours[scale])
    axis.set_xlim(0, DEPTH + 4)
    axis.set_xticks(range(0, DEPTH + 1, 6))
axes[0].set_ylim(3e-5, 2e4)
axes[0].set_ylabel("size")
axes[0].set_xlabel("linear layers passed")
axes[1].set_xlabel("blocks passed")
axes[0].set_title("A bare chain forgives little")
axes[1].set_title("Residual + norm forgive a lot");

# %%
for scale in (0.7, 1.4):
    print(f"chain x {scale}: {chains[scale][-1]:.1e}, and "
          f"{scale}^24 = {scale**24:.1e}")
    assert 0.2 < chains[scale][-1] / scale**24 < 5
print({scale: round(sizes[-1], 1) for scale, sizes in streams.items()})
assert streams[0.7][-1] > 1 and streams[5][-1] < 1000

# %% [markdown]
# In the chain each factor is multiplied with all the others. In the stream,
# the norm at the start of each branch takes away whatever size has come
# about, so each branch adds about as much as the last, and sums grow
# slowly. If the branches have nothing to do with each other, their products
# cancel out as above, and the mean squares add up: each block adds about
# the same to the *square* of the size.

# %%
squares = np.array(streams[1]) ** 2
added = np.diff(squares).reshape(4, 6).mean(axis=1)
print("added to the square, by six blocks each:", added.round(2))
assert added.max() < 4 * added.min()

# %% [markdown]
# Nearly so: the later ones add somewhat more. It is a sum all the same,
# and not a product.
#
# ### Why random at all?
#
# Could we save ourselves the trouble, and start with all weights equal?
# Then all hidden numbers of an MLP would be equal, and get equal
# gradients, and stay equal for ever: all of them would be worth no more
# than one.

# %%
width, hidden = 8, 32
w1 = Tensor(np.full((width, hidden), 0.1), requires_grad=True)
w2 = Tensor(np.full((hidden, width), 0.1), requires_grad=True)
x = random.normal(size=(20, width))
wanted = random.normal(size=(20, width))
for _ in range(10):
    wrong = gelu(Tensor(x) @ w1, "tanh") @ w2 - wanted
    for w, dw in zip((w1, w2), gradients((wrong * wrong).sum(),
                                         [w1, w2])):
        w.data = w.data - 0.001 * dw
print("after 10 steps the first row of w1 is "
      f"{w1.data[0, 0]:.4f} ... {w1.data[0, -1]:.4f}")
np.testing.assert_allclose(w1.data, w1.data[:, :1] + np.zeros(hidden))
assert w1.data[0, 0] != 0.1

# %% [markdown]
# ## An experiment: who needs what?
#
# Four kinds of block: as it is; post-norm; with norms but no residual; and
# with residuals but no norm. Each is a small change. (As in chapter 4,
# `asking` says how many vectors go on: of the last block only the class
# token's.)

# %%
class PostNorm(EncoderBlock):
    def __call__(self, z, asking=None):
        stream = z[:, :asking]
        z = self.norm1(stream + self.attention(z, asking))
        return self.norm2(z + self.mlp(z))


class NoResidual(EncoderBlock):
    def __call__(self, z, asking=None):
        return self.mlp(self.norm2(self.attention(self.norm1(z),
                                                  asking)))


class NoNorm(EncoderBlock):
    def __call__(self, z, asking=None):
        z = z[:, :asking] + self.attention(z, asking)
        return z + self.mlp(z)


KINDS = {
    "pre-norm": (EncoderBlock, style.BLUE),
    "post-norm": (PostNorm, style.ORANGE),
    "no residual": (NoResidual, style.GREEN),
    "no norm": (NoNorm, style.VERMILION),
}


def nano_of(kind, depth, seed=0):
    """A nano whose blocks are all of one kind."""
    config = ViTConfig.named(
        "nano", image_size=28, patch_size=7, channels=1, classes=10,
        depth=depth,
    )
    # Positions start large, as in chapter 0: for a short training.
    model = ViT(config, seed=seed, embedding_std=2.0)
    block, _ = KINDS[kind]
    random = np.random.default_rng([seed, 1])
    model.blocks = [
        block(config.width, config.heads, config.mlp_width, gelu="tanh",
              norm_eps=1e-6, dropout=0, stochastic_depth=0,
              random=random)
        for _ in range(depth)
    ]
    return model


# %% [markdown]
# With 24 blocks, and before any training: how large is the gradient in each
# block? As one number we take its *length*, the root of the sum of the
# squares of all its numbers. (No layer norm is meant by that.) All four
# have the same weights. **Guess**: which gradients vanish towards the first
# block, which explode, and which stay even?
#
# The heads of tinyvit's models start at zero, and with a head of zeros the
# gradient of everything before it is zero, too. For the measurement we
# give them random numbers. And we calculate in float64; why, you will see.

# %%
def random_head(model):
    """The model, with a head that is not zero."""
    shape = model.head.weight.shape
    values = np.random.default_rng(2).normal(0, shape[0] ** -0.5, shape)
    model.head.weight.data = values.astype(np.float32)
    return model


labels = np.eye(10, dtype=np.float32)[train.labels[:16]]


def gradient_by_block(kind, numbers=np.float64):
    """The length of the gradient of each block's weights."""
    model = random_head(nano_of(kind, DEPTH))
    for w in model.parameters():
        w.data = w.data.astype(numbers)
    matrices = [
        [w for w in block.parameters() if w.ndim == 2]
        for block in model.blocks
    ]
    logits = model(grey.astype(numbers))
    found = gradients(
        softmax_cross_entropy(logits, labels.astype(numbers)),
        [w for group in matrices for w in group],
    )
    each = [float((dw.astype(np.float64) ** 2).sum()) for dw in found]
    return np.sqrt(np.reshape(each, (DEPTH, -1)).sum(axis=1))


at_start = {kind: gradient_by_block(kind) for kind in KINDS}

# %% tags=["drawing"]
figure, axes = style.new_figure(6.4, 3, 1, 2)
blocks = np.arange(1, DEPTH + 1)
for kind, (_, colour) in KINDS.items():
    axes[0].semilogy(blocks, at_start[kind], color=colour)
    if kind != "no norm":
        axes[1].plot(blocks, at_start[kind], color=colour)
        axes[1].text(DEPTH + 1, at_start[kind][-1], kind, color=colour,
                     va="bottom" if kind == "no residual" else "top")
axes[0].set_ylim(0.1, 1e5)
axes[0].text(6, 1e3, "no norm", color=style.VERMILION)
axes[0].text(6, 0.25, "the other three", color=style.GREY)
axes[1].set_xlim(0, DEPTH + 16)
axes[1].set_ylim(0)
for axis in axes:
    axis.set_xticks([1, 6, 12, 18, 24])
    axis.set_xlabel("block")
axes[0].set_ylabel("length of the gradient")
axes[0].set_title("Before training, one looks ill ...")
axes[1].set_title("... and three look well");

# %%
for kind, lengths in at_start.items():
    first, last = lengths[0], lengths[-1]
    print(f"{kind:11}  first block {first:8.2g}, "
          f"last {last:8.2g}, ratio {first / last:8.2g}")
assert at_start["no norm"][0] > 1000 * at_start["no norm"][-1]
for kind in ("pre-norm", "post-norm", "no residual"):
    assert 0.2 < at_start[kind][0] / at_start[kind][-1] < 20

# %% [markdown]
# Why does it explode without norms, and why only in the first blocks? Look
# at the stream, and at attention: call a row of weights *open* if none of
# them is above 0.99.

# %%
from tinyvit import kernels

model = nano_of("no norm", DEPTH)
sizes, is_open = [], []
with no_grad():
    z = model.embed(grey)
    for block in model.blocks:
        A = kernels.attention_weights(
            block.attention.qkv(z).data, block.attention.heads
        )
        sizes.append(size_of(z.data))
        is_open.append(100 * (A.max(axis=-1) < 0.99).mean())
        z = block(z)
for block in (1, 2, 3, 4, 5, 6, 8, 12, 18, 24):
    print(f"block {block:2}: stream {sizes[block - 1]:8.2g}, "
          f"{is_open[block - 1]:2.0f} % open, "
          f"gradient {at_start['no norm'][block - 1]:8.2g}")
assert sizes[-1] > 1e4 * sizes[0]
assert is_open[0] > 60 and max(is_open[7:]) < 1

# %% [markdown]
# Without norms a branch grows with the stream that it reads, so the stream
# grows by a factor in each block. The scores are products of two of its
# vectors and grow with its square. Soon every row is saturated, and nothing
# passes through its softmax (chapter 4). There the gradients are even: on
# the way back, what arrives at a block grows as the stream shrinks, and the
# gradient of a weight is a product of both. In the first blocks, rows are
# still open. Through these a gradient does pass, and is multiplied with
# queries and keys that are too large already. That is where it explodes.
#
# And in float32, in which one trains?

# %%
for kind in KINDS:
    in_float32 = gradient_by_block(kind, np.float32)[0]
    print(f"{kind:11}  first block {in_float32:8.2g}")
    times = in_float32 / at_start[kind][0]
    assert times > 1e10 if kind == "no norm" else 0.99 < times < 1.01

# %% [markdown]
# Three are the same, and the fourth is nothing but rounding error. In a
# saturated row chapter 4's bracket, $\bar A_{ij} - r_i$, should be 0, but
# its trick calculates the two in two ways, and in float32 they differ in
# about the seventh digit. What is left grows with the values, and is
# multiplied with the keys; both grow with the stream.
#
# But the others surprise. Post-norm's gradients are larger than pre-norm's,
# but neither vanish nor explode. And without residuals nothing vanishes,
# either: the norms repair at each step what the matrices have done. If
# gradients at the start were all that counts, we would have to call all
# three healthy.
#
# Let us ask another question. A gradient speaks of tiny changes. A step of
# training moves *all* weights at once, and not so little. So nudge every
# weight of every block by 0.001, up or down at random, and see how far the
# answer moves. (That is about how far a step of training moves each weight;
# chapter 6 says why.)

# %%
def movement(kind, depth, seed, nudge=0.001):
    """How far the logits move if all weights are nudged."""
    model = random_head(nano_of(kind, depth, seed))
    draw = np.random.default_rng(seed)
    with no_grad():
        before = model(grey).data
        for block in model.blocks:
            for w in block.parameters():
                if w.ndim == 2:
                    signs = draw.choice([-1, 1], size=w.shape)
                    w.data = w.data + np.float32(nudge) * signs.astype(
                        np.float32
                    )
        return size_of(model(grey).data - before)


depths = [2, 4, 8, 16, 32]
starts = range(2 if fast else 12)  # different first weights
moved = {
    kind: [
        np.mean([movement(kind, depth, seed) for seed in starts])
        for depth in depths
    ]
    for kind in ("pre-norm", "post-norm", "no residual")
}

# %% tags=["drawing"]
figure, axis = style.new_figure(5.8, 2.8)
for kind, far in moved.items():
    axis.plot(depths, far, color=KINDS[kind][1], marker="o")
    axis.text(depths[-1] + 0.7, far[-1], kind, color=KINDS[kind][1],
              va="center")
axis.set_xticks(depths)
axis.set_xlim(0, 42)
axis.set_ylim(0)
axis.set_xlabel("blocks")
axis.set_ylabel("movement of the logits")
axis.set_title("Without pre-norm, deep models are nervous");

# %%
for kind, far in moved.items():
    print(f"{kind:11} {far[-1] / moved['pre-norm'][-1]:4.1f} times as "
          f"far as pre-norm; 2 to 32 blocks: x {far[-1] / far[0]:.1f}")
grows = {kind: far[-1] / far[0] for kind, far in moved.items()}
times = np.divide(moved["post-norm"], moved["pre-norm"])
assert moved["no residual"][-1] > 3 * moved["pre-norm"][-1]
if not fast:
    assert times.min() > 2 and times.argmax() == len(depths) - 1
    assert 3 < grows["post-norm"] < 5
    assert np.log(64) / np.log(4) < grows["pre-norm"] ** 2
    assert grows["pre-norm"] < grows["post-norm"]
    assert grows["no residual"] > 1.5 * grows["post-norm"]

# %% [markdown]
# Here is a difference. Post-norm moves more than twice as far as pre-norm
# at every depth, and most so with 32 blocks. (Single starts differ a
# lot; these are means over twelve.) In pre-norm the stream
# grows, and so a branch is an ever smaller part of it: if all branches
# write equally much, the square of the stream after $i$ of them is $i$
# times that of one, so the $i$-th is $1/i$ of the whole. The
# squares of their errors add up like $1 + \tfrac12 + \tfrac13 + \dots$, ever
# more slowly. In post-norm each sum is brought back to size 1: what came
# along the stream shrinks, and the last branch is about as large a part of
# it as the first. So each adds about as large an error, for the next to
# read. (Liu et al., below, derive, in a simplified
# model, that the mean square of the movement grows with the logarithm of
# the depth in pre-norm, and with the depth itself in post-norm. From 2 to
# 32 blocks that makes a root of 16, which is 4, for post-norm: look above.
# Our pre-norm grows by less, if not as little as a logarithm.)
#
# ## Does it matter?
#
# Now train them, each with twelve blocks, for 150 steps, with the recipe of
# chapter 0. **Guess** which will learn. Pre-norm and post-norm we train
# twice, from different first weights, and post-norm once more with a third
# of the *learning rate*, the factor that says how long each step is.

# %%
from tinyvit.data import Loader
from tinyvit.training import (
    Recipe,
    TrainStep,
    Workers,
    learning_rate_at,
)

STEPS = 10 if fast else 150


def train_nano(kind, peak=3e-3, seed=1):
    """The loss at each step, with twelve blocks."""
    model = nano_of(kind, 2 if fast else 12, seed)
    recipe = Recipe(batch_size=64, beta2=0.98, weight_decay=0.2)
    losses = []
    with Workers(2) as workers:
        one_step = TrainStep(model, recipe, workers)
        for images, labels in Loader(train, 64, seed=0).batches(0):
            step = len(losses)
            if step == STEPS:
                break
            rate = learning_rate_at(
                step, peak=peak, steps=STEPS, warmup_steps=8,
                schedule="cosine",
            )
            losses.append(one_step(images, labels, step, rate).loss)
    return losses


runs = {kind: train_nano(kind) for kind in KINDS}
for kind in ("pre-norm", "post-norm"):
    runs[kind + ", again"] = train_nano(kind, seed=4)
runs["post-norm, a third"] = train_nano("post-norm", peak=1e-3)
final = {kind: np.mean(losses[-20:]) for kind, losses in runs.items()}
for kind, loss in final.items():
    print(f"{kind:18} {loss:.2f}")

# %% tags=["drawing"]
def smooth(values, over=1 if fast else 15):
    return np.convolve(values, np.ones(over) / over, mode="valid")


figure, axis = style.new_figure(6.2, 3.2)
for kind, losses in runs.items():
    colour = KINDS[kind.split(",")[0]][1]
    axis.plot(smooth(losses), color=colour,
              linestyle="--" if "third" in kind else "-")
end = len(smooth(losses))
for text, height, kind in [
    ("pre-norm, twice", 0.62, "pre-norm"),
    ("post-norm with a\n third of the rate", 1.08, "post-norm"),
]:
    axis.text(end, height, " " + text, va="center",
              color=KINDS[kind][1])
axis.text(end, 2.3, " post-norm, twice,\n and the other two",
          color=style.GREY, va="center")
axis.set_xlim(0, end * 1.4)
axis.set_xticks(range(0, end, 25))
axis.set_ylim(0, 2.6)
axis.set_xlabel("step")
axis.set_ylabel("loss (mean over 15 steps)")
axis.set_title("Twelve blocks: only pre-norm takes long steps");

# %%
if not fast:
    slowest = max(final["pre-norm"], final["pre-norm, again"])
    assert slowest < 1
    assert slowest + 0.2 < final["post-norm, a third"] < 1.5
    for kind in ("post-norm", "post-norm, again", "no residual",
                 "no norm"):
        assert final[kind] > 1.7

# %% [markdown]
# Pre-norm learns, both times. Without residuals or without norms there is
# little but guessing, a loss of $\ln 10 \approx 2.30$. And post-norm,
# whose gradients looked so healthy, gets no further: at this rate its steps
# are too long for it. (Not from every start. Some runs do learn something,
# and which ones can hang on how a processor rounds. Try other seeds.) With
# smaller steps it does learn, as the first Transformers did, with patience
# and a long *warm-up*, of which chapter 6 tells. Pre-norm takes the large
# steps, and ViT has it.
#
# ## What goes wrong: zeros
#
# The official ViT starts the head at zero, so that all classes begin
# equally likely. This has an effect that looks like a mistake when one
# meets it first:

# %%
model = nano_of("pre-norm", 4)
by_name = dict(model.named_parameters())
loss = softmax_cross_entropy(model(grey), labels)
found = gradients(loss, list(by_name.values()))
alive = [name for name, dw in zip(by_name, found) if np.any(dw)]
print(f"{len(alive)} of {len(by_name)} weights have a gradient:")
print(alive)
assert alive == ["head.weight", "head.bias"]

# %% [markdown]
# The gradient of all else passes through the head's weights, and is
# multiplied with zero. Is the model dead? One small step of the head, and
# look again:

# %%
for name, dw in zip(by_name, found):
    by_name[name].data = by_name[name].data - np.float32(0.01) * dw
loss = softmax_cross_entropy(model(grey), labels)
found = gradients(loss, list(by_name.values()))
awake = sum(bool(np.any(dw)) for dw in found)
print(f"{awake} of {len(by_name)} weights have a gradient")
assert awake == len(by_name)

# %% [markdown]
# A zero is harmless if there is one factor of zero on each way, and not
# two: in $y = ab$ with $a = 0$ and $b \neq 0$, $a$ has the gradient $b$ and
# moves. With both zero, neither ever does. Exercise 5.2 makes use of it.
#
# ## Exercises
#
# ### Exercise 5.1: when does looking dominate?
#
# Chapter 4 found that looking takes as much as all the rest at $N = 6D$,
# for an MLP with $M = 4D$. Now for any $M$: a block takes
# $4ND^2 + 2NDM$ multiply-adds for
# projections and MLP, and $2N^2D$ for looking. What is the smallest number
# of vectors $N$ for which looking takes *more* than all the rest?

# %% tags=["exercise"]
def looking_dominates(D, M):
    """The smallest N with 2 N^2 D > 4 N D^2 + 2 N D M."""
    ...


# %% tags=["check"]
def check_looking_dominates(looking_dominates):
    """Says whether the function is right, and if not, why."""
    for D, M in [(768, 3072), (192, 768), (64, 128)]:
        found = looking_dominates(D, M)
        right = 2 * D + M + 1
        if found is None:
            print("Not yet: the function returns nothing.")
            return False
        if found == right - 1:
            print("Not yet: here both are equal. More is asked for.")
            return False
        if found == 2 * D + 1 or found == M + 1:
            print("Not yet: projections and MLP both count.")
            return False
        if found != right:
            print("Not yet: divide both sides by 2 N D and see what is "
                  f"left of N. (You gave {found} for D = {D} and "
                  f"M = {M}.)")
            return False
    print("Right!")
    return True


check_looking_dominates(looking_dominates);

# %% tags=["solution"]
def looking_dominates(D, M):
    """The smallest N with 2 N^2 D > 4 N D^2 + 2 N D M."""
    return 2 * D + M + 1  # divided by 2 N D: N > 2 D + M


assert looking_dominates(768, 4 * 768) == 6 * 768 + 1
check_looking_dominates(looking_dominates);

# %% [markdown]
# ### Exercise 5.2: a block that does nothing, yet
#
# Very deep networks are sometimes started so that each block passes its
# stream on *unchanged*, and can still learn. The function gets the weights
# of a block by name, with the names printed above. Set some of them to
# zero (`w[name].data[...] = 0`), so that $z$ comes out as it went in, and
# yet both branches get a gradient.

# %% tags=["exercise"]
def quieten(w):
    """Set to zero what must be zero; gives w back."""
    ...


# %% tags=["check"]
def check_quieten(quieten):
    """Says whether the function is right, and if not, why."""
    block = EncoderBlock(
        D, HEADS, M, gelu="tanh", norm_eps=1e-6, dropout=0,
        stochastic_depth=0, random=np.random.default_rng(4),
    )
    w = quieten(randomise(block))
    if w is None:
        print("Not yet: the function returns nothing.")
        return False
    z = Tensor(np.random.default_rng(5).normal(size=(2, 5, D)))
    out = encoder_block(z, w, HEADS)
    if not np.array_equal(out.data, z.data):
        print("Not yet: z is changed. What each branch adds is the "
              "output of its last layer, which has a bias as well.")
        return False
    found = gradients(out, list(w.values()), np.ones(out.shape))
    moves = {name: np.any(dw) for name, dw in zip(w, found)}
    for branch in ("attention.", "mlp."):
        if not any(
            moves[name] for name in w
            if name.startswith(branch) and name.endswith("weight")
        ):
            print(f"Not yet: no matrix of {branch[:-1]} has a "
                  "gradient. There are two zeros in a row: keep the "
                  "first layers.")
            return False
    print("Right!")
    return True


check_quieten(quieten);

# %% tags=["solution"]
def quieten(w):
    """Set to zero what must be zero; gives w back."""
    for layer in ("attention.out", "mlp.linear2"):
        w[layer + ".weight"].data[...] = 0
        w[layer + ".bias"].data[...] = 0
    return w


check_quieten(quieten);

# %% [markdown]
# ### Exercise 5.3: weights for another layer
#
# A *ReLU*, $\max(0, x)$, sets negative numbers to zero. If the numbers are
# spread evenly around zero, it halves the mean of their squares. With which
# standard deviation should the weights of a linear layer with $n$ inputs
# and $n$ outputs be drawn, if a ReLU follows, so that the size of the
# numbers is kept through many layers?

# %% tags=["exercise"]
def std_for_relu(n):
    """The standard deviation of the weights, for n inputs."""
    ...


# %% tags=["check"]
def check_std_for_relu(std_for_relu):
    """Says whether the function is right, and if not, why."""
    n = 256
    std = std_for_relu(n)
    if std is None:
        print("Not yet: the function returns nothing.")
        return False
    draw = np.random.default_rng(6)
    x = draw.normal(size=(64, n))
    before = size_of(x)
    for _ in range(20):
        x = np.maximum(0, x @ draw.normal(0, std, (n, n)))
    if abs(std - 2 / n) < 1e-6:
        print("Not yet: that is the variance. Take its square root.")
        return False
    # The right weights keep the size, but for some luck.
    factor = size_of(x) / before
    if not 0.4 < factor < 2:
        print(f"Not yet: after 20 layers the size is {factor:.1e} "
              "times what it was. Half of the squares are lost in each "
              "layer: by how much must Var(w) = 1 / n grow?")
        return False
    print("Right!")
    return True


check_std_for_relu(std_for_relu);

# %% tags=["solution"]
def std_for_relu(n):
    """The standard deviation of the weights, for n inputs."""
    return (2 / n) ** 0.5


check_std_for_relu(std_for_relu);

# %% [markdown]
# This is called *He* or *Kaiming initialisation*, after Kaiming He, and
# comes from *Delving Deep into Rectifiers* (2015), below.
#
# ## Further reading
#
# - Dosovitskiy et al. (2020),
#   [arXiv:2010.11929](https://arxiv.org/abs/2010.11929): section 3.1 with
#   equations 1 to 4, Table 1 (sizes) and Table 6 (computing).
# - He et al., *Deep Residual Learning for Image Recognition* (2015),
#   [arXiv:1512.03385](https://arxiv.org/abs/1512.03385): the sum.
# - He et al., *Delving Deep into Rectifiers* (2015),
#   [arXiv:1502.01852](https://arxiv.org/abs/1502.01852): exercise 5.3.
# - Xiong et al., *On Layer Normalization in the Transformer Architecture*
#   (2020), [arXiv:2002.04745](https://arxiv.org/abs/2002.04745): pre-norm
#   and post-norm.
# - Liu et al., *Understanding the Difficulty of Training Transformers*
#   (2020), [arXiv:2004.08249](https://arxiv.org/abs/2004.08249): why a
#   post-norm Transformer is nervous, although its gradients are healthy.
# - Glorot and Bengio, *Understanding the difficulty of training deep
#   feedforward neural networks* (2010): the first weights.
# - `tinyvit/nn/encoder.py`, `tinyvit/models/vit.py` and `cost.py`.
#
# Next: [learning](06_learning.ipynb).
